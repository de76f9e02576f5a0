"""What is wrong with a text that is no TOML, in words that help whoever wrote it."""

import re
from typing import Final

from meterline_pricing.errors import Problem

TOO_DEEP: Final = "too deeply nested"
_LINE: Final = re.compile(r" \(at line (\d+), column \d+\)$")
_HINTS: Final = {
    "Invalid value": '; a text stands in straight quotes, such as "acme"',
    "Cannot ": "; it stands twice, or one table of a list has [one] bracket, not [[two]]",
}
"""What people mostly did, by what ``tomllib`` begins to say where it met it."""


def syntax_problem(error: Exception, text: str, *, file: str) -> Problem:
    """Return what ``tomllib`` said of a text, with its line as a number."""
    if isinstance(error, RecursionError):
        return Problem(TOO_DEEP, file=file)
    message = str(error)
    match = _LINE.search(message)
    line = int(match[1]) if match else text.count("\n") + 1
    shown = message[: match.start()] if match else message
    hints = [hint for said, hint in _HINTS.items() if shown.startswith(said)]
    told = f"not TOML: {shown[:1].lower()}{shown[1:]}{''.join(hints)}"
    return Problem(told, line=line, file=file)
