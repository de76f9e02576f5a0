"""Final invoices: a period is closed once, over nothing that is missing in silence.

A final invoice never changes. Events that arrive later, and corrections, change what
the period comes to; the difference is an adjustment on the invoice that is drawn next.
"""

import contextlib
from decimal import Decimal
from typing import Final

import msgspec

from meterline_pricing import Invoice, Period, PricingError
from meterline_sidecar.billing.drafts import (
    Billing,
    MeterUsage,
    NotBillable,
)
from meterline_sidecar.clock import Clock, format_time_ms
from meterline_sidecar.config.shape import Customer, calendar_of
from meterline_sidecar.store import invoices as store
from meterline_sidecar.store.edge import gaps as gap_store
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.usage.aggregate import Aggregator

ADJUSTED_PERIODS_MAX: Final = 13  # how many final periods back are compared


class Adjustment(msgspec.Struct, frozen=True, kw_only=True):
    """What a final invoice would come to now, less what was billed for it."""

    period: str
    billed: Decimal
    """On its own invoice, with the adjustments since."""
    now: Decimal
    amount: Decimal
    """``now - billed``: below zero it is a credit."""


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice, draft or final, with the adjustments of earlier ones."""

    customer: str
    finalized_ms: int | None
    """``None`` for a draft."""
    counted_up_to_event: int
    """The invoice is a function of the events up to this one and of its plan."""
    usage: tuple[MeterUsage, ...]
    invoice: Invoice
    adjustments: tuple[Adjustment, ...] = ()
    due: Decimal
    """The invoice's total with the adjustments."""
    accepted_gaps: tuple[str, ...] = ()
    """What was missing, and was accepted as missing, when it was finalised."""


_decode: Final = msgspec.json.Decoder(Statement).decode


class Invoices:
    """Draws drafts, and makes them final.

    Args:
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

    async def statement(self, customer: Customer, period: Period) -> Statement:
        """Return the final invoice of a period, or its draft as of now.

        Raises:
            NotBillable: there is no plan for this customer then.
        """
        finals = await self._finals(customer)
        final = finals.get(period.start)
        return final or await self._draft(customer, period, finals)

    async def before(
        self, customer: Customer, at_ms: int, *, limit: int
    ) -> list[tuple[Period, Statement | None]]:
        """Return a customer's last billing periods before a time, the newest first.

        ``None`` stands for a period in which nobody can say what it cost: there was
        no plan for them.
        """
        finals = await self._finals(customer)
        found: list[tuple[Period, Statement | None]] = []
        for period in _periods_before(customer, at_ms, limit):
            statement = finals.get(period.start)
            if statement is None:
                with contextlib.suppress(NotBillable):
                    statement = await self._draft(customer, period, finals)
            found.append((period, statement))
        return found

    async def finalize(
        self, customer: Customer, period: Period, *, accept_gap: bool
    ) -> Statement:
        """Make the invoice of a period final, once; return it, also the second time.

        Args:
            accept_gap: bill although numbers are missing. Which, is noted on it.

        Raises:
            NotBillable: it can not be final now; the text says why, and what to do.
        """
        if (final := (await self._finals(customer)).get(period.start)) is not None:
            return final
        gaps = await self._check(period)
        if gaps and not accept_gap:
            raise NotBillable(
                f"period {period.name} has open gaps: {'; '.join(gaps)}. Wait for them,"
                " or give them up with --accept-gap"
            )
        await self._aggregator.run()
        drawn = await self._draft(customer, period, await self._finals(customer))
        final = msgspec.structs.replace(
            drawn, finalized_ms=self._clock.now_ms(), accepted_gaps=tuple(gaps)
        )
        async with self._database.transaction() as tx:
            # Another request may have been faster: theirs is the one that counts.
            if (other := await self._find(tx, customer, period)) is not None:
                return other
            await store.add_final(tx, _row(final, period))
        return final

    async def _check(self, period: Period) -> list[str]:
        """Return the open gaps in words, when nothing else speaks against it."""
        if self._alarm is not None:
            raise NotBillable(f"the ledger is not trusted: {self._alarm}")
        if self._clock.now_ms() < period.end:
            raise NotBillable(
                f"period {period.name} ends on {format_time_ms(period.end)}: only then"
                " can its invoice be final"
            )
        async with self._database.reading() as tx:
            gaps = await gap_store.open_gaps(tx, before_ms=period.end)
        return [
            f"producer {gap.producer} ({gap.app}, process {gap.pid} on {gap.host})"
            f" recorded {gap.first_seq} to {gap.last_seq}, which have not arrived"
            for gap in gaps
        ]

    async def _draft(
        self, customer: Customer, period: Period, finals: dict[int, Statement]
    ) -> Statement:
        usage, drawn = await self._billing.draft(customer, period)
        earlier = [s for start, s in finals.items() if start < period.start]
        adjustments = await self._adjustments(customer, earlier)
        return Statement(
            customer=customer.id,
            finalized_ms=None,
            counted_up_to_event=usage.counted_up_to_event,
            usage=usage.meters,
            invoice=drawn,
            adjustments=adjustments,
            due=drawn.total + sum((a.amount for a in adjustments), Decimal(0)),
        )

    async def _adjustments(
        self, customer: Customer, earlier: list[Statement]
    ) -> tuple[Adjustment, ...]:
        """Return what earlier final invoices came to since, where that differs."""
        found: list[Adjustment] = []
        for final in earlier[-ADJUSTED_PERIODS_MAX:]:
            period = final.invoice.period
            assert period is not None
            _, drawn = await self._billing.draft(customer, period)
            billed = final.invoice.total + sum(
                (
                    adjustment.amount
                    for other in earlier
                    for adjustment in other.adjustments
                    if adjustment.period == period.name
                ),
                Decimal(0),
            )
            if drawn.total != billed:
                found.append(
                    Adjustment(
                        period=period.name,
                        billed=billed,
                        now=drawn.total,
                        amount=drawn.total - billed,
                    )
                )
        return tuple(found)

    async def _finals(self, customer: Customer) -> dict[int, Statement]:
        async with self._database.reading() as tx:
            rows = await store.finals_of(tx, customer.id)
        return {row.period_start_ms: _decode(row.document) for row in rows}

    async def _find(
        self, tx: Tx, customer: Customer, period: Period
    ) -> Statement | None:
        rows = await store.finals_of(tx, customer.id)
        found = [row for row in rows if row.period_start_ms == period.start]
        return _decode(found[0].document) if found else None


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


def _row(final: Statement, period: Period) -> store.FinalRow:
    assert final.finalized_ms is not None
    return store.FinalRow(
        id=0,
        customer=final.customer,
        period_start_ms=period.start,
        period_end_ms=period.end,
        finalized_ms=final.finalized_ms,
        document=msgspec.json.encode(final).decode(),
    )
