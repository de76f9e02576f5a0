"""What every customer would pay right now, kept at hand: for lists, alerts, metrics.

One customer's draft is quick to make, ten thousand are not. So a job makes anew only
those whose usage or terms have changed, oldest first, for as long as one run may take;
each standing says as of when it holds. Who used something does not wait behind
everybody whose standing was not made since the start: they take turns, until somebody
has waited long.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

from meterline_pricing import Invoice, Period, PricingError
from meterline_sidecar.billing.drafts import Billing, NotBillable
from meterline_sidecar.billing.invoices import Invoices
from meterline_sidecar.billing.past import Past
from meterline_sidecar.billing.ranking import Ranking
from meterline_sidecar.billing.standing import (
    Standing,
    decode,
    encode,
    rank_of,
    values_not_priced,
)
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.store import changes
from meterline_sidecar.store import invoices as invoice_store
from meterline_sidecar.store.edge import event_log
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.customers import FOREVER_MS, CustomerIndex
from meterline_sidecar.usage.counted import Counted, counted

RUN_S_MAX: Final = 0.1  # of each second: ingest and requests go first
RUN_S_MAX_BUSY: Final = 0.01
"""The same while events come: a hundredth, as 100,000 drafts take very many runs."""
LATE_MS: Final = 10_000
"""Whoever used something and waits for longer is made with the larger share, also then:
a tenth of a core is some 250 customers a second."""
PER_SNAPSHOT: Final = 16
"""Made in one call of the database's thread, which has the interpreter meanwhile."""
CUSTOMERS_PER_STEP: Final = 2_000  # some milliseconds; then others go first
BUSY_EVENTS: Final = 100
"""Stored since the run before."""
LOOK_AGAIN_S: Final = 10.0
"""While so many come, who used something is asked no sooner: with each few events of a
customer their standing would be made again, which costs more than all else of these."""
EVERY_S: Final = 1


class Found(NamedTuple):
    """What a look at the ledger says of standings."""

    at: Counted
    event_id: int
    """The newest that is stored."""
    is_busy: bool
    changed: list[str] | None
    """Who used something since the last look; ``None``: this was not asked."""


OnChange = Callable[[Customer, Standing], Awaitable[None]]
Quiet = Callable[[], AbstractAsyncContextManager[None]]
"""Keeps what is agreed as it is while it is open."""


