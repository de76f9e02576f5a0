"""How the invoices of each month stand: how many are final, sent, paid, overdue ..."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from meterline_sidecar.billing.ages import Ages, Left, by_age
from meterline_sidecar.billing.breakdown import Breakdown, together
from meterline_sidecar.billing.collection import UNPAID, owing_of
from meterline_sidecar.billing.documents import breakdowns_by_id, day_of, document_of
from meterline_sidecar.store import documents as store
from meterline_sidecar.store.invoice_states import State
from meterline_sidecar.store.port import Tx

Heap = State | Literal["overdue"]
HEAPS: Final[tuple[Heap, ...]] = (
    *("final", "sent", "overdue", "paid", "uncollectible", "void"),
)
DOCUMENTS_PER_STEP: Final = 200  # some 20 ms; then others go first
DOCUMENTS_PER_LOOK: Final = 10_000  # about a second; the next look goes on
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


class Month(NamedTuple):
    """How the invoices stand of all periods that began in a month."""

    heaps: Mapping[Heap, Tally]
    """By where each lies. One that is overdue is neither among the final ones nor among
    those that were sent."""
    totals: Mapping[str, Decimal]
    """What its documents come to, credit notes and void invoices with them, by currency."""
    made_of: Mapping[str, Breakdown] | None
    """What that is made of, as in a month's tables; ``None``: it is still added up."""
    ages: Mapping[str, Ages]
    """What is left to pay, by currency and by how long it is overdue."""

    @property
    def n_final(self) -> int:
        """How many are final and not void."""
        return sum(tally.n for heap, tally in self.heaps.items() if heap != "void")


class _Lot(NamedTuple):
    """What is alike of invoices that lie on one heap on any day."""

    state: State
    due: date | None
    """From the day after that on they are overdue; ``None``: never."""
    time_zone: str

    def heap(self, now_ms: int) -> Heap:
        is_late = self.due is not None and day_of(now_ms, self.time_zone) > self.due
        return "overdue" if is_late else self.state


class _Kept(NamedTuple):
    lots: dict[_Lot, Tally]
    totals: dict[str, Decimal]


class _Made(NamedTuple):
    """What documents of a month are made of; they never change, and so it only grows."""

    up_to_id: int
    is_all: bool
    sums: Mapping[str, Breakdown]


class Desk:
    """How invoices stand, kept at hand: only months in which that changed are added up."""

    def __init__(self) -> None:
        self._newest = store.Newest(0, 0, 0)
        self._kept: dict[str, _Kept] = {}
        self._made: dict[str, _Made] = {}
        self._adding_up = asyncio.Lock()

    async def months(self, tx: Tx, *, limit: int, now_ms: int) -> dict[str, Month]:
        """Return the last months that have any invoice, the newest first."""
        async with self._adding_up:
            newest = await store.newest(tx)
            months = await store.newest_months(tx, limit=limit)
            # Another snapshot may have been a later one: what it found is kept.
            if any(
                now > known for now, known in zip(newest, self._newest, strict=True)
            ):
                changed = (
                    await store.changed_months(tx, self._newest)
                    if self._kept
                    else frozenset(months)
                )
                self._kept = {
                    month: kept
                    for month, kept in self._kept.items()
                    if month in months and month not in changed
                }
                self._newest = newest
            for month in months:
                if month not in self._kept:
                    self._kept[month] = await _added_up(tx, month, now_ms=now_ms)
            left = DOCUMENTS_PER_LOOK
            for month in months:
                left = await self._make(tx, month, newest.document_id, left)
            return {
                month: _shown(self._kept[month], self._made.get(month), now_ms)
                for month in months
            }

    async def _make(self, tx: Tx, month: str, newest_id: int, left: int) -> int:
        """Add up what a month's documents are made of; return how many may follow."""
        made = self._made.get(month, _Made(0, False, {}))
        if made.up_to_id == newest_id and made.is_all:
            return left
        while left > 0:
            n_rows = min(left, DOCUMENTS_PER_STEP)
            rows = await store.of_month(tx, month, after=made.up_to_id, limit=n_rows)
            parts = await breakdowns_by_id(tx, rows)
            sums = _summed(made.sums, [one for each in parts.values() for one in each])
            is_all = len(rows) < n_rows
            made = _Made(newest_id if is_all else rows[-1].id, is_all, sums)
            left -= len(rows)
            await asyncio.sleep(0)
            if is_all:
                break
        else:
            made = made._replace(is_all=False)
        self._made[month] = made
        return left


def _summed(
    known: Mapping[str, Breakdown], more: Sequence[Breakdown]
) -> dict[str, Breakdown]:
    parts = [*known.values(), *more]
    currencies = dict.fromkeys(one.currency for one in parts)
    return {
        currency: together(currency, [o for o in parts if o.currency == currency])
        for currency in currencies
    }


def _shown(kept: _Kept, made: _Made | None, now_ms: int) -> Month:
    heaps: dict[Heap, Tally] = dict.fromkeys(HEAPS, NONE)
    for lot, tally in kept.lots.items():
        heap = lot.heap(now_ms)
        heaps[heap] = heaps[heap].with_more(*tally)
    is_made = made is not None and made.is_all
    lefts = (
        Left(lot.due, lot.time_zone, tally.amounts)
        for lot, tally in kept.lots.items()
        if lot.state in UNPAID
    )
    ages = by_age(lefts, now_ms=now_ms)
    return Month(heaps, kept.totals, made.sums if made and is_made else None, ages)


async def _added_up(tx: Tx, month: str, *, now_ms: int) -> _Kept:
    kept = _Kept({}, {})
    has_others = False
    for alike in await store.heaps_of_month(tx, month):
        n, amount = alike.n_documents, Decimal(alike.amount)
        known = kept.totals.get(alike.currency, Decimal(0))
        kept.totals[alike.currency] = known + n * amount
        if alike.step is None:
            continue
        if alike.step not in UNPAID:
            lot = _Lot(alike.step, None, "UTC")
        elif alike.is_plain:
            is_owed = alike.due is not None and amount > 0
            due = date.fromisoformat(alike.due) if alike.due and is_owed else None
            lot = _Lot(alike.step, due, alike.time_zone or "UTC")
        else:
            has_others = True
            continue
        is_shown = amount or alike.step not in UNPAID
        _put(kept, lot, n, {alike.currency: n * amount} if is_shown else {})
    if has_others:
        await _add_others(tx, month, kept, now_ms=now_ms)
    return kept


async def _add_others(tx: Tx, month: str, kept: _Kept, *, now_ms: int) -> None:
    """Add the invoices of a month that wait to be paid and of which something was."""
    before = store.ID_MAX
    while True:
        rows = await store.others_of_month(
            tx, month, states=UNPAID, before=before, limit=UNPAID_PER_STEP
        )
        documents = {row.invoice_id: document_of(row) for row in rows}
        owing = await owing_of(tx, documents.values(), now_ms=now_ms)
        for invoice_id, one in owing.items():
            left = {name: amount for name, amount in one.left.items() if amount}
            is_owed = any(amount > 0 for amount in left.values())
            zone = documents[invoice_id].details.time_zone
            _put(kept, _Lot(one.state, one.due if is_owed else None, zone), 1, left)
        if len(rows) < UNPAID_PER_STEP:
            return
        before = rows[-1].id
        await asyncio.sleep(0)


def _put(kept: _Kept, lot: _Lot, n: int, amounts: Mapping[str, Decimal]) -> None:
    kept.lots[lot] = kept.lots.get(lot, NONE).with_more(n, amounts)
