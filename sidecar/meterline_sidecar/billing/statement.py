"""What a customer is billed for a period, and the ones that are final in the ledger."""

from collections.abc import Container, Mapping, Sequence
from decimal import Decimal
from typing import Final as Final_
from typing import NamedTuple, Protocol

import msgspec

from meterline_pricing import Invoice, Period, Plan
from meterline_pricing.models import Credit
from meterline_sidecar.billing.breakdown import Breakdown, of_invoice, together
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.decimals import added
from meterline_sidecar.store import invoice_states
from meterline_sidecar.store import invoices as store
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.customer_usage import MeterUsage


class Adjustment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a final invoice would come to now, less what was billed for it."""

    period: str
    billed: Decimal
    """On its own invoice, with the adjustments since."""
    now: Decimal
    amount: Decimal
    """``now - billed``: below zero it is a credit."""
    currency: str = ""
    """That of the period that is corrected; empty in what is older than this field."""
    breakdown: Breakdown | None = None
    """What the amount is made of. ``None`` in what is older than this field, and where
    an adjustment of the same period before it does not say so."""


class AgreedPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a period, and the plan by which it was charged."""

    start: int
    end: int
    plan: Plan | None
    """As this customer had it then; ``None``: no plan, and no charge."""


class Grant(msgspec.Struct, frozen=True):
    """A credit that a customer has beside what their plan gives."""

    currency: str
    credit: Credit


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """What an invoice was made from: it is compared with this alone, for ever."""

    terms_row: int
    """What was agreed up to this row of terms."""
    generation: int
    """Of the counting of usage."""
    time_zone: str
    parts: tuple[AgreedPart, ...]
    grants: tuple[Grant, ...] = ()
    """Credits that could pay for it; none in what is older than this field."""


class Owed(msgspec.Struct, frozen=True):
    """An amount in a currency of its own: currencies are never added up."""

    amount: Decimal
    currency: str


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice, draft or final, with the adjustments of earlier ones."""

    customer: str
    customer_name: str = ""
    """As it was on the day; empty in what is older than this field."""
    finalized_ms: int | None
    """``None`` for a draft."""
    counted_up_to_event: int
    """The invoice is a function of the events up to this one and of what was agreed."""
    known_correction: int = 0
    """The last correction of events that it knows, and with it all before; 0: none."""
    usage: tuple[MeterUsage, ...]
    invoice: Invoice
    adjustments: tuple[Adjustment, ...] = ()
    due: Decimal
    """The invoice's total with the adjustments in its currency."""
    also_due: tuple[Owed, ...] = ()
    """Adjustments of periods that were in other currencies."""
    accepted_gaps: tuple[str, ...] = ()
    """What was missing, and was accepted as missing, when it was finalised."""
    open_before: tuple[str, ...] = ()
    """Earlier periods that were not final when this one became so."""
    agreement: Agreement | None = None
    """``None`` in what is older than this field."""


def lowers_tax(agreement: Agreement | None) -> bool:
    """Say whether credits lower the taxes: otherwise they pay, as money does."""
    return agreement is not None and any(
        part.plan is not None and part.plan.order.credits_lower_tax
        for part in agreement.parts
    )


def made_of(statement: Statement) -> Breakdown:
    """Return what an invoice is made of without its adjustments."""
    return of_invoice(
        statement.invoice, credits_lower_tax=lowers_tax(statement.agreement)
    )


def breakdowns_of(statement: Statement) -> dict[str, Breakdown]:
    """Return what is due by an invoice is made of, by currency, its own first."""
    own = made_of(statement)
    found = {own.currency: own}
    for adjustment in statement.adjustments:
        currency = adjustment.currency or own.currency
        unsaid = Breakdown(currency=currency, adjustments=adjustment.amount)
        before = found.get(currency, Breakdown(currency=currency))
        found[currency] = together(currency, [before, adjustment.breakdown or unsaid])
    return found


class Final(msgspec.Struct, frozen=True):
    """A final invoice with what was billed for its period since."""

    row_id: int
    period: Period
    statement: Statement
    billed: dict[str, Decimal]
    """What was billed for this period, on whichever invoices, by currency: that of its own
    invoice comes first."""
    compared_up_to_event: int
    """Up to which event its usage is billed."""
    is_touched: bool = False
    """Whether an invoice that is void by now billed or used up something of it."""


class Journal(Protocol):
    """Links rows, so that one that is changed later is found."""

    async def link(self, tx: Tx, entry: str, row_id: int) -> None:
        """Link a row that was written in this transaction."""
        ...


class Issuer(Protocol):
    """Makes documents of final invoices."""

    async def invoice(
        self,
        tx: Tx,
        final: Statement,
        period: Period,
        *,
        row_id: int,
        buyer: Customer,
        journal: Journal,
    ) -> object:
        """Give a final invoice, which was written in this transaction, its number."""
        ...