class Standings:
    """The standing of every customer.

    Args:
        quiet: keeps terms unchanged while they are read in the database's thread.
    """

    def __init__(
        self,
        database: Database,
        invoices: Invoices,
        billing: Billing,
        customers: CustomerIndex,
        *,
        terms: Terms,
        quiet: Quiet,
        clock: Clock,
    ) -> None:
        self._database = database
        self._quiet = quiet
        self._invoices = invoices
        self._billing = billing
        self._terms = terms
        self._terms_row = terms.row_id
        self._customers = customers
        self._clock = clock
        self._listeners: list[OnChange] = []
        self._by_customer: dict[str, bytes] = {}
        """Packed: of very many a page shows some."""
        self._used: OrderedDict[str, int] = OrderedDict()
        """Whose usage changed, and since when they wait; the oldest first."""
        self._stale: dict[str, None] = {}
        """Who else is to be made anew; the newest first: after a close it is everybody,
        and an ordered one takes twice the memory."""
        self._all: Iterator[str] | None = iter(customers.ids)
        """Everybody, where all are to be made anew, but for whoever was meanwhile."""
        self._meanwhile: set[str] = set()
        self._generation = self._cursor = self._event_id = self._looked_ms = 0
        self._look_again_s = 0.0
        self._invoice_id: int | None = None
        self._first_end_ms = FOREVER_MS
        """Before that no period ends of which there is a standing."""
        # Kept as standings change: pages ask for both, and there may be many.
        self._order = Ranking()
        self._totals: dict[str, Decimal] = {}
        self._odd: dict[str, Standing] = {}

    @property
    def n_missing(self) -> int:
        """How many customers have not been looked at since the start."""
        return len(self._customers) - len(self._by_customer)

    def get(self, customer_id: str) -> Standing | None:
        """Return a customer's standing; ``None`` before it was first made."""
        packed = self._by_customer.get(customer_id)
        return None if packed is None else decode(packed)

    @property
    def n_ranked(self) -> int:
        """How many standings there are."""
        return len(self._order)

    def ranked(self, limit: int, *, start: int = 0) -> list[Standing]:
        """Return some standings, those with the highest totals first."""
        end = start + limit
        return [decode(self._by_customer[one]) for one in self._order[start:end]]

    def rank(self, customer_id: str) -> tuple[bool, int, str]:
        """Return what customers are sorted by to stand as ``ranked``, the others last."""
        standing = self.get(customer_id)
        if standing is None:
            return True, 0, customer_id
        return False, *rank_of(standing)

    def totals(self) -> dict[str, Decimal]:
        """Return what all drafts come to, by currency."""
        return dict(self._totals)

    def odd(self) -> list[Standing]:
        """Return the standings that leave out something that was used."""
        return list(self._odd.values())

    def listen(self, listener: OnChange) -> None:
        """Call ``listener`` with each standing that is made anew from now on.

        One standing after the other, and of each in the order of listening.
        """
        self._listeners.append(listener)

    async def refresh(self) -> None:
        """Make stale standings anew, as many as one run may."""
        loop = asyncio.get_running_loop()
        found = await self._database.read(partial(self._look, loop.time()))
        await self._note(found, loop.time())
        is_late = self._waited_ms() > LATE_MS
        share_s = RUN_S_MAX_BUSY if found.is_busy and not is_late else RUN_S_MAX
        end_s = loop.time() + share_s
        while self._is_waiting and loop.time() < end_s:
            waiting = self._waiting(used_only=found.is_busy and is_late)
            customers = list(islice(waiting, PER_SNAPSHOT))
            if not customers:
                return
            async with self._quiet():
                made = await self._database.read(partial(self._made, customers))
            for customer, standing in made:
                self._put(standing)
                for listener in self._listeners:
                    await listener(customer, standing)

    @property
    def _is_waiting(self) -> bool:
        return bool(self._used or self._stale) or self._all is not None

    def _waited_ms(self) -> int:
        """Return how long somebody waits whose usage changed."""
        since_ms = next(iter(self._used.values()), None)
        return 0 if since_ms is None else self._clock.now_ms() - since_ms

    def _waiting(self, *, used_only: bool) -> Iterator[Customer]:
        """Yield who is next, and take them out of the line.

        Args:
            used_only: only of whom usage changed.
        """
        while self._is_waiting:
            if self._used:
                yield from self._before_all(self._used.popitem(last=False)[0])
            elif used_only:
                return
            if used_only:
                continue
            if self._stale:
                yield from self._before_all(self._stale.popitem()[0])
            elif self._all is not None:
                customer_id = next(self._all, None)
                if customer_id is None:
                    self._all = None
                    self._meanwhile.clear()
                elif customer_id not in self._meanwhile:
                    yield from self._known(customer_id)

    def _before_all(self, customer_id: str) -> Iterator[Customer]:
        if self._all is not None:
            self._meanwhile.add(customer_id)
        return self._known(customer_id)

    def _known(self, customer_id: str) -> Iterator[Customer]:
        """Yield a customer that there is; they wait no more."""
        self._used.pop(customer_id, None)
        self._stale.pop(customer_id, None)
        customer = self._customers.get(customer_id)
        if customer is not None:
            yield customer

    async def _look(self, now_s: float, tx: Tx) -> Found:
        """Return what there is to do, as cheaply as that can be said."""
        at = await counted(tx)
        event_id = await event_log.last_event_id(tx)
        is_busy = event_id - self._event_id >= BUSY_EVENTS
        changed: list[str] | None = None
        if (
            at.generation == self._generation
            and at.up_to_event > self._cursor
            and not (is_busy and now_s < self._look_again_s)
        ):
            changed = await changes.changed_customers(
                tx,
                at.generation,
                after_event_id=self._cursor,
                up_to_event_id=at.up_to_event,
            )
        return Found(at, event_id, is_busy, changed)

    async def _note(self, found: Found, now_s: float) -> None:
        at, now_ms = found.at, self._clock.now_ms()
        self._event_id = found.event_id
        await self._note_ended(now_ms)
        if at.generation != self._generation:
            self._note_all()
            self._generation, self._cursor = at.generation, at.up_to_event
        elif found.changed is not None:
            for customer_id in found.changed:
                self._used.setdefault(customer_id, now_ms)
            self._cursor, self._look_again_s = at.up_to_event, now_s + LOOK_AGAIN_S
        if self._terms.row_id > self._terms_row:
            changed_terms = self._changed_terms()
            if changed_terms is None:
                self._note_all()
            else:
                self._stale |= dict.fromkeys(changed_terms)
            self._terms_row = self._terms.row_id

    def _note_all(self) -> None:
        self._all = iter(self._customers.ids)
        self._meanwhile.clear()

    async def _note_ended(self, now_ms: int) -> None:
        """Note the standings of periods that are over, once the first of them is.

        Or of those that are yet to come, where the clock was set back.
        """
        if not self._looked_ms <= now_ms < self._first_end_ms:
            first_end_ms = FOREVER_MS
            for i, (customer, packed) in enumerate(list(self._by_customer.items()), 1):
                if i % CUSTOMERS_PER_STEP == 0:
                    await asyncio.sleep(0)
                period = decode(packed).period
                if now_ms in period:
                    first_end_ms = min(first_end_ms, period.end)
                else:
                    self._stale[customer] = None
            self._first_end_ms = first_end_ms
        self._looked_ms = now_ms

    def _changed_terms(self) -> Iterable[str] | None:
        """Return the customers with whom something else was agreed since.

        ``None``: maybe with everybody.
        """
        for kind in ("plan", "meter"):
            for name in self._terms.names(kind):
                if self._terms.entries(kind, name)[-1].row_id > self._terms_row:
                    return None
        return [
            name
            for kind, name in self._terms.learned_after(self._terms_row)
            if kind == "customer"
        ]

    async def lead(self) -> None:
        """Have every standing made anew: who leads tells those who listen."""
        self._stale = dict.fromkeys(self._customers.ids)

    async def follow_ledger(self) -> None:
        """Note whose invoices became final elsewhere since."""
        async with self._database.reading() as tx:
            newest = await invoice_store.newest_invoice(tx)
            if self._invoice_id is not None and newest != self._invoice_id:
                for name in await invoice_store.customers_after(tx, self._invoice_id):
                    self.note(name)
        self._invoice_id = newest

    def note(self, customer_id: str) -> None:
        """Have a customer's standing made anew: an invoice of theirs became final."""
        self._stale[customer_id] = None

    async def _made(
        self, customers: Sequence[Customer], tx: Tx
    ) -> list[tuple[Customer, Standing]]:
        """Return the standings of some customers, from one snapshot."""
        at = await counted(tx)
        now_ms = self._clock.now_ms()
        periods: dict[str, Period] = {}
        for one in customers:
            with suppress(PricingError):  # they start later, or have left
                periods[one.id] = CustomerCalendar.of(self._terms, one.id).at(now_ms)
        pasts = await self._invoices.pasts(tx, at, list(periods.items()))
        return [
            (
                one,
                await self._standing(
                    *(tx, at, one, periods[one.id], pasts[one.id]), now_ms=now_ms
                ),
            )
            for one in customers
            if one.id in periods
        ]

    async def _standing(
        self,
        tx: Tx,
        at: Counted,
        customer: Customer,
        period: Period,
        past: Past,
        *,
        now_ms: int,
    ) -> Standing:
        """Return where a customer stands in the period that runs."""
        total: Decimal | None = None
        currency = why_not = None
        drawn: Invoice | None = None
        try:
            stated = await self._invoices.statement(
                *(tx, at, customer, period), past=past, now_ms=now_ms
            )
            drawn = stated.invoice
            total, currency = stated.due, drawn.currency
            meters = stated.usage
        except NotBillable as error:
            why_not = str(error)
            assert past.usage is not None, "it was read with the past"
            meters = past.usage.meters
        return Standing(
            customer=customer.id,
            period=period,
            quantities={meter.meter: meter.quantity for meter in meters},
            total=total,
            currency=currency,
            why_not=why_not,
            has_plan=customer.plan is not None,
            meters_not_priced=() if drawn is None else drawn.unpriced,
            values_not_priced=() if drawn is None else values_not_priced(drawn),
            as_of_ms=now_ms,
        )

    def _put(self, standing: Standing) -> None:
        """Take a standing in, in place of the one before it."""
        before = self.get(standing.customer)
        if before is not None:
            self._order.remove(*rank_of(before))
            self._add(before, sign=-1)
        self._by_customer[standing.customer] = encode(standing)
        self._first_end_ms = min(self._first_end_ms, standing.period.end)
        self._odd.pop(standing.customer, None)
        if standing.is_odd:
            self._odd[standing.customer] = standing
        self._order.add(*rank_of(standing))
        self._add(standing, sign=1)

    def _add(self, standing: Standing, *, sign: int) -> None:
        if standing.total is not None and standing.currency is not None:
            known = self._totals.get(standing.currency, Decimal(0))
            self._totals[standing.currency] = known + sign * standing.total
