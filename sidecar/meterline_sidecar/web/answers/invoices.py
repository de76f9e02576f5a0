"""What the API answers about invoices."""

from decimal import Decimal
from typing import Literal

import msgspec

from meterline_pricing import Invoice
from meterline_sidecar.web.answers.money import ShownBreakdown, ShownOwed
from meterline_sidecar.web.answers.usage import ShownMeter, ShownPeriod


class ShownAdjustment(msgspec.Struct, frozen=True, kw_only=True):
    """What a final invoice would come to now, less what was billed for it."""

    period: str
    billed: Decimal
    """On its own invoice, with the adjustments since."""
    now: Decimal
    amount: Decimal
    """``now - billed``: below zero it is a credit."""
    currency: str
    breakdown: ShownBreakdown | None
    """What the amount is made of; ``null`` where it was billed before that was kept."""


class DatedInvoice(Invoice, frozen=True, kw_only=True):
    """What a customer owes for a period, with its edges as text, too."""

    period: ShownPeriod


class ShownInvoice(msgspec.Struct, frozen=True, kw_only=True):
    """A customer's invoice: final, or what they would pay if the period ended now."""

    fresh_as_of: str | None
    recounting_percent: int | None
    """How much usage is being counted again; a draft has the numbers of before.
    ``None`` where nothing is, and for a final invoice, which does not change."""
    customer: str
    customer_name: str
    period: ShownPeriod
    status: Literal["draft", "final"]
    finalized: str | None
    counted_up_to_event: int
    known_correction: int
    """The last correction that it knows, and with it all before; 0: none."""
    usage: tuple[ShownMeter, ...]
    invoice: DatedInvoice
    adjustments: tuple[ShownAdjustment, ...]
    due: Decimal
    """The total with the adjustments in the invoice's currency."""
    also_due: tuple[ShownOwed, ...]
    """Adjustments of periods in other currencies, which are never added up."""
    accepted_gaps: tuple[str, ...]
    open_before: tuple[str, ...]
    """Earlier periods that are not final, the earliest first; of a final invoice, those
    that were not when it became so. Whichever becomes final first has the adjustments."""
