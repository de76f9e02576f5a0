"""A customer's billing periods, across any change of zone, first or last day.

A period begins where the one before it ended, always: each edge is one instant, in
the zone that holds when the period that it ends began. So no instant is in two
periods or in none, and a period is known by its name, whatever moves.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final
from weakref import WeakKeyDictionary

from meterline_pricing import Period, PricingError
from meterline_pricing.grid import Length, first_day, is_within
from meterline_sidecar.terms.alike import Shared, likeness
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.change import CustomerChange
from meterline_sidecar.terms.days import Days, Zones, day_after
from meterline_sidecar.terms.grids import MONTHLY, Grids, grids_of

CALENDARS_MAX: Final = 256
DAY: Final = timedelta(days=1)


class CustomerCalendar(Days):
    """The billing periods of one customer."""

    def __init__(
        self,
        zones: Zones,
        *,
        starts: date | None = None,
        ends: date | None = None,
        grids: Grids = MONTHLY,
    ) -> None:
        super().__init__(zones)
        self.starts = starts
        self.ends = ends
        """The last day that is billed."""
        self.grids = grids
        """On which days periods begin."""
        self.former = grids
        """The same where no first day was named: a period that was made final before one
        was named is of these."""
        self.absences: tuple[tuple[int, int], ...] = ()
        """``[start, end)`` of each time between leaving and coming back, for which
        nothing is billed."""

    @classmethod
    def of(cls, terms: Terms, customer_id: str) -> "CustomerCalendar":
        """Return the calendar that was agreed with a customer."""
        known = _KNOWN.setdefault(terms, {})
        rows = terms.rows_of_calendar(customer_id)
        found = known.get(customer_id)
        if found is None or found[0] != rows:
            if len(known) >= CALENDARS_MAX:
                known.clear()
            found = rows, cls._of_alike(terms, customer_id)
            known[customer_id] = found
        return found[1]  # not read again: another thread may have cleared it

    @classmethod
    def _of_alike(cls, terms: Terms, customer_id: str) -> "CustomerCalendar":
        """Return the calendar of all with whom the same was agreed."""
        like = likeness(terms, customer_id)
        found = None if like is None else _SHARED.get(terms, like)
        if found is None:
            found = cls._worked_out(terms, customer_id)
            if like is not None:
                _SHARED.put(terms, like, found)
        return found

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
        grids = grids_of(terms, customer_id, Days(zones), starts)
        calendar = cls(zones, starts=starts, ends=ends, grids=grids)
        if starts is not None:
            calendar.former = grids_of(terms, customer_id, Days(zones), None)
        calendar.absences = tuple(_absences(terms, customer_id, calendar))
        return calendar

    def whole(self, name: str) -> Period:
        """Return the period of that name, not cut where the customer starts or ends.

        Raises:
            PricingError: none of theirs is called so.
        """
        first = first_day(name)
        segment = self.grids.of(first)
        begun = self.grids.floor(first)
        if begun != first or segment.grid.name(first) != name:
            raise PricingError(
                f"no period of this customer is called {name}: {first:%-d %b %Y} lies in"
                f" {segment.grid.name(begun)}"
            )
        period = self._period(first)
        if period.start == period.end:
            raise PricingError(f"there was no {name} where this customer is")
        return period

    def _period(self, first: date) -> Period:
        name = self.grids.of(first).grid.name(first)
        return Period(self.edge(first), self.edge(self.grids.after(first)), name)

    def around(self, name: str) -> Period:
        """Return the period that one of that name is a part of.

        It is itself, but for one that is shorter because another length or another
        anchor came.

        Raises:
            PricingError: none of theirs is or was called so.
        """
        try:
            whole = self.whole(name)
        except PricingError:
            if self.former is self.grids:
                raise
            former = CustomerCalendar(self._zones, grids=self.former)
            return former.around(name)
        first = first_day(name)
        grid = self.grids.of(first).grid
        begun = grid.floor(first)
        return whole if begun == first else Period(self.edge(begun), whole.end, name)

    def length(self, name: str) -> Length:
        """Return how long a period is meant to be, by its name."""
        return self.grids.of(first_day(name)).grid.period

    def has_within(self, wanted: str) -> bool:
        """Say whether a period is called so, or begins in that month."""
        day = first_day(wanted)
        first = self.grids.floor(day)
        if first != day:
            first = self.grids.after(first)
        return is_within(self._period(first).name, wanted)

    def named(self, name: str) -> Period:
        """Return the billing period of that name, as far as it is billed.

        Raises:
            PricingError: none of theirs is called so, or it is outside of what is
                billed.
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
            end = min(end, self.start_of(day_after(self.ends)))
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
        """Return the name of the period that an instant lies in.

        Raises:
            PricingError: no calendar reaches that far.
        """
        first = self._first(at_ms)
        return self.grids.of(first).grid.name(first)

    def _first(self, at_ms: int) -> date:
        """Return the first day of the period that an instant lies in."""
        first = self.grids.floor(self.day(at_ms))
        while at_ms < self.edge(first):
            first = self.grids.floor(first - DAY)
        while at_ms >= self.edge(beyond := self.grids.after(first)):
            first = beyond
        return first

    def periods(self, start: int, end: int) -> Iterator[Period]:
        """Yield the whole periods that lie in a span or reach into it, in order."""
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
            last_ms = self.start_of(day_after(self.ends)) - 1
            at_ms = min(at_ms, last_ms)
        return self.at(at_ms)

    def before(self, name: str) -> str:
        """Return the name of the period before one, but for those of an absence."""
        first = first_day(name)
        while True:
            first = self.grids.floor(first - DAY)
            period = self._period(first)
            if period.start < period.end and not self._is_absent(period):
                return period.name

    def next_from(self, at_ms: int) -> Period | None:
        """Return the first billing period that begins at a time or later, if any does.

        The one that lies around it counts when it is cut there, as by a first day.
        """
        if self.starts is not None:
            at_ms = max(at_ms, self.start_of(self.starts))
        last_ms = None
        if self.ends is not None:
            last_ms = self.start_of(day_after(self.ends)) - 1
        first = self._first(at_ms)
        while last_ms is None or self.edge(first) <= last_ms:
            whole = self._period(first)
            if not self._is_absent(whole) and whole.end > max(at_ms, whole.start):
                period = self.named(whole.name)
                if period.start >= at_ms:
                    return period
            first = self.grids.after(first)
        return None


def _absences(
    terms: Terms, customer_id: str, calendar: CustomerCalendar
) -> Iterator[tuple[int, int]]:
    left_ms: int | None = None
    for entry in terms.entries("customer", customer_id):
        change = entry.change
        assert isinstance(change, CustomerChange)
        if change.is_removed is True and isinstance(change.ends, date):
            left_ms = calendar.start_of(day_after(change.ends))
        elif change.is_removed is False and left_ms is not None:
            back_ms = calendar.start_of(calendar.day(entry.from_ms))
            if left_ms < back_ms:
                yield left_ms, back_ms
            left_ms = None


_SHARED: Final[Shared[CustomerCalendar]] = Shared()
_KNOWN: Final[WeakKeyDictionary[Terms, dict[str, tuple[object, CustomerCalendar]]]] = (
    WeakKeyDictionary()
)
"""One invoice asks for its customer's ten times: from how many rows it was made, and
the calendar."""
