"""What every customer would pay right now, kept at hand: for lists, alerts, metrics.

One customer's draft is quick to make, ten thousand are not. So a job makes anew only
those whose usage has changed, oldest first, for as long as one run may take; each
standing says as of when it holds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Final

import msgspec

from meterline_pricing import Period, PricingError
from meterline_sidecar.aggregate import Aggregator
from meterline_sidecar.billing import Billing, NotBillable, calendar_of
from meterline_sidecar.clock import Clock
from meterline_sidecar.config import Customer
from meterline_sidecar.customers import CustomerIndex
from meterline_sidecar.store import usage as store
from meterline_sidecar.store.port import Database

RUN_S_MAX: Final = 0.1  # of each second: ingest and requests go first
EVERY_S: Final = 1


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where one customer stands in their current billing period."""

    customer: str
    period: Period
    quantities: dict[str, int]
    """Usage of each meter."""
    total: Decimal | None
    """The draft's total; ``None`` where there is no draft."""
    currency: str | None
    why_not: str | None
    """Why there is no draft."""
    as_of_ms: int


OnChange = Callable[[Customer, Standing], Awaitable[None]]


class Standings:
    """The standing of every customer."""

    def __init__(
        self,
        database: Database,
        aggregator: Aggregator,
        billing: Billing,
        customers: CustomerIndex,
        *,
        clock: Clock,
    ) -> None:
        self._database = database
        self._aggregator = aggregator
        self._billing = billing
        self._customers = customers
        self._clock = clock
        self.on_change: OnChange | None = None
        """Told of each standing that was made anew, one after the other."""
        self._by_customer: dict[str, Standing] = {}
        self._stale: dict[str, None] = {c.id: None for c in customers.all}
        self._generation = self._cursor = 0
        self._ranked: list[Standing] | None = None

    @property
    def n_missing(self) -> int:
        """How many customers have not been looked at since the start."""
        return len(self._customers.all) - len(self._by_customer)

    def get(self, customer_id: str) -> Standing | None:
        """Return a customer's standing; ``None`` before it was first made."""
        return self._by_customer.get(customer_id)

    def ranked(self) -> list[Standing]:
        """Return every standing, the highest total first."""
        if self._ranked is None:
            self._ranked = sorted(
                self._by_customer.values(),
                key=lambda standing: (-(standing.total or 0), standing.customer),
            )
        return self._ranked

    def totals(self) -> dict[str, Decimal]:
        """Return what all drafts come to, by currency."""
        found: dict[str, Decimal] = {}
        for standing in self._by_customer.values():
            if standing.total is not None and standing.currency is not None:
                before = found.get(standing.currency, Decimal(0))
                found[standing.currency] = before + standing.total
        return found

    async def refresh(self) -> None:
        """Make stale standings anew, as many as one run may."""
        await self._note_changes()
        loop = asyncio.get_running_loop()
        end_s = loop.time() + RUN_S_MAX
        while self._stale and loop.time() < end_s:
            customer_id = next(iter(self._stale))
            del self._stale[customer_id]
            customer = self._customers.get(customer_id)
            if customer is not None:
                await self._renew(customer)

    async def _note_changes(self) -> None:
        generation = self._aggregator.generation
        if generation.id != self._generation:
            self._generation, self._cursor = generation.id, generation.cursor
            self._stale |= {c.id: None for c in self._customers.all}
        elif generation.cursor > self._cursor:
            async with self._database.reading() as tx:
                changed = await store.changed_customers(
                    tx,
                    generation.id,
                    after_event_id=self._cursor,
                    up_to_event_id=generation.cursor,
                )
            self._cursor = generation.cursor
            self._stale |= dict.fromkeys(changed)
        now_ms = self._clock.now_ms()
        self._stale |= {
            standing.customer: None
            for standing in self._by_customer.values()
            if now_ms not in standing.period
        }

    async def _renew(self, customer: Customer) -> None:
        now_ms = self._clock.now_ms()
        try:
            period = calendar_of(customer).at(now_ms)
        except PricingError:
            return  # They start later.
        total: Decimal | None = None
        currency = why_not = None
        try:
            usage, drawn = await self._billing.draft(customer, period)
            total, currency = drawn.total, drawn.currency
        except NotBillable as error:
            why_not = str(error)
            usage = await self._billing.usage(customer, period)
        standing = Standing(
            customer=customer.id,
            period=period,
            quantities={meter.meter: meter.quantity for meter in usage.meters},
            total=total,
            currency=currency,
            why_not=why_not,
            as_of_ms=now_ms,
        )
        self._by_customer[customer.id] = standing
        self._ranked = None
        if self.on_change is not None:
            await self.on_change(customer, standing)
