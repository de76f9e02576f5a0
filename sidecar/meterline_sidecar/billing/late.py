"""What final invoices come to since: events that were late, as adjustments."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from meterline_sidecar.billing.drafts import Billing
from meterline_sidecar.billing.statement import Adjustment, Statement
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.counted import Counted

ADJUSTED_PERIODS_MAX: Final = 13  # how many final periods back are compared


async def adjustments(
    tx: Tx,
    at: Counted,
    billing: Billing,
    customer: Customer,
    *,
    earlier: Sequence[Statement],
) -> tuple[Adjustment, ...]:
    """Return what earlier final invoices came to since, where that differs.

    Args:
        at: of this snapshot; see ``counted``.
        earlier: the customer's final invoices before this one, the earliest first.

    Raises:
        NotBillable: there is no plan for them any more in one of those periods.
    """
    found: list[Adjustment] = []
    for final in earlier[-ADJUSTED_PERIODS_MAX:]:
        period = final.invoice.period
        assert period is not None
        _, drawn = await billing.draft(tx, at, customer, period)
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
