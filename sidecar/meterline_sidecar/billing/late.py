"""What final invoices come to since: events that were late, as adjustments.

A final period is rated again from what its invoice was made from: the plan, the zone
and the days that held then. So only events that were learned later, and what somebody
corrected on purpose, make a difference; it is billed once, on whichever invoice
becomes final first.
"""

from collections.abc import Mapping
from typing import NamedTuple

from meterline_sidecar.billing.balances import Balances, uses_of
from meterline_sidecar.billing.drafts import Billing, NotBillable
from meterline_sidecar.billing.statement import Adjustment, Final
from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.store import invoices as store
from meterline_sidecar.store.invoices import NewUse
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.usage.counted import Counted


class Difference(NamedTuple):
    """A final period that comes to something else now."""

    adjustment: Adjustment | None
    """``None`` where a credit paid for all of it."""
    uses: tuple[NewUse, ...]
    """What it uses up of credits, or gives back."""


async def differences(
    tx: Tx,
    at: Counted,
    billing: Billing,
    terms: Terms,
    customer: Customer,
    *,
    finals: Mapping[str, Final],
    balances: Balances,
) -> list[Difference]:
    """Return every final period that came to something else since, the earliest first.

    Args:
        at: of this snapshot; see ``counted``.
        finals: all of the customer's, by period.
        balances: of the customer; what the differences use up is taken from them.

    Raises:
        NotBillable: a period cannot be rated any more; the text names it.
    """
    late = await store.late_days(tx, customer.id)
    found: list[Difference] = []
    for final in finals.values():
        corrected = _corrected(terms, customer.id, final)
        if not corrected and not _is_stale(final, at, late):
            continue
        under = None if corrected else final.statement.agreement
        try:
            drawn = await billing.draft(
                tx, at, customer, final.period, under=under, balances=balances
            )
        except NotBillable as error:
            raise NotBillable(
                f"what {final.period.name} comes to since it is final: {error}"
            ) from error
        uses = uses_of(
            drawn.invoice, drawn.plans, customer=customer.id, balances=balances
        )
        amount = drawn.invoice.total - final.billed
        if not amount and not uses:
            continue
        balances.take(uses)
        adjustment = Adjustment(
            period=final.period.name,
            billed=final.billed,
            now=drawn.invoice.total,
            amount=amount,
            currency=drawn.invoice.currency,
        )
        found.append(Difference(adjustment if amount else None, tuple(uses)))
    return found


def _corrected(terms: Terms, customer: str, final: Final) -> bool:
    """Say whether somebody changed on purpose what a final period was made from."""
    agreement = final.statement.agreement
    known = 0 if agreement is None else agreement.terms_row
    return any(
        entry.reaches_final
        and entry.row_id > known
        and entry.from_ms < final.period.end
        for entry in terms.entries("customer", customer)
    )


def _is_stale(final: Final, at: Counted, late: list[tuple[int, int]]) -> bool:
    """Say whether a final period may come to something else than was billed for it."""
    agreement = final.statement.agreement
    if agreement is None or agreement.generation != at.generation:
        return True
    return any(
        day_ms + DAY_MS > final.period.start
        and day_ms < final.period.end
        and last_event_id > final.compared_up_to_event
        for day_ms, last_event_id in late
    )
