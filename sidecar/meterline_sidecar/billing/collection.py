"""What becomes of a final invoice: sent, paid, given up, or void.

Each step is a row with its time, author and reason; so is each payment. What is left to
pay follows from rows alone: the invoice, its credit notes, and its payments.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from meterline_sidecar.billing.documents import (
    Document,
    Issuer,
    day_of,
    document_of,
    left_of,
    number_text,
)
from meterline_sidecar.billing.statement import Journal, add_step
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.decimals import added, subtracted
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store import (
    documents,
    invoice_states,
    payments,
    stripe_calls,
)
from meterline_sidecar.store.documents import DocumentRow
from meterline_sidecar.store.invoice_states import NewState, State
from meterline_sidecar.store.payments import NewPayment, PaymentRow
from meterline_sidecar.store.port import Tx

AT_STRIPE: Final = "stripe"
"""Who takes a step that happened at Stripe."""
UNPAID: Final[tuple[State, ...]] = ("final", "sent")
"""Whoever is in one of these still has to pay, if anything is left."""


class StepRefused(MeterlineError, ValueError):
    """An invoice cannot take this step; the text says why, and what to do."""


class Step(NamedTuple):
    """Who takes a step, and why."""

    author: str
    reason: str


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """Money that came in for an invoice, or was given back."""

    amount: Decimal
    """Above zero, either way."""
    currency: str
    paid_on: date | None = None
    """``None``: today, on the document's calendar."""
    reference: str = ""
    key: str | None = None


class Owing(NamedTuple):
    """How an invoice stands."""

    state: State
    left: Mapping[str, Decimal]
    """What is still to be paid, by currency; below zero it is in the customer's favour."""
    due: date | None
    is_overdue: bool
    """Whether it should be paid by now, and is not."""


async def owing_of(
    tx: Tx, invoices: Iterable[Document], *, now_ms: int
) -> dict[int, Owing]:
    """Return how invoices stand, by the ids of their rows.

    Args:
        invoices: the documents of invoices; credit notes among them are left out.
    """
    wanted = {one.row.invoice_id: one for one in invoices if one.row.kind == "invoice"}
    ids = list(wanted)
    states = await invoice_states.newest_states(tx, ids)
    rows: dict[int, list[DocumentRow]] = defaultdict(list)
    for row in await documents.of_invoices(tx, ids):
        rows[row.invoice_id].append(row)
    paid: dict[int, list[PaymentRow]] = defaultdict(list)
    for payment in await payments.of_invoices(tx, ids):
        paid[payment.invoice_id].append(payment)
    return {
        id_: _owing(one, states.get(id_, "final"), rows[id_], paid[id_], now_ms)
        for id_, one in wanted.items()
    }


def _owing(
    invoice: Document,
    state: State,
    rows: Sequence[DocumentRow],
    paid: Sequence[PaymentRow],
    now_ms: int,
) -> Owing:
    left = left_of(rows)
    for row in paid:
        before = left.get(row.currency, Decimal(0))
        left[row.currency] = subtracted(before, Decimal(row.amount))
    due = invoice.details.due
    is_late = due is not None and day_of(now_ms, invoice.details.time_zone) > due
    is_open = state in UNPAID and _is_left(left)
    return Owing(state, left, due, is_late and is_open)


def _is_left(left: Mapping[str, Decimal]) -> bool:
    return any(amount > 0 for amount in left.values())


