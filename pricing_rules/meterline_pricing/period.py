"""Billing periods: the calendar of a customer, as spans of UTC milliseconds."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from msgspec import Struct

from meterline_pricing.errors import NotFound, PricingError, Problem, unknown
from meterline_pricing.fields import Checked
from meterline_pricing.grid import Grid, Length, first_day

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OFFSET: Final = re.compile(r"[A-Za-z]{0,5} ?[+-][0-9]")
_MILLISECOND: Final = timedelta(milliseconds=1)


class Period(Struct, frozen=True, order=True):
    """The span that an invoice covers: ``[start, end)`` in UTC milliseconds."""

    start: int
    end: int
    name: str = ""
    """``2026-11`` is a calendar month; all else is named after its first day in the
    customer's zone: ``2026-11-23``."""

    def __contains__(self, time_ms: int) -> bool:
        """Return whether an instant lies in this period."""
        return self.start <= time_ms < self.end


def title_of(period: Period, *, time_zone: str = "UTC") -> str:
    """Return a period as people read it: ``23 - 29 Nov 2026``.

    A calendar month is its name, and a span without a name has no title.
    """
    if len(period.name) <= len("2026-11"):
        return period.name
    calendar = Calendar(time_zone=time_zone)
    first, last = calendar.day(period.start), calendar.day(period.end - 1)
    end = f"{last.day} {last:%b %Y}"
    if first == last:
        return end
    begin = f"{first.day}"
    if (first.year, first.month) != (last.year, last.month):
        begin += f" {first:%b}"
    if first.year != last.year:
        begin += f" {first:%Y}"
    return f"{begin} - {end}"


class Calendar(Checked, frozen=True, kw_only=True):
    """When the billing periods of a customer begin.

    A period begins at the first instant of its first day in ``time_zone``, whatever
    the clocks do that day, and ends where the next one begins: no instant lies in
    two of them or in none. A day that a zone skipped is no period.
    """

    time_zone: str = "UTC"
    """A name of the IANA database: ``Europe/Berlin``."""
    period: Length = "month"
    """How long a period is."""
    anchor: date | None = None
    """A day on which one begins, the last day in a month that is shorter. By default
    weeks begin on a Monday, months on the 1st, quarters and years in January."""
    starts: date | None = None
    """The customer's first day: the period that it lies in is cut there."""

    def __post_init__(self) -> None:
        """Check the zone.

        Raises:
            PricingError: no such zone, or no such length.
        """
        super().__post_init__()
        _zone(self.time_zone)

    @property
    def grid(self) -> Grid:
        """The days on which periods begin."""
        return (
            Grid(self.period) if self.anchor is None else Grid(self.period, self.anchor)
        )

    def named(self, name: str) -> Period:
        """Return the period of that name, such as ``2026-11``.

        Raises:
            PricingError: none is called so, or it ends before the customer starts.
        """
        first = first_day(name)
        nominal = self.grid.floor(first)
        if nominal != first or self.grid.name(first) != name:
            raise PricingError(
                f"no {self.period} is called {name}: {first} lies in"
                f" {self.grid.name(nominal)}"
            )
        period = self._period(first)
        if period.start >= period.end:
            raise PricingError(f"there was no {name} in {self.time_zone}")
        return period

    def at(self, time_ms: int) -> Period:
        """Return the period that an instant lies in.

        Raises:
            PricingError: the customer has not started then, or no calendar has it.
        """
        try:
            day = self.day(time_ms)
        except OverflowError:
            raise PricingError(f"no calendar reaches {time_ms} ms") from None
        if self.starts is not None and time_ms < self.start_of(self.starts):
            raise PricingError(f"the customer starts on {self.starts}, after {day}")
        first = self.grid.floor(day)
        # A day can be told twice: clocks that were set back behind midnight.
        while time_ms >= self.start_of(beyond := self.grid.after(first)):
            first = beyond
        return self._period(first)

    def after(self, period: Period) -> Period:
        """Return the period that begins where ``period`` ends."""
        return self.at(period.end)

    def day(self, time_ms: int) -> date:
        """Return the day that it is in this calendar's zone at an instant."""
        instant = _EPOCH + timedelta(milliseconds=time_ms)
        return instant.astimezone(_zone(self.time_zone)).date()

    def start_of(self, day: date) -> int:
        """Return the first instant of ``day`` in this calendar's zone, UTC ms."""
        # Where the clocks skip midnight, fold=0 gives the offset before the jump,
        # which is the instant of the jump; where midnight comes twice, the first.
        midnight = datetime(day.year, day.month, day.day, tzinfo=_zone(self.time_zone))
        return (midnight - _EPOCH) // _MILLISECOND

    def _period(self, first: date) -> Period:
        beyond = self.grid.after(first)
        name = self.grid.name(first)
        if self.starts is not None:
            if self.starts >= beyond:
                raise PricingError(
                    f"period {name} ends before the customer starts on {self.starts}"
                )
            first = max(first, self.starts)
        return Period(self.start_of(first), self.start_of(beyond), name)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = unknown_zone(name)
        raise NotFound(Problem(message, "time_zone")) from None


def unknown_zone(name: str) -> str:
    """Return the message for a time zone that there is not."""
    if _OFFSET.match(name):
        return (
            f"unknown time zone `{name:.40}`; name a place, such as `Europe/Berlin`, whose"
            " clocks it goes by: how far they are from UTC changes within a year"
        )
    return unknown("time zone", name, available_timezones())
