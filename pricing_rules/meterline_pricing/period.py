"""Billing periods: the calendar of a customer, as spans of UTC milliseconds."""

import re
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from msgspec import Struct

from meterline_pricing.errors import NotFound, PricingError, Problem, unknown
from meterline_pricing.fields import Checked, check_range

_MONTH: Final = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class Period(Struct, frozen=True, order=True):
    """The span that an invoice covers: ``[start, end)`` in UTC milliseconds."""

    start: int
    end: int
    name: str = ""
    """The month in which it starts, in the customer's zone: ``2026-11``."""

    def __contains__(self, time_ms: int) -> bool:
        """Return whether an instant lies in this period."""
        return self.start <= time_ms < self.end


class Calendar(Checked, frozen=True, kw_only=True):
    """When the monthly billing periods of a customer begin.

    A period begins at the first instant of its first day in ``time_zone``, whatever
    the clocks do that day, and ends where the next one begins: no instant lies in
    two of them or in none.
    """

    time_zone: str = "UTC"
    """A name of the IANA database: ``Europe/Berlin``."""
    anchor_day: int = 1
    """The day of the month, 1 to 31; the last day in a month that is shorter."""
    starts: date | None = None
    """The customer's first day: the period that it lies in is cut there."""

    def __post_init__(self) -> None:
        """Check the zone and the anchor.

        Raises:
            PricingError: no such zone, or a day that no month has.
        """
        super().__post_init__()
        _zone(self.time_zone)
        check_range(self, "anchor_day", 1, 31)

    def named(self, name: str) -> Period:
        """Return the period that begins in the month ``name``, such as ``2026-11``.

        Raises:
            PricingError: not a month, or one that ends before the customer starts.
        """
        match = _MONTH.fullmatch(name)
        if not match or not 1970 <= int(match[1]) <= 9998:
            raise PricingError(f"expected a month such as 2026-11, not `{name:.40}`")
        return self._period(int(match[1]), int(match[2]))

    def at(self, time_ms: int) -> Period:
        """Return the period that an instant lies in.

        Raises:
            PricingError: the customer has not started then, or no calendar has it.
        """
        try:
            day = self.day(time_ms)
        except OverflowError:
            raise PricingError(f"no calendar reaches {time_ms} ms") from None
        year, month = day.year, day.month
        if day < _clamped(year, month, self.anchor_day):
            year, month = _month_after(year, month, -1)
        period = self._period(year, month)
        if time_ms not in period:
            raise PricingError(f"the customer starts on {self.starts}, after {day}")
        return period

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

    def _period(self, year: int, month: int) -> Period:
        first = _clamped(year, month, self.anchor_day)
        beyond = _clamped(*_month_after(year, month, 1), self.anchor_day)
        name = f"{year:04}-{month:02}"
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
    return unknown("time zone", name, available_timezones())


def _clamped(year: int, month: int, day: int) -> date:
    return date(year, month, min(day, monthrange(year, month)[1]))


def _month_after(year: int, month: int, months: int) -> tuple[int, int]:
    year_more, month_0 = divmod(month - 1 + months, 12)
    return year + year_more, month_0 + 1