class Collection:
    """Takes invoices from final to paid, or to what else becomes of them."""

    def __init__(self, issuer: Issuer, journal: Journal, *, clock: Clock) -> None:
        self._issuer = issuer
        self._journal = journal
        self._clock = clock

    async def owing(self, tx: Tx, invoice: DocumentRow) -> Owing:
        """Return how one invoice stands."""
        found = await owing_of(tx, [document_of(invoice)], now_ms=self._clock.now_ms())
        return found[invoice.invoice_id]

    async def send(self, tx: Tx, invoice: DocumentRow, step: Step) -> None:
        """Note that the customer has an invoice; a second time changes nothing.

        Raises:
            StepRefused: it is further than that.
        """
        state = (await self.owing(tx, invoice)).state
        if state == "sent":
            return
        if state != "final":
            raise StepRefused(f"{_number(invoice)} is {state}: it is not sent any more")
        await self._add(tx, invoice, "sent", step)

    async def pay(
        self, tx: Tx, invoice: DocumentRow, payment: Payment, step: Step
    ) -> None:
        """Keep a payment; with the last one an invoice is paid.

        The same one a second time, by its key, changes nothing.

        Raises:
            StepRefused: the invoice is void, more would be paid than is left, the day is
                still to come, or the key is that of another payment.
        """
        if await self._is_known(tx, invoice, payment, payment.amount):
            return
        owing = await self.owing(tx, invoice)
        currency = payment.currency
        left = owing.left.get(currency, Decimal(0))
        if owing.state == "void":
            raise StepRefused(
                f"{_number(invoice)} is void: record the payment of the invoice that"
                " took its place, or grant it as a prepaid credit"
            )
        if payment.amount > left:
            raise StepRefused(
                f"{payment.amount} {currency} is more than is left to pay of"
                f" {_number(invoice)}, {max(left, Decimal(0))} {currency}. Record at most"
                " that; the rest can pay for later invoices:"
                f" `meterline credit {invoice.customer} AMOUNT --prepaid --reason REASON`"
            )
        await self._check_alone(tx, invoice, payment, left, step)
        await self._keep(tx, invoice, payment, payment.amount, step)
        await self.settle(tx, invoice, step)

    async def _check_alone(
        self,
        tx: Tx,
        invoice: DocumentRow,
        payment: Payment,
        left: Decimal,
        step: Step,
    ) -> None:
        """Check that Stripe does not collect what somebody else paid a part of.

        Raises:
            StepRefused: it would take all that it knows to be left.
        """
        if step.author == AT_STRIPE or payment.amount == left:
            return
        if await stripe_calls.calls_of(tx, [invoice.invoice_id]):
            raise StepRefused(
                f"{_number(invoice)} is collected through Stripe, which cannot take a"
                f" partial payment: record all that is left, {left}"
                f" {payment.currency}, or credit the part, which Stripe can be told"
            )

    async def refund(
        self, tx: Tx, invoice: DocumentRow, payment: Payment, step: Step
    ) -> None:
        """Keep that a payment was given back, or never came; it is to be paid again.

        Likewise what an invoice below zero has in the customer's favour.

        Raises:
            StepRefused: more would be given back than was paid, or than is in favour.
        """
        if await self._is_known(tx, invoice, payment, -payment.amount):
            return
        paid = await self.paid(tx, invoice.invoice_id, currency=payment.currency)
        left = (await self.owing(tx, invoice)).left.get(payment.currency, Decimal(0))
        if payment.amount > max(paid, -left):
            raise StepRefused(
                f"{payment.amount} {payment.currency} cannot be given back on"
                f" {_number(invoice)}: {paid} {payment.currency} of it are paid"
            )
        await self._keep(tx, invoice, payment, -payment.amount, step)
        await self.settle(tx, invoice, step)

    async def settle(self, tx: Tx, invoice: DocumentRow, step: Step) -> None:
        """Note it where nothing is left to be paid, or something is again."""
        owing = await self.owing(tx, invoice)
        is_left = _is_left(owing.left)
        if owing.state == "paid" and is_left:
            await self._add(tx, invoice, "sent", step)
        elif owing.state not in ("paid", "void") and not is_left:
            await self._add(tx, invoice, "paid", step)

    async def note(self, tx: Tx, invoice: DocumentRow, step: Step) -> None:
        """Note something of an invoice that waits to be paid; it stays as it is."""
        state = (await self.owing(tx, invoice)).state
        if state in UNPAID:
            await self._add(tx, invoice, "sent", step)

    async def has_payments(self, tx: Tx, invoice_id: int) -> bool:
        """Say whether something of an invoice is paid."""
        return bool(await payments.of_invoices(tx, [invoice_id]))

    async def paid(self, tx: Tx, invoice_id: int, *, currency: str) -> Decimal:
        """Return what is paid of an invoice, without what was given back."""
        rows = await payments.of_invoices(tx, [invoice_id])
        return _total(row for row in rows if row.currency == currency)

    async def given_back(self, tx: Tx, invoice_id: int, *, reference: str) -> Decimal:
        """Return what was given back under a reference, without what stayed after all."""
        return -_total(
            row
            for row in await payments.of_invoices(tx, [invoice_id])
            if row.reference == reference
            and (row.amount.startswith("-") or row.author == AT_STRIPE)
        )

    async def given_back_by_hand(self, tx: Tx, invoice_id: int) -> Decimal:
        """Return what people recorded as given back."""
        return -_total(
            row
            for row in await payments.of_invoices(tx, [invoice_id])
            if row.author != AT_STRIPE and row.amount.startswith("-")
        )

    async def keep_after_all(
        self, tx: Tx, invoice: DocumentRow, payment: Payment, step: Step
    ) -> None:
        """Keep money that was to go back, under its reference, and did not.

        The invoice is paid by it again, beyond what is left where it was credited since.

        Raises:
            StepRefused: the invoice is void by now.
        """
        if (await self.owing(tx, invoice)).state == "void":
            raise StepRefused(
                f"{payment.amount} {payment.currency} of {payment.reference} did not go"
                f" back after all, and {_number(invoice)} is void: give it back in"
                " another way, or grant it as a prepaid credit"
            )
        await self._keep(tx, invoice, payment, payment.amount, step)
        await self.settle(tx, invoice, step)

    async def give_up(self, tx: Tx, invoice: DocumentRow, step: Step) -> None:
        """Note that nobody expects an invoice to be paid; a second time changes nothing.

        Raises:
            StepRefused: it is paid or void.
        """
        state = (await self.owing(tx, invoice)).state
        if state == "uncollectible":
            return
        if state not in UNPAID:
            raise StepRefused(
                f"{_number(invoice)} is {state}: there is nothing to lose"
            )
        await self._add(tx, invoice, "uncollectible", step)

    async def void(
        self, tx: Tx, invoice: DocumentRow, step: Step, *, buyer: Customer
    ) -> None:
        """Take an invoice back whole: what is left of it is credited.

        Its period can be invoiced again, where somebody asks for it. A second time
        changes nothing.

        Raises:
            StepRefused: something of it is paid.
        """
        if (await self.owing(tx, invoice)).state == "void":
            return
        paid: dict[str, Decimal] = defaultdict(Decimal)
        for row in await payments.of_invoices(tx, [invoice.invoice_id]):
            paid[row.currency] = added(paid[row.currency], Decimal(row.amount))
        for currency, amount in paid.items():
            if amount:
                raise StepRefused(
                    f"{amount} {currency} of {_number(invoice)} are paid: note first"
                    f" that it was given back, `meterline invoice {_number(invoice)}"
                    f" --refund {amount} --reason ...`, or credit it, which keeps the"
                    " invoice"
                )
        await self._issuer.undo(
            tx,
            invoice,
            buyer=buyer,
            reason=step.reason,
            author=step.author,
            now_ms=self._clock.now_ms(),
        )
        await self._add(tx, invoice, "void", step)

    async def _is_known(
        self, tx: Tx, invoice: DocumentRow, payment: Payment, amount: Decimal
    ) -> bool:
        """Say whether this payment is kept already, by its key.

        Raises:
            StepRefused: the key is that of another payment.
        """
        if payment.key is None:
            return False
        for row in await payments.of_invoices(tx, [invoice.invoice_id]):
            if row.key != payment.key:
                continue
            if (Decimal(row.amount), row.currency) == (amount, payment.currency):
                return True
            raise StepRefused(
                f"payment {row.id} of {_number(invoice)} has the key {row.key} and is"
                f" {row.amount} {row.currency}; nothing was recorded"
            )
        return False

    async def _keep(
        self,
        tx: Tx,
        invoice: DocumentRow,
        payment: Payment,
        amount: Decimal,
        step: Step,
    ) -> None:
        now_ms = self._clock.now_ms()
        today = day_of(now_ms, document_of(invoice).details.time_zone)
        if payment.paid_on is not None and payment.paid_on > today:
            raise StepRefused(f"{payment.paid_on} is still to come; today is {today}")
        row = NewPayment(
            invoice_id=invoice.invoice_id,
            customer=invoice.customer,
            key=payment.key,
            currency=payment.currency,
            amount=str(amount),
            paid_on=(payment.paid_on or today).isoformat(),
            reference=payment.reference,
            recorded_ms=now_ms,
            author=step.author,
            reason=step.reason,
        )
        row_id = await payments.add_payment(tx, row)
        await self._journal.link(tx, "payments", row_id)

    async def _add(
        self, tx: Tx, invoice: DocumentRow, state: State, step: Step
    ) -> None:
        now_ms = self._clock.now_ms()
        row = NewState(invoice.invoice_id, state, now_ms, step.author, step.reason)
        await add_step(tx, row, journal=self._journal)


def _total(rows: Iterable[PaymentRow]) -> Decimal:
    return sum((Decimal(row.amount) for row in rows), Decimal(0))


def _number(invoice: DocumentRow) -> str:
    return number_text(invoice.series, invoice.number)
