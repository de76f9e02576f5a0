"""Invoices: drafts at any time; a period is closed once, and then never changes.

Events that arrive later, and corrections, change what a final period comes to; the
difference is an adjustment on the invoice that is drawn next.
"""

import contextlib
from decimal import Decimal

import msgspec

from meterline_pricing import Period, PricingError
from meterline_sidecar.billing.drafts import Billing, NotBillable
from meterline_sidecar.billing.late import adjustments
from meterline_sidecar.billing.lifecycle import check_closable, check_gaps
from meterline_sidecar.billing.statement import Statement, add_final, finals_of
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.shape import Customer, calendar_of
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.usage.aggregate import Aggregator
from meterline_sidecar.usage.counted import Counted, counted


class Invoices:
    """Draws drafts, and makes them final.

    Args:
        aggregator: counts what is there before a period is closed.
        alarm: why the ledger is not trusted, if it is not.
    """

    def __init__(
        self,
        database: Database,
        billing: Billing,
        aggregator: Aggregator,
        *,
        clock: Clock,
        alarm: str | None,
    ) -> None:
        self._database = database
        self._billing = billing
        self._aggregator = aggregator
        self._clock = clock
        self._alarm = alarm

    async def statement(
        self, tx: Tx, at: Counted, customer: Customer, period: Period
    ) -> Statement:
        """Return the final invoice of a period, or its draft as of this snapshot.

        Args:
            at: of this snapshot; see ``counted``.

        Raises:
            NotBillable: there is no plan for this customer then.
        """
        finals = await finals_of(tx, customer.id)
        final = finals.get(period.start)
        return final or await self._draft(tx, at, customer, period, finals)

    async def before(
        self, tx: Tx, at: Counted, customer: Customer, *, at_ms: int, limit: int
    ) -> list[tuple[Period, Statement | None]]:
        """Return a customer's last billing periods before a time, the newest first.

        ``None`` stands for a period in which nobody can say what it cost: there was
        no plan for them.

        Args:
            at: of this snapshot; see ``counted``.
        """
        finals = await finals_of(tx, customer.id)
        found: list[tuple[Period, Statement | None]] = []
        for period in _periods_before(customer, at_ms, limit):
            statement = finals.get(period.start)
            if statement is None:
                with contextlib.suppress(NotBillable):
                    statement = await self._draft(tx, at, customer, period, finals)
            found.append((period, statement))
        return found

    async def finalize(
        self, customer: Customer, period: Period, *, accept_gap: bool
    ) -> Statement:
        """Make the invoice of a period final, once; return it, also the second time.

        Args:
            accept_gap: bill although numbers are missing. Which, is noted on it.

        Raises:
            NotBillable: it cannot be final now; the text says why, and what to do.
        """
        async with self._database.reading() as tx:
            final = (await finals_of(tx, customer.id)).get(period.start)
        if final is not None:
            return final
        check_closable(period, now_ms=self._clock.now_ms(), alarm=self._alarm)
        await self._aggregator.run()
        # Drawn where it is kept: no other invoice, gap or event comes in between.
        async with self._database.transaction() as tx:
            finals = await finals_of(tx, customer.id)
            if (final := finals.get(period.start)) is not None:
                return final  # Another request was faster.
            gaps = await check_gaps(tx, period, accept_gap=accept_gap)
            drawn = await self._draft(tx, await counted(tx), customer, period, finals)
            final = msgspec.structs.replace(
                drawn, finalized_ms=self._clock.now_ms(), accepted_gaps=gaps
            )
            await add_final(tx, final, period)
        return final

    async def _draft(
        self,
        tx: Tx,
        at: Counted,
        customer: Customer,
        period: Period,
        finals: dict[int, Statement],
    ) -> Statement:
        usage, drawn = await self._billing.draft(tx, at, customer, period)
        earlier = [s for start, s in finals.items() if start < period.start]
        adjusted = await adjustments(tx, at, self._billing, customer, earlier=earlier)
        return Statement(
            customer=customer.id,
            finalized_ms=None,
            counted_up_to_event=at.up_to_event,
            usage=usage.meters,
            invoice=drawn,
            adjustments=adjusted,
            due=drawn.total + sum((a.amount for a in adjusted), Decimal(0)),
        )


def _periods_before(customer: Customer, at_ms: int, limit: int) -> list[Period]:
    """Return the periods before the one of ``at_ms``, back to the customer's first."""
    calendar = calendar_of(customer)
    found: list[Period] = []
    with contextlib.suppress(PricingError):  # before their first day
        start = calendar.at(at_ms).start
        while len(found) < limit:
            found.append(calendar.at(start - 1))
            start = found[-1].start
    return found
