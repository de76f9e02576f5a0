"""How the invoices of each month stand: how many are final, sent, paid, overdue ..."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from meterline_sidecar.billing.collection import UNPAID, owing_of
from meterline_sidecar.billing.documents import day_of, document_of
from meterline_sidecar.store import documents as store
from meterline_sidecar.store.invoice_states import State
from meterline_sidecar.store.port import Tx

Heap = State | Literal["overdue"]
HEAPS: Final[tuple[Heap, ...]] = (
    *("final", "sent", "overdue", "paid", "uncollectible", "void"),
)
UNPAID_PER_STEP: Final = 500  # some milliseconds; then others go first


class Tally(NamedTuple):
    """How many invoices there are, and what they come to."""

    n: int
    amounts: Mapping[str, Decimal]
    """By currency: what is left to pay, where that is waited for; else what they are."""

    def with_more(self, n: int, amounts: Mapping[str, Decimal]) -> "Tally":
        """Return it with more invoices."""
        sums = dict(self.amounts)
        for currency, amount in amounts.items():
            sums[currency] = sums.get(currency, Decimal(0)) + amount
        return Tally(self.n + n, sums)


NONE: Final = Tally(0, {})


async def desk_of(
    tx: Tx, months: Sequence[str], *, now_ms: int
) -> dict[str, dict[Heap, Tally]]:
    """Return how invoices stand, by the month of their periods and by where each lies.

    One that is overdue is neither among the final ones nor among those that were sent.
    """
    desk: dict[str, dict[Heap, Tally]] = {
        month: dict.fromkeys(HEAPS, NONE) for month in months
    }
    if not months:
        return desk
    for month, state, currency, amount, n in await store.states_of_months(
        tx, months, but=UNPAID
    ):
        heaps = desk[month]
        heaps[state] = heaps[state].with_more(n, {currency: n * Decimal(amount)})
    for month in months:
        await _unpaid(tx, month, desk[month], now_ms=now_ms)
    return desk


async def _unpaid(tx: Tx, month: str, heaps: dict[Heap, Tally], *, now_ms: int) -> None:
    """Add the invoices of a month that wait to be paid."""
    for plain in await store.plain_of_month(tx, month, states=UNPAID):
        amount = Decimal(plain.amount)
        today = day_of(now_ms, plain.time_zone or "UTC")
        is_due = plain.due is not None and today > date.fromisoformat(plain.due)
        lies: Heap = "overdue" if is_due and amount > 0 else plain.step
        left = {plain.currency: plain.n_invoices * amount} if amount else {}
        heaps[lies] = heaps[lies].with_more(plain.n_invoices, left)
    before = store.ID_MAX
    while True:
        rows = await store.others_of_month(
            tx, month, states=UNPAID, before=before, limit=UNPAID_PER_STEP
        )
        owing = await owing_of(tx, map(document_of, rows), now_ms=now_ms)
        for one in owing.values():
            heap: Heap = "overdue" if one.is_overdue else one.state
            left = {name: amount for name, amount in one.left.items() if amount}
            heaps[heap] = heaps[heap].with_more(1, left)
        if len(rows) < UNPAID_PER_STEP:
            return
        before = rows[-1].id
        await asyncio.sleep(0)
