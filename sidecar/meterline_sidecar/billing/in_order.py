"""Periods that are not final although a later one is, or is about to be.

A customer's periods may be closed in any order: whatever order it is, a difference is
billed once. What was left out on the way is named, so that nobody forgets it.
"""

import asyncio
from collections.abc import Container, Iterator, Mapping
from typing import Final

from meterline_pricing import Calendar, Period, PricingError
from meterline_sidecar.store.invoices import FinalRange, final_names
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.agreed import agreed
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar

NAMED_MAX: Final = 24
"""So many open periods are named: who closes them sees the next ones."""
CUSTOMERS_PER_STEP: Final = 500  # a few milliseconds; then others go first
LOOKED_AT_MAX: Final = 200
"""Customers whose calendar one look works out; the next look goes on."""
PERIODS_MAX: Final = (
    4_000  # ten years of days; a first day of another century is a mistake
)


def open_periods(
    terms: Terms,
    customer: str,
    finals: Container[str],
    *,
    since_ms: int,
    before_ms: int,
) -> list[Period]:
    """Return the periods between two times that could be final, and are not, in order.

    Args:
        finals: the names of the customer's final periods.
    """
    found: list[Period] = []
    for period in _periods(terms, customer, since_ms=since_ms, before_ms=before_ms):
        if period.name not in finals and has_plan(terms, customer, period):
            found.append(period)
            if len(found) == NAMED_MAX:
                break
    return found


def _periods(
    terms: Terms, customer: str, *, since_ms: int, before_ms: int
) -> Iterator[Period]:
    calendar = CustomerCalendar.of(terms, customer)
    for i, whole in enumerate(calendar.periods(since_ms, before_ms)):
        if i == PERIODS_MAX:
            return
        try:
            period = calendar.named(whole.name)
        except PricingError:
            continue  # nothing is billed in it
        if since_ms < period.end <= before_ms:
            yield period


def has_plan(terms: Terms, customer: str, period: Period) -> bool:
    """Say whether a plan holds in any part of a period."""
    try:
        return any(part.plan is not None for part in agreed(terms, customer, period))
    except PricingError:
        return False  # no version of it holds then


class Skipped:
    """Finds the periods that were left out before one that is final.

    What is found of a customer is kept until more of theirs is final or agreed.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._known: dict[str, tuple[tuple[int, ...], list[Period]]] = {}

    async def find(
        self, tx: Tx, finals: Mapping[str, FinalRange]
    ) -> dict[str, list[Period]]:
        """Return them by customer, in order; only customers who have any."""
        found: dict[str, list[Period]] = {}
        n_new = 0
        for i, (name, final) in enumerate(finals.items(), 1):
            if i % CUSTOMERS_PER_STEP == 0:
                await asyncio.sleep(0)
            entries = self._terms.entries("customer", name)
            if not entries or self._is_in_order(name, final):
                continue
            key = (
                final.n_invoices,
                final.covered_ms,
                *self._terms.rows_of_calendar(name),
            )
            if self._known.get(name, (None,))[0] != key:
                n_new += 1
                if n_new > LOOKED_AT_MAX:
                    continue
                self._known[name] = (key, await self._skipped(tx, name, final))
            if periods := self._known[name][1]:
                found[name] = periods
        return found

    def _is_in_order(self, name: str, final: FinalRange) -> bool:
        """Say whether it is plain, without a calendar, that nothing was left out."""
        if final.covered_ms < final.end_ms - final.start_ms:
            return False
        return final.start_ms <= self._since_ms(name)

    async def _skipped(self, tx: Tx, name: str, final: FinalRange) -> list[Period]:
        since_ms = self._since_ms(name)
        calendar = CustomerCalendar.of(self._terms, name)
        if calendar.starts is not None:
            since_ms = calendar.start_of(calendar.starts)
        return open_periods(
            self._terms,
            name,
            await final_names(tx, name),
            since_ms=min(since_ms, final.start_ms),
            before_ms=final.end_ms,
        )

    def _since_ms(self, name: str) -> int:
        """Return when a customer began, in the zone that was agreed first."""
        steps = self._terms.field(name, "starts")
        starts = steps[-1][1] if steps else None
        if starts is None:
            return self._terms.learned_ms(name)
        zones = self._terms.field(name, "time_zone")
        zone = zones[0][1] if zones else "UTC"
        return Calendar(time_zone=zone).start_of(starts)
