"""A customer's billing periods, across any change of zone, first or last day.

A period begins where the one before it ended, always: each edge is one instant, in
the zone that holds when the period that it ends began. So no instant is in two
periods or in none, and a period is known by its name, whatever moves.
"""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from functools import lru_cache
from typing import Final
from weakref import WeakKeyDictionary

from meterline_pricing import Calendar, Period, PricingError
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.change import CustomerChange

CALENDARS_MAX: Final = 256
ZONES_MAX: Final = 600  # there are about as many
DAYS_MAX: Final = 5_000
Zones = Sequence[tuple[int, str]]
"""The zone from when on, in order of time."""


class CustomerCalendar:
    """The months of one customer."""

    def __init__(
        self, zones: Zones, *, starts: date | None = None, ends: date | None = None
    ) -> None:
        self._zones = list(zones) or [(0, "UTC")]
        self.starts = starts
        self.ends = ends
        """The last day that is billed."""
        self.absences: tuple[tuple[int, int], ...] = ()
        """``[start, end)`` of each time between leaving and coming back, for which
        nothing is billed."""

    @classmethod
    def of(cls, terms: Terms, customer_id: str) -> "CustomerCalendar":
        """Return the calendar that was agreed with a customer."""
        known = _KNOWN.setdefault(terms, {})
        n_entries = len(terms.entries("customer", customer_id))
        found = known.get(customer_id)
        if found is None or found[0] != n_entries:
            if len(known) >= CALENDARS_MAX:
                known.clear()
            found = n_entries, cls._worked_out(terms, customer_id)
            known[customer_id] = found
        return found[1]  # not read again: another thread may have cleared it

    @classmethod
    def _worked_out(cls, terms: Terms, customer_id: str) -> "CustomerCalendar":
        starts, ends = (
            steps[-1][1] if (steps := terms.field(customer_id, name)) else None
            for name in ("starts", "ends")
        )
        zones = terms.field(customer_id, "time_zone")
        entries = terms.entries("customer", customer_id)
        if zones and zones[0][0] > min(entry.from_ms for entry in entries):
            zones.insert(0, (0, "UTC"))  # nobody had said one until then
        calendar = cls(zones, starts=starts, ends=ends)
        calendar.absences = tuple(_absences(terms, customer_id, calendar))
        return calendar

    def zone(self, at_ms: int) -> str:
        """Return the zone in which days begin at a moment."""
        return next(
            (zone for from_ms, zone in reversed(self._zones) if from_ms <= at_ms),
            self._zones[0][1],
        )

    def day(self, at_ms: int) -> date:
        """Return the customer's day at a moment."""
        return _in_zone(self.zone(at_ms)).day(at_ms)

    def start_of(self, day: date) -> int:
        """Return the first instant of a customer's day, UTC ms."""
        for i, (_, zone) in enumerate(self._zones):
            at_ms = _start_of(zone, day)
            # An edge at the very moment of a change still is in the former zone.
            if i + 1 == len(self._zones) or at_ms <= self._zones[i + 1][0]:
                return at_ms
        raise AssertionError("the last zone has no end")

    def whole(self, name: str) -> Period:
        """Return the month of that name, not cut where the customer starts or ends.

        Raises:
            PricingError: the name is no month.
        """
        first, beyond = _days_of(name)
        return Period(self.start_of(first), self.start_of(beyond), name)

    def named(self, name: str) -> Period:
        """Return the billing period of that name: the month, as far as it is billed.

        Raises:
            PricingError: the name is no month, or one outside of what is billed.
        """
        whole = self.whole(name)
        start, end = whole.start, whole.end
        if self.starts is not None:
            start = max(start, self.start_of(self.starts))
            if start >= end:
                raise PricingError(
                    f"period {name} ends before the customer starts on {self.starts}"
                )
        if self.ends is not None:
            end = min(end, self.start_of(self.ends + timedelta(days=1)))
            if start >= end:
                raise PricingError(
                    f"period {name} begins after the customer's last day, {self.ends}"
                )
        period = Period(start, end, name)
        if self._is_absent(period):
            raise PricingError(f"the customer had left in period {name}, and came back")
        return period

    def _is_absent(self, period: Period) -> bool:
        return any(
            left_ms <= period.start and period.end <= back_ms
            for left_ms, back_ms in self.absences
        )

    def name_at(self, at_ms: int) -> str:
        """Return the name of the month that an instant lies in."""
        guess = f"{self.day(at_ms):%Y-%m}"
        whole = self.whole(guess)
        if at_ms < whole.start:
            return _month(guess, -1)
        return _month(guess, 1) if at_ms >= whole.end else guess

    def months(self, start: int, end: int) -> Iterator[Period]:
        """Yield the whole months that lie in a span or reach into it, in order."""
        while start < end:
            whole = self.whole(self.name_at(start))
            yield whole
            start = whole.end

    def at(self, at_ms: int) -> Period:
        """Return the billing period that an instant lies in.

        Raises:
            PricingError: none, as the customer starts later or has left.
        """
        try:
            name = self.name_at(at_ms)
        except OverflowError:
            raise PricingError(f"no calendar reaches {at_ms} ms") from None
        period = self.named(name)
        if at_ms in period:
            return period
        if at_ms < period.start:
            raise PricingError(f"the customer starts only on {self.starts}")
        raise PricingError(f"the customer's last day was {self.ends}")

    def latest(self, at_ms: int) -> Period:
        """Return the period of an instant, or the last one of who has left.

        Raises:
            PricingError: none, as the customer starts later.
        """
        if self.ends is not None:
            last_ms = self.start_of(self.ends + timedelta(days=1)) - 1
            at_ms = min(at_ms, last_ms)
        return self.at(at_ms)

    def before(self, name: str) -> str:
        """Return the name of the month before one, but for those of an absence."""
        name = _month(name, -1)
        while self._is_absent(self.whole(name)):
            name = _month(name, -1)
        return name

    def next_from(self, at_ms: int) -> Period | None:
        """Return the first billing period that begins at a time or later, if any does.

        The one that lies around it counts when it is cut there, as by a first day.
        """
        if self.starts is not None:
            at_ms = max(at_ms, self.start_of(self.starts))
        last_ms = None
        if self.ends is not None:
            last_ms = self.start_of(self.ends + timedelta(days=1)) - 1
        name = self.name_at(at_ms)
        while last_ms is None or self.whole(name).start <= last_ms:
            whole = self.whole(name)
            if not self._is_absent(whole) and whole.end > at_ms:
                period = self.named(name)
                if period.start >= at_ms:
                    return period
            name = _month(name, 1)
        return None


