"""Invoices: drafts at any time; a period is closed once, and then never changes.

Events that arrive later, and corrections, change what a final period comes to; the
difference is an adjustment on the invoice that becomes final next.
"""

import contextlib
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from meterline_pricing import Period, PricingError
from meterline_sidecar.billing.balances import add_uses
from meterline_sidecar.billing.drafts import Billing, NotBillable
from meterline_sidecar.billing.drawing import Drawing
from meterline_sidecar.billing.first_day import first_ms, is_billable
from meterline_sidecar.billing.lifecycle import (
    Spools,
    check_closable,
    check_gaps,
    check_held,
    missing_of,
    note_accepted,
)
from meterline_sidecar.billing.past import Past, past_of, pasts_of
from meterline_sidecar.billing.statement import (
    Adjustment,
    Closing,
    Issuer,
    Journal,
    Statement,
    add_final,
    finals_of,
)
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.moved import check_terms
from meterline_sidecar.usage.aggregate import Aggregator
from meterline_sidecar.usage.counted import Counted, counted_whole, when_whole


class Invoices:
    """Draws drafts, and makes them final.

    Args:
        aggregator: counts what is there before a period is closed.
        spools: know what is not here yet.
        journal: links what becomes final.
        issuer: gives it its number.
        alarm: why the ledger is not trusted, if it is not.
    """

    def __init__(
        self,
        database: Database,
        billing: Billing,
        aggregator: Aggregator,
        *,
        terms: Terms,
        spools: Spools,
        journal: Journal,
        issuer: Issuer,
        clock: Clock,
        alarm: str | None,
    ) -> None:
        self._database = database
        self._billing = billing
        self._drawing = Drawing(billing, terms)
        self._aggregator = aggregator
        self._terms = terms
        self._spools = spools
        self._journal = journal
        self._issuer = issuer
        self._clock = clock
        self._alarm = alarm

    async def statement(
        self,
        tx: Tx,
        at: Counted,
        customer: Customer,
        period: Period,
        *,
        past: Past | None = None,
        now_ms: int | None = None,
    ) -> Statement:
        """Return the final invoice of a period, or its draft as of this snapshot.

        Args:
            at: of this snapshot; see ``counted``.
            past: of the customer, where it was read already.
            now_ms: the moment, where many are drawn as of the same.

        Raises:
            NotBillable: there is no plan for this customer then.
        """
        past = past or await past_of(tx, customer.id)
        final = past.finals.get(period.name)
        if final is not None:
            return final.statement
        if now_ms is None:
            now_ms = self._clock.now_ms()
        return await self._drawing.draft(
            *(tx, at, customer, period, past), now_ms=now_ms
        )

    async def pasts(
        self, tx: Tx, at: Counted, periods: Sequence[tuple[str, Period]]
    ) -> dict[str, Past]:
        """Return what is to be known of several customers, each with usage of a period.

        Args:
            at: of this snapshot; see ``counted``.
            periods: one of each customer.
        """
        pasts = await pasts_of(tx, [customer for customer, _ in periods])
        among: defaultdict[Period, list[str]] = defaultdict(list)
        for customer, period in periods:
            among[period].append(customer)
        for period, customers in among.items():
            for usage in await self._billing.usage_of_all(tx, at, customers, period):
                known = pasts[usage.customer]
                pasts[usage.customer] = known._replace(usage=usage)
        return pasts

    async def shown(
        self, tx: Tx, at: Counted, customer: Customer, period: Period
    ) -> Statement:
        """Return the invoice of a period as a person is shown it.

        A draft says which periods before it are not final yet.

        Args:
            at: of this snapshot; see ``counted``.

        Raises:
            NotBillable: there is no plan for this customer then, or they begin later.
        """
        past = await past_of(tx, customer.id)
        if (final := past.finals.get(period.name)) is not None:
            return final.statement
        await self._check_begun(tx, at, customer, period)
        return msgspec.structs.replace(
            await self._drawing.draft(
                *(tx, at, customer, period, past), now_ms=self._clock.now_ms()
            ),
            open_before=await self._drawing.open_before(
                tx, at, customer, period, past.finals
            ),
        )

    async def projected(
        self,
        tx: Tx,
        at: Counted,
        customer: Customer,
        period: Period,
        *,
        statement: Statement | None,
    ) -> Decimal | None:
        """Return what will be due for a running period if it goes on as it began.

        ``None`` too early, when the period is over, and where there is no plan.

        Args:
            statement: of the period as it is now; its adjustments will be due as well.
        """
        if statement is None:
            return None
        if self._clock.now_ms() not in period:
            return None
        try:
            drawn = await self._billing.draft(tx, at, customer, period)
        except NotBillable:
            return None
        invoice = self._billing.projected(drawn, now_ms=self._clock.now_ms())
        if invoice is None:
            return None
        return invoice.total + (statement.due - statement.invoice.total)

    async def pending(
        self, tx: Tx, at: Counted, customer: Customer
    ) -> list[Adjustment]:
        """Return what final periods came to since, and no invoice has billed.

        Raises:
            NotBillable: one of them cannot be rated any more.
        """
        past = await past_of(tx, customer.id)
        found = await self._drawing.differences(
            *(tx, at, customer, past.finals, past.balances()),
            now_ms=self._clock.now_ms(),
        )
        return [one for difference in found for one in difference.adjustments]

    async def before(
        self, tx: Tx, at: Counted, customer: Customer, *, at_ms: int, limit: int
    ) -> list[tuple[Period, Statement | None]]:
        """Return a customer's last billing periods before a time, the newest first.

        Back to the first in which they used something or were known, and what is
        final, whenever that was. ``None`` stands for a period in which nobody can say
        what it cost: there was no plan for them.

        Args:
            at: of this snapshot; see ``counted``.
        """
        past = await past_of(tx, customer.id)
        calendar = CustomerCalendar.of(self._terms, customer.id)
        first = await first_ms(tx, at, self._terms, customer.id)
        found: list[tuple[Period, Statement | None]] = []
        name = calendar.name_at(at_ms)
        oldest = min([calendar.name_at(first), *past.finals])
        while len(found) < limit and name > oldest:
            name = calendar.before(name)
            final = past.finals.get(name)
            if final is not None:
                found.append((final.period, final.statement))
                continue
            with contextlib.suppress(PricingError):
                period = calendar.named(name)
                if period.end <= first:
                    continue
                statement: Statement | None = None
                with contextlib.suppress(NotBillable):
                    statement = await self._drawing.draft(
                        *(tx, at, customer, period, past), now_ms=self._clock.now_ms()
                    )
                found.append((period, statement))
        return found

    async def _check_begun(
        self, tx: Tx, at: Counted, customer: Customer, period: Period
    ) -> int:
        first = await first_ms(tx, at, self._terms, customer.id)
        calendar = CustomerCalendar.of(self._terms, customer.id)
        if not is_billable(calendar, period.name, first):
            raise NotBillable(
                f"customer {customer.id}: there is nothing to bill in"
                f" {period.name}, as they begin on {calendar.day(first)}; set"
                " `starts` to bill earlier periods"
            )
        return first

    async def finalize(
        self, customer: Customer, period: Period, *, accept_gap: bool, author: str
    ) -> Statement:
        """Make the invoice of a period final, once; return it, also the second time.

        Args:
            accept_gap: bill although numbers are missing. Which, is noted on it.
            author: who asks for it.

        Raises:
            NotBillable: it cannot be final now; the text says why, and what to do.
        """
        async with self._database.reading() as tx:
            final = (await finals_of(tx, customer.id)).get(period.name)
        if final is not None:
            return final.statement
        check_closable(period, now_ms=self._clock.now_ms(), alarm=self._alarm)
        missing = await missing_of(
            self._database, self._spools, period, clock=self._clock
        )
        await self._aggregator.run()
        gaps = check_gaps(period, missing, accept_gap=accept_gap)

        async def close() -> Statement:
            # Drawn where it is kept: no other invoice or event comes in between.
            async with self._database.transaction() as tx:
                at = await counted_whole(tx)
                await note_accepted(tx, missing.gaps)
                closing = Closing(self._clock.now_ms(), author, "by hand", gaps)
                return await self.close(tx, at, customer, period, closing)

        return await when_whole(close, self._aggregator.run)

    async def close(
        self,
        tx: Tx,
        at: Counted,
        customer: Customer,
        period: Period,
        closing: Closing,
        *,
        journal: Journal | None = None,
        past: Past | None = None,
    ) -> Statement:
        """Make a period final in this transaction, unless it is; return its invoice.

        Args:
            at: of this transaction; see ``counted``.
            journal: links what is written, for who closes many in one transaction.
            past: of the customer, where it was read already, in this transaction.

        Raises:
            NotBillable: it cannot be; nothing was written.
            TermsMoved: another process agreed to something just now; try again.
        """
        await check_terms(self._database, tx, self._terms)
        past = past or await past_of(tx, customer.id)
        if (final := past.finals.get(period.name)) is not None:
            return final.statement
        since_ms = await self.check(tx, at, customer, period, past)
        return await self._close(
            *(tx, at, customer, period, past, closing),
            since_ms=since_ms,
            journal=journal or self._journal,
        )

    async def check(
        self, tx: Tx, at: Counted, customer: Customer, period: Period, past: Past
    ) -> int:
        """Check that a customer has begun, and that nothing of a period is held.

        Returns from when on they are billed, UTC ms.

        Raises:
            NotBillable: the text says what speaks against making it final.
        """
        since_ms = await self._check_begun(tx, at, customer, period)
        if past.may_be_held:
            await check_held(tx, customer.id, period)
        return since_ms

    async def _close(
        self,
        tx: Tx,
        at: Counted,
        customer: Customer,
        period: Period,
        past: Past,
        closing: Closing,
        *,
        since_ms: int,
        journal: Journal,
    ) -> Statement:
        """Draw an invoice and keep it, with all that it adjusts and uses up."""
        final, uses = await self._drawing.final(
            *(tx, at, customer, period, past),
            now_ms=closing.now_ms,
            gaps=closing.gaps,
            since_ms=since_ms,
        )
        row_id = await add_final(
            *(tx, final, period, closing),
            buyer=customer,
            journal=journal,
            issuer=self._issuer,
        )
        await add_uses(tx, uses, invoice_id=row_id, journal=journal)
        return final
