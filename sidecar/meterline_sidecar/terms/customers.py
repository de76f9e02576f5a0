"""The customers as they are agreed now, by id."""

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from meterline_sidecar.clock import Clock
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.terms.book import Terms

FOREVER_MS = 2**63 - 1
INSERTED_MAX: Final = 1_000
"""New ids that are put in one by one; more are sorted at once, with all others."""
CUSTOMERS_PER_STEP: Final = 500  # some milliseconds
KNOWN_MAX: Final = 1_000
"""Customers that are kept as they are agreed: pages ask for some again and again."""


class _Known(NamedTuple):
    n_entries: int
    until_ms: int
    customer: Customer


class CustomerIndex:
    """A view on the terms: who there is at this moment, and what was agreed with them.

    Whoever was taken out is here, too: they may owe something.
    """

    def __init__(self, terms: Terms, *, clock: Clock) -> None:
        self._terms = terms
        self._clock = clock
        self._ids: list[str] = []
        self._row_id = 0
        """Up to which row of terms the ids are known."""
        self._known: dict[str, _Known] = {}

    def __len__(self) -> int:
        """Return how many customers there are."""
        return len(self.ids)

    @property
    def ids(self) -> list[str]:
        """The ids of all customers, sorted."""
        names = self._terms.names("customer")
        if len(names) > len(self._ids) + INSERTED_MAX:
            self._ids = sorted(names)
        elif len(names) > len(self._ids):  # customers are never forgotten
            for kind, name in self._terms.learned_after(self._row_id):
                if kind == "customer" and not self._has(name):
                    insort(self._ids, name)
        self._row_id = self._terms.row_id
        return self._ids

    def _has(self, customer_id: str) -> bool:
        i = bisect_left(self._ids, customer_id)
        return i < len(self._ids) and self._ids[i] == customer_id

    async def each(self) -> AsyncIterator[Customer]:
        """Yield every customer, in order of their ids; others go between some."""
        for i, name in enumerate(list(self.ids), 1):
            if i % CUSTOMERS_PER_STEP == 0:
                await asyncio.sleep(0)
            yield self._at(name, self._clock.now_ms())

    def get(self, customer_id: str, *, now_ms: int | None = None) -> Customer | None:
        """Return the customer with this id.

        Args:
            now_ms: the moment, where many are asked for as of the same.
        """
        if not self._terms.count("customer", customer_id):
            return None
        return self._at(customer_id, now_ms or self._clock.now_ms())

    def page(self, after: str, limit: int) -> tuple[list[Customer], str | None]:
        """Return customers whose ids come after ``after``, and where to go on."""
        ids = self.ids
        start = bisect_right(ids, after)
        now_ms = self._clock.now_ms()
        found = [self._at(name, now_ms) for name in ids[start : start + limit]]
        is_last = start + limit >= len(ids)
        return found, None if is_last else found[-1].id

    def _at(self, customer_id: str, now_ms: int) -> Customer:
        n_entries = self._terms.count("customer", customer_id)
        known = self._known.get(customer_id)
        if known and known.n_entries == n_entries and now_ms < known.until_ms:
            return known.customer
        agreed = self._terms.customer(customer_id, now_ms)
        assert agreed is not None, "asked for one that there is"
        customer = Customer(
            id=customer_id,
            name=agreed.name or customer_id,
            subjects=agreed.subjects,
            plan=agreed.plan,
            plans=agreed.plans,
            stripe_customer=agreed.stripe_customer,
            time_zone=agreed.time_zone,
            anchor=agreed.anchor,
            starts=agreed.starts,
            ends=agreed.ends,
            address=agreed.address,
            tax_id=agreed.tax_id,
            email=agreed.email,
            locale=agreed.locale,
            is_taken_out=agreed.is_removed,
        )
        entries = self._terms.entries("customer", customer_id)
        later = (entry.from_ms for entry in entries if entry.from_ms > now_ms)
        until_ms = min(later, default=FOREVER_MS)
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[customer_id] = _Known(n_entries, until_ms, customer)
        return customer