def _absences(
    terms: Terms, customer_id: str, calendar: CustomerCalendar
) -> Iterator[tuple[int, int]]:
    left_ms: int | None = None
    for entry in terms.entries("customer", customer_id):
        change = entry.change
        assert isinstance(change, CustomerChange)
        if change.is_removed is True and isinstance(change.ends, date):
            left_ms = calendar.start_of(change.ends + timedelta(days=1))
        elif change.is_removed is False and left_ms is not None:
            back_ms = calendar.start_of(calendar.day(entry.from_ms))
            if left_ms < back_ms:
                yield left_ms, back_ms
            left_ms = None


_KNOWN: Final[WeakKeyDictionary[Terms, dict[str, tuple[int, CustomerCalendar]]]] = (
    WeakKeyDictionary()
)
"""One invoice asks for its customer's ten times: from how many rows it was made, and
the calendar."""


# Very many customers have few zones, and ask for the same months.
@lru_cache(maxsize=ZONES_MAX)
def _in_zone(zone: str) -> Calendar:
    return Calendar(time_zone=zone)


@lru_cache(maxsize=DAYS_MAX)
def _start_of(zone: str, day: date) -> int:
    return _in_zone(zone).start_of(day)


@lru_cache(maxsize=DAYS_MAX)
def _days_of(name: str) -> tuple[date, date]:
    """Return the first day of a month, and of the next.

    Raises:
        PricingError: the name is no month.
    """
    nominal = Calendar().named(name)
    return Calendar().day(nominal.start), Calendar().day(nominal.end)


def _month(name: str, months: int) -> str:
    year, month = int(name[:4]), int(name[5:])
    more, month_0 = divmod(month - 1 + months, 12)
    return f"{year + more:04}-{month_0 + 1:02}"
