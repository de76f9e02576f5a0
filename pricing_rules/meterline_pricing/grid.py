"""The days on which billing periods begin: a grid over the calendar."""

import re
from calendar import monthrange
from collections.abc import Mapping
from datetime import date, timedelta
from functools import lru_cache
from typing import Final, Literal

from msgspec import Struct

from meterline_pricing.errors import PricingError

Length = Literal["day", "week", "month", "quarter", "year"]
"""How long a period is."""

_DAYS: Final[Mapping[str, int]] = {"day": 1, "week": 7}
_MONTHS: Final[Mapping[str, int]] = {"month": 1, "quarter": 3, "year": 12}
_NAME: Final = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])(?:-([0-9]{2}))?", re.ASCII)
CACHED_MAX: Final = 5_000
_YEARS: Final = (1970, 9998)
_USUAL: Final = date(2001, 1, 1)
"""A Monday, and the first day of a month, of a quarter and of a year."""


class Grid(Struct, frozen=True):
    """Where periods of one length begin, counted from one of them, both ways."""

    period: Length = "month"
    anchor: date = _USUAL
    """A day on which a period begins. Where it is one that a month does not have,
    such as the 31st, the month's last day takes its place; the next ones do not move."""

    def floor(self, day: date) -> date:
        """Return the first day of the period that ``day`` lies in."""
        return _around(self, day)[0]

    def after(self, day: date) -> date:
        """Return the first day of the period behind the one that ``day`` lies in."""
        return _around(self, day)[1]

    def name(self, first: date) -> str:
        """Return the name of a period by its first day, even of one that is cut short.

        A calendar month is ``2026-11``; all else is named after its first day, so that
        names are in the order of time, and none is there twice.
        """
        return _named(self, first)

    def number(self, day: date) -> int:
        """Return how many periods after the anchor's the one of a day is."""
        days = _DAYS.get(self.period)
        if days is not None:
            return (day - self.anchor).days // days
        months = (day.year - self.anchor.year) * 12 + day.month - self.anchor.month
        number = months // _MONTHS[self.period]
        return number - (day < self.edge(number))

    def edge(self, number: int) -> date:
        """Return the first day of a period by its number.

        Raises:
            PricingError: it is in no year that there is a calendar of.
        """
        try:
            return self._day(number)
        except (ValueError, OverflowError):
            raise PricingError("no calendar reaches that day") from None

    def _day(self, number: int) -> date:
        days = _DAYS.get(self.period)
        if days is not None:
            return self.anchor + timedelta(days=number * days)
        months = self.anchor.month - 1 + number * _MONTHS[self.period]
        year, month = self.anchor.year + months // 12, months % 12 + 1
        return date(year, month, min(self.anchor.day, monthrange(year, month)[1]))


# Very many customers ask for the same days.
@lru_cache(maxsize=CACHED_MAX)
def _around(grid: Grid, day: date) -> tuple[date, date]:
    """Return the first day of the period of a day, and of the next one."""
    number = grid.number(day)
    return grid.edge(number), grid.edge(number + 1)


@lru_cache(maxsize=CACHED_MAX)
def _named(grid: Grid, first: date) -> str:
    is_month = grid.period == "month" and grid.anchor.day == 1 == first.day
    return f"{first:%Y-%m}" if is_month else f"{first:%Y-%m-%d}"


@lru_cache(maxsize=CACHED_MAX)
def first_day(name: str) -> date:
    """Return the first day of whatever period has this name.

    Raises:
        PricingError: no period is called so.
    """
    found = _NAME.fullmatch(name)
    try:
        if found and _YEARS[0] <= int(found[1]) <= _YEARS[1]:
            return date(int(found[1]), int(found[2]), int(found[3] or 1))
    except ValueError:
        pass  # the 30th of February
    raise PricingError(
        f"expected a month such as 2026-11, not `{name:.40}`; other periods are named"
        " after their first day, such as 2026-11-23"
    )


def is_within(name: str, wanted: str) -> bool:
    """Say whether a period is the one that is wanted, or begins in that month."""
    return name == wanted or name.startswith(f"{wanted}-")
