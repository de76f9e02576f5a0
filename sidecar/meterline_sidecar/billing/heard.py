"""What happened to an invoice at Stripe, and the step that it takes here for that.

It came by a webhook, or a comparison found it. In any order, and however often it is
said: each payment and each refund is kept once.
"""

import logging
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from meterline_sidecar.billing.collection import (
    AT_STRIPE,
    UNPAID,
    Collection,
    Owing,
    Payment,
    Step,
    StepRefused,
)
from meterline_sidecar.billing.documents import number_text
from meterline_sidecar.billing.stripe_plan import in_major, minor
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.store import documents, payments
from meterline_sidecar.store import stripe_calls as store
from meterline_sidecar.store.documents import DocumentRow
from meterline_sidecar.store.port import Tx
from meterline_sidecar.stripe.calls import part_of
from meterline_sidecar.stripe.invoice_check import (
    NOT_TAKEN_OVER,
    REFUSED,
    note_difference,
)
from meterline_sidecar.stripe.invoice_lines import credited_here, credited_there

LOST: Final = "lost"
"""The status of a dispute whose money is not coming back."""

log = logging.getLogger(__name__)


class GivenBack(msgspec.Struct, frozen=True):
    """A charge of which something was refunded, or a dispute over one."""

    id: str
    currency: str
    amount: int
    """Of the charge, or in dispute."""
    amount_refunded: int = 0
    """Of a charge, all in all."""
    status: str | None = None


class HeardFromStripe:
    """Takes the steps of our invoices that Stripe tells of."""

    def __init__(
        self, collection: Collection, *, customer: Callable[[str], Customer | None]
    ) -> None:
        self._collection = collection
        self._customer = customer

    async def standing(self, tx: Tx, invoice_id: int, stripe_id: str) -> str:
        """Return the state of an invoice; ``paid`` once Stripe's payment is kept.

        So it is where nothing is left to be paid. What was given back later is to be
        paid again here, and stays paid there.
        """
        row = await invoice_row(tx, invoice_id)
        owing = await self._collection.owing(tx, row)
        is_kept = await self._is_paid_there(tx, invoice_id, stripe_id)
        is_settled = is_kept or _left(owing, row) <= 0
        return "paid" if owing.state in UNPAID and is_settled else owing.state

    async def heard(
        self, tx: Tx, what: str, stripe_id: str, about: Mapping[str, Any]
    ) -> str:
        """Take the step that an event is about; return in words what was done.

        A step that cannot be taken is a difference between the two sides, until a
        comparison finds none.

        Args:
            what: the type of the event.
            stripe_id: of the invoice.
            about: what the event has: an invoice, a charge, or a dispute.
        """
        call = await store.call_of_object(tx, stripe_id)
        if call is None:
            return f"{stripe_id} is no invoice of this ledger"
        row = await invoice_row(tx, call.invoice_id)
        try:
            return await self._take(tx, what, row, stripe_id, about)
        except StepRefused as error:
            number = number_text(row.series, row.number)
            log.warning("%s says %s of %s: %s", AT_STRIPE, what, number, error)
            said = f"{NOT_TAKEN_OVER}Stripe said {what}, and {error}"
            await note_difference(tx, row.invoice_id, number, said)
            return f"{REFUSED}{error}"

    async def _take(
        self,
        tx: Tx,
        what: str,
        row: DocumentRow,
        stripe_id: str,
        about: Mapping[str, Any],
    ) -> str:
        match what:
            case "invoice.paid":
                return await self._paid(tx, row, stripe_id, about)
            case "invoice.payment_failed":
                cause = _failure(about)
                await self._collection.note(tx, row, Step(AT_STRIPE, cause))
                return cause
            case "invoice.voided":
                buyer = self._customer(row.customer)
                assert buyer is not None, "customers are never forgotten"
                step = Step(AT_STRIPE, f"{stripe_id} was voided at Stripe")
                await self._collection.void(tx, row, step, buyer=buyer)
                return "void"
            case "invoice.marked_uncollectible":
                step = Step(AT_STRIPE, f"{stripe_id} was given up at Stripe")
                await self._collection.give_up(tx, row, step)
                return "uncollectible"
            case "charge.refunded":
                charge = _given_back(about, row)
                if charge.amount_refunded:
                    await self._need_payment(tx, row, stripe_id, charge)
                step = Step(AT_STRIPE, f"{charge.id} was refunded at Stripe")
                units = charge.amount_refunded
                return await self._give_back(tx, row, charge, units, step)
            case "charge.dispute.closed":
                dispute = _given_back(about, row)
                if dispute.status != LOST:
                    return f"{dispute.id} is {dispute.status}: nothing was given back"
                step = Step(AT_STRIPE, f"the dispute {dispute.id} was lost at Stripe")
                return await self._give_back(tx, row, dispute, dispute.amount, step)
            case _:
                return f"not about what becomes of invoices: {what}"

    async def _paid(
        self, tx: Tx, row: DocumentRow, stripe_id: str, invoice: Mapping[str, Any]
    ) -> str:
        """Keep that an invoice is paid, without what only Stripe credited of it."""
        if await self._is_paid_there(tx, row.invoice_id, stripe_id):
            return "paid already"
        owing = await self._collection.owing(tx, row)
        if owing.state == "void":
            raise StepRefused("it is void here")
        calls = await store.calls_of(tx, [row.invoice_id])
        only_there = max(0, credited_there(invoice) - credited_here(calls))
        amount = _left(owing, row) - in_major(only_there, row.currency)
        if amount <= 0:
            return "nothing was left to be paid"
        how = _by_balance(invoice, row.currency)
        step = Step(AT_STRIPE, f"Stripe says that {stripe_id} is paid{how}")
        await self._pay(tx, row, stripe_id, amount, step)
        return f"{amount} {row.currency} paid{how}"

    async def _need_payment(
        self, tx: Tx, row: DocumentRow, stripe_id: str, charge: GivenBack
    ) -> None:
        """Keep the payment first where a refund came before the word of it.

        Raises:
            StepRefused: the charge paid only a part.
        """
        if await self._is_paid_there(tx, row.invoice_id, stripe_id):
            return
        left = _left(await self._collection.owing(tx, row), row)
        if charge.amount < minor(left, row.currency):
            raise StepRefused(
                f"{charge.id} paid {in_major(charge.amount, row.currency)}"
                f" {row.currency}, a part of it, and was refunded: record by hand what"
                " of it is paid"
            )
        if left > 0:
            step = Step(AT_STRIPE, f"{charge.id} paid {stripe_id}")
            await self._pay(tx, row, stripe_id, left, step)

    async def _pay(
        self, tx: Tx, row: DocumentRow, stripe_id: str, amount: Decimal, step: Step
    ) -> None:
        payment = Payment(amount=amount, currency=row.currency, reference=stripe_id)
        await self._collection.pay(tx, row, payment, step)

    async def _give_back(
        self, tx: Tx, row: DocumentRow, of: GivenBack, units: int, step: Step
    ) -> str:
        """Keep what was given back since the last time: Stripe says it all in all.

        No more than was paid here: taxes that are Stripe's own are on no invoice of ours.
        What people recorded of it before counts as the same money.
        """
        before = await self._collection.given_back(tx, row.invoice_id, reference=of.id)
        more = in_major(units, of.currency) - before
        if more < 0:
            payment = Payment(amount=-more, currency=of.currency, reference=of.id)
            step = Step(AT_STRIPE, f"a refund of {of.id} failed at Stripe")
            await self._collection.keep_after_all(tx, row, payment, step)
            return f"{-more} {of.currency} not given back after all"
        paid = await self._collection.paid(tx, row.invoice_id, currency=of.currency)
        if more == 0 or (before > 0 and paid <= 0):
            return "given back already"
        by_hand = await self._collection.given_back_by_hand(tx, row.invoice_id)
        if before == 0 and by_hand >= more:
            return f"{more} {of.currency} given back, as people recorded it"
        if before == 0 and by_hand > 0:
            raise StepRefused(
                f"{more} {of.currency} of {of.id} went back, of which people recorded"
                f" {by_hand} {of.currency}: record the rest by hand, `meterline invoice"
                f" {number_text(row.series, row.number)} --refund {more - by_hand}`"
            )
        amount = min(more, paid) if paid > 0 else more
        payment = Payment(amount=amount, currency=of.currency, reference=of.id)
        await self._collection.refund(tx, row, payment, step)
        return f"{amount} {of.currency} given back"

    async def _is_paid_there(self, tx: Tx, invoice_id: int, stripe_id: str) -> bool:
        """Say whether the payment of an invoice at Stripe is kept already."""
        rows = await payments.of_invoices(tx, [invoice_id])
        return any(row.reference == stripe_id for row in rows)


