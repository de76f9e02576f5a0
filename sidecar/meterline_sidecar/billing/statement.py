"""What a customer is billed for a period, and the ones that are final in the ledger."""

from decimal import Decimal
from typing import Final

import msgspec

from meterline_pricing import Invoice, Period
from meterline_sidecar.store import invoices as store
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.customer_usage import MeterUsage


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


async def finals_of(tx: Tx, customer: str) -> dict[int, Statement]:
    """Return a customer's final invoices by the start of their period, in its order."""
    rows = await store.finals_of(tx, customer)
    return {row.period_start_ms: _decode(row.document) for row in rows}


async def add_final(tx: Tx, final: Statement, period: Period) -> None:
    """Keep a final invoice for ever."""
    assert final.finalized_ms is not None
    await store.add_final(
        tx,
        store.FinalRow(
            id=0,
            customer=final.customer,
            period_start_ms=period.start,
            period_end_ms=period.end,
            finalized_ms=final.finalized_ms,
            document=msgspec.json.encode(final).decode(),
        ),
    )