FINALS_PER_READ: Final_ = 100  # 8 ms of work, between which others have their turn
_decode: Final_ = msgspec.json.Decoder(Statement).decode


async def finals_of(tx: Tx, customer: str) -> dict[str, Final]:
    """Return a customer's final invoices by the name of their period, in its order.

    One that is void is none of them: its period is as open as before.
    """
    adjusted = await store.adjusted_of(tx, customer)
    touched = await store.touched_by_void(tx, customer)
    return await finals_with(tx, customer, adjusted, touched)


async def finals_with(
    tx: Tx,
    customer: str,
    adjusted: Mapping[str, store.Adjusted],
    touched: Container[str],
) -> dict[str, Final]:
    """Return the same, where what was billed of them since was read already.

    Args:
        touched: the periods of which a void invoice billed or used up something.
    """
    found: dict[str, Final] = {}
    for row in await store.finals_of(tx, customer):
        statement = _decode(row.document)
        known = adjusted.get(row.period, store.Adjusted({}, 0))
        found[row.period] = Final(
            row_id=row.id,
            period=Period(row.period_start_ms, row.period_end_ms, row.period),
            statement=statement,
            billed=_billed(statement.invoice, known.amounts),
            compared_up_to_event=max(statement.counted_up_to_event, known.up_to_event),
            is_touched=row.period in touched,
        )
    return found


def _billed(own: Invoice, adjusted: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Return what an invoice and its adjustments billed, by currency."""
    billed = {own.currency: own.total}
    for currency, amount in adjusted.items():
        billed[currency] = added(billed.get(currency, Decimal(0)), amount)
    return billed


class Closing(NamedTuple):
    """Who makes an invoice final, when, why, and over what."""

    now_ms: int
    author: str
    cause: str
    gaps: tuple[str, ...] = ()
    """What is missing, in words, and is accepted as missing."""


async def final_of(tx: Tx, invoice_id: int) -> tuple[Statement, Period]:
    """Return a final invoice, which there is, and its period."""
    row = await store.final_row(tx, invoice_id)
    assert row is not None, "documents are of invoices that there are"
    period = Period(row.period_start_ms, row.period_end_ms, row.period)
    return _decode(row.document), period


async def breakdowns_of_finals(
    tx: Tx, invoice_ids: Sequence[int]
) -> dict[int, tuple[Breakdown, ...]]:
    """Return what final invoices are made of, by the ids of their rows.

    Each is by currency, the invoice's own first.
    """
    found: dict[int, tuple[Breakdown, ...]] = {}
    for start in range(0, len(invoice_ids), FINALS_PER_READ):
        part = invoice_ids[start : start + FINALS_PER_READ]
        for row in await store.final_rows(tx, part):
            found[row.id] = tuple(breakdowns_of(_decode(row.document)).values())
    return found


async def add_step(tx: Tx, step: invoice_states.NewState, *, journal: Journal) -> None:
    """Keep a step of a final invoice for ever."""
    row_id = await invoice_states.add_state(tx, step)
    await journal.link(tx, "invoice_states", row_id)


async def add_final(
    tx: Tx,
    final: Statement,
    period: Period,
    closing: Closing,
    *,
    buyer: Customer,
    journal: Journal,
    issuer: Issuer,
) -> int:
    """Keep a final invoice for ever, with its number and what it adjusts.

    Returns the row's id.
    """
    assert final.finalized_ms is not None
    row_id = await store.add_final(
        tx,
        store.NewFinal(
            customer=final.customer,
            period_start_ms=period.start,
            period_end_ms=period.end,
            finalized_ms=final.finalized_ms,
            document=msgspec.json.encode(final).decode(),
            period=period.name,
        ),
    )
    await journal.link(tx, "invoices", row_id)
    step = invoice_states.NewState(
        row_id, "final", final.finalized_ms, closing.author, closing.cause
    )
    await add_step(tx, step, journal=journal)
    if all(owed <= 0 for owed in (final.due, *(o.amount for o in final.also_due))):
        paid = step._replace(state="paid", cause="nothing is due")
        await add_step(tx, paid, journal=journal)
    await issuer.invoice(tx, final, period, row_id=row_id, buyer=buyer, journal=journal)
    for adjustment in final.adjustments:
        adjustment_id = await store.add_adjustment(
            tx,
            store.NewAdjustment(
                customer=final.customer,
                period=adjustment.period,
                invoice_id=row_id,
                currency=adjustment.currency,
                billed=str(adjustment.billed),
                now=str(adjustment.now),
                amount=str(adjustment.amount),
                counted_up_to_event=final.counted_up_to_event,
            ),
        )
        await journal.link(tx, "adjustments", adjustment_id)
    return row_id