def _left(owing: Owing, row: DocumentRow) -> Decimal:
    return owing.left.get(row.currency, Decimal(0))


def _given_back(about: Mapping[str, Any], row: DocumentRow) -> GivenBack:
    try:
        found = msgspec.convert(about, type=GivenBack)
    except msgspec.ValidationError as error:
        raise StepRefused(f"it is of an unknown shape ({error})") from error
    if found.currency != row.currency:
        raise StepRefused(
            f"{found.id} is in {found.currency}, and the invoice in {row.currency}:"
            " record by hand what was given back"
        )
    return found


def _by_balance(invoice: Mapping[str, Any], currency: str) -> str:
    """Return in words what no money came in for: the customer's balance changed by it.

    So it is with what they had in favour, and with less than Stripe's smallest charge.
    """
    before, after = invoice.get("starting_balance"), invoice.get("ending_balance")
    if not (isinstance(before, int) and isinstance(after, int)) or after <= before:
        return ""
    amount = in_major(after - before, currency)
    return f", {amount} {currency} of it by the customer's balance at Stripe"


def _failure(invoice: Mapping[str, Any]) -> str:
    attempts = invoice.get("attempt_count")
    said = part_of(invoice, "last_finalization_error").get("message")
    times = f", attempt {attempts}" if isinstance(attempts, int) else ""
    return f"a payment failed at Stripe{times}" + (f": {said}" if said else "")


async def invoice_row(tx: Tx, invoice_id: int) -> DocumentRow:
    """Return the document of an invoice, among its credit notes."""
    rows = await documents.of_invoice(tx, invoice_id)
    return next(row for row in rows if row.kind == "invoice")
