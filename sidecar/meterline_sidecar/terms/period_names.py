"""What people call a billing period: by its name, or by a word for when it is."""

import re
from typing import Final

from meterline_pricing import PricingError
from meterline_pricing.grid import first_day
from meterline_pricing.tools import nearest

CURRENT: Final = ("current", "this")
LAST: Final = ("last",)
WORDS: Final = (*CURRENT, *LAST)
"""For the period that an instant lies in, and for the one before it."""
EXAMPLES: Final = (
    "`last`, `current`, a month such as 2026-10, or the first day of another period,"
    " such as 2026-11-23"
)
YEAR: Final = re.compile("[0-9]{4}")
NEAR: Final = {"previous": "last", "prev": "last", "now": "current", "today": "current"}


def period_name(text: str, *, takes_year: bool = False) -> str:
    """Return a period's name, or the word for it, as somebody wrote it.

    Args:
        takes_year: ``2026`` is one as well: all that begin in it.

    Raises:
        PricingError: it is none; the text says what is possible.
    """
    name = text.strip().lower()
    if name in WORDS or (takes_year and YEAR.fullmatch(name)):
        return name
    try:
        first_day(name)
    except PricingError:
        near = NEAR.get(name) or nearest(name, WORDS)
        hint = "" if near is None else f"did you mean `{near}`? "
        year = "a year, " if takes_year else ""
        raise PricingError(
            f"no period is called `{text:.40}`; {hint}write {year}{EXAMPLES}"
        ) from None
    return name
