"""How long what is left of invoices should have been paid: the table of ages."""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from meterline_sidecar.billing.collection import UNPAID, owing_of
from meterline_sidecar.billing.documents import Document, day_of
from meterline_sidecar.decimals import added
from meterline_sidecar.store.port import Tx


class Ages(NamedTuple):
    """What is left to pay in one currency, by days since the due day.

    Of invoices that are final or sent alone: nobody waits for what is uncollectible.
    """

    not_due: Decimal = Decimal(0)
    """Until the end of its due day, or without one."""
    days_1_30: Decimal = Decimal(0)
    days_31_60: Decimal = Decimal(0)
    days_61_90: Decimal = Decimal(0)
    days_over_90: Decimal = Decimal(0)

    @property
    def total(self) -> Decimal:
        """All of it."""
        total = Decimal(0)
        for amount in self:
            total = added(total, amount)
        return total


class Left(NamedTuple):
    """What is left to pay of invoices that are due on one day, by currency."""

    due: date | None
    time_zone: str
    """In whose calendar that day is."""
    amounts: Mapping[str, Decimal]


def by_age(lefts: Iterable[Left], *, now_ms: int) -> dict[str, Ages]:
    """Return what is left by its age, for each currency of which anything is."""
    found: dict[str, Ages] = {}
    for left in lefts:
        days = 0
        if left.due is not None:
            days = (day_of(now_ms, left.time_zone) - left.due).days
        age = _age_of(days)
        for currency, amount in left.amounts.items():
            if amount:
                sums = list(found.get(currency, Ages()))
                sums[age] = added(sums[age], amount)
                found[currency] = Ages(*sums)
    return found


def together(many: Iterable[Mapping[str, Ages]]) -> dict[str, Ages]:
    """Return some tables of ages added up, currency by currency."""
    found: dict[str, Ages] = {}
    for ages in many:
        for currency, more in ages.items():
            known = found.get(currency, Ages())
            found[currency] = Ages(*map(added, known, more))
    return found


def _age_of(days: int) -> int:
    """Return which of the ages so many days since the due day are."""
    if days <= 0:
        return 0
    return 1 + min((days - 1) // 30, 3)


async def ages_of(
    tx: Tx, documents: Iterable[Document], *, now_ms: int
) -> dict[str, Ages]:
    """Return what is left of invoices by its age, for each currency.

    Args:
        documents: those of the invoices; credit notes among them are left out, and are
            counted with their invoices, as payments are.
    """
    invoices = {o.row.invoice_id: o for o in documents if o.row.kind == "invoice"}
    owing = await owing_of(tx, invoices.values(), now_ms=now_ms)
    return by_age(
        (
            Left(one.due, invoices[invoice_id].details.time_zone, one.left)
            for invoice_id, one in owing.items()
            if one.state in UNPAID
        ),
        now_ms=now_ms,
    )
