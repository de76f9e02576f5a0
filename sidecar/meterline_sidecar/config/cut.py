"""Leaves the customers out of a file of which only the rest is asked for."""

import re
from typing import Final

_CUSTOMER: Final = re.compile(r"[ \t]*\[\[?[ \t]*(['\"]?)customer\1[ \t]*[.\]]")
_TABLE: Final = re.compile(r"[ \t]*\[")
_LONG_TEXTS: Final = ('"""', "'''")
"""What begins a text of several lines, which may look like tables."""


def without_customers(text: str) -> str:
    """Return a TOML text with empty lines in the place of each ``[[customer]]``.

    So that very many of them cost nothing: a table ends where the next one begins.
    What cannot be told apart so stays as it is.
    """
    if any(mark in text for mark in _LONG_TEXTS):
        return text
    kept: list[str] = []
    is_customer = False
    for line in text.split("\n"):
        if _TABLE.match(line):
            is_customer = _CUSTOMER.match(line) is not None
        kept.append("" if is_customer else line)
    return "\n".join(kept)
