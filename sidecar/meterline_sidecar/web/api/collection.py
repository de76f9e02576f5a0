"""What becomes of a final invoice: sent, paid, given up, credited, or void."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
from msgspec import Meta

from meterline_pricing import PricingError
from meterline_sidecar.billing.collection import Payment, Step
from meterline_sidecar.billing.documents import number_text
from meterline_sidecar.store.documents import DocumentRow
from meterline_sidecar.store.port import Tx
from meterline_sidecar.web.answers.collection import NewPayment, StepReason
from meterline_sidecar.web.answers.documents import DocumentAnswer
from meterline_sidecar.web.answers.reason import Reason
from meterline_sidecar.web.api.documents import (
    DocumentNumber,
    DocumentQuery,
    find_document,
    get_document,
)
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest
from meterline_sidecar.web.query import find_customer, read_amount


class InvoiceNumber(msgspec.Struct, frozen=True, kw_only=True):
    """Which invoice."""

    number: DocumentNumber


class NewCreditNote(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """What of an invoice is credited."""

    amount: Annotated[
        str,
        Meta(
            max_length=30,
            description="A decimal in quotes, taxes included.",
            examples=["5.00"],
        ),
    ]
    reason: Reason
    """Why; it stands on the credit note."""


async def credit_invoice(
    parts: Parts, query: InvoiceNumber, *, body: NewCreditNote, author: str
) -> DocumentAnswer:
    """Credit some of an invoice or all of it, under a number of its own."""
    async with _invoice(parts, query) as (tx, invoice):
        note = await parts.issuer.credit_note(
            tx,
            invoice,
            read_amount(body.amount, invoice.currency),
            buyer=find_customer(parts, invoice.customer),
            reason=body.reason,
            author=author,
            now_ms=parts.clock.now_ms(),
        )
        number = number_text(note.series, note.number)
        step = Step(author, f"{number} credits it: {body.reason}")
        await parts.collection.settle(tx, invoice, step)
    return await get_document(parts, DocumentQuery(number=number))


async def send_invoice(
    parts: Parts, query: InvoiceNumber, *, body: StepReason, author: str
) -> DocumentAnswer:
    """Note that the customer was sent an invoice; a second time changes nothing."""
    async with _invoice(parts, query) as (tx, invoice):
        await parts.collection.send(tx, invoice, Step(author, body.reason))
    return await get_document(parts, DocumentQuery(number=query.number))


async def pay_invoice(
    parts: Parts, query: InvoiceNumber, *, body: NewPayment, author: str
) -> DocumentAnswer:
    """Record a payment of an invoice, of all that is left of it or of a part."""
    async with _invoice(parts, query) as (tx, invoice):
        payment = _payment(invoice, body)
        step = Step(author, body.reason or _in_words(payment, "paid"))
        await parts.collection.pay(tx, invoice, payment, step)
    return await get_document(parts, DocumentQuery(number=query.number))


async def refund_invoice(
    parts: Parts, query: InvoiceNumber, *, body: NewPayment, author: str
) -> DocumentAnswer:
    """Record that a payment was given back, or never came: it is to be paid again."""
    async with _invoice(parts, query) as (tx, invoice):
        payment = _payment(invoice, body)
        step = Step(author, body.reason or _in_words(payment, "given back"))
        await parts.collection.refund(tx, invoice, payment, step)
    return await get_document(parts, DocumentQuery(number=query.number))


async def give_up_invoice(
    parts: Parts, query: InvoiceNumber, *, body: StepReason, author: str
) -> DocumentAnswer:
    """Note that nobody expects an invoice to be paid; a second time changes nothing."""
    async with _invoice(parts, query) as (tx, invoice):
        await parts.collection.give_up(tx, invoice, Step(author, body.reason))
    return await get_document(parts, DocumentQuery(number=query.number))


async def void_invoice(
    parts: Parts, query: InvoiceNumber, *, body: StepReason, author: str
) -> DocumentAnswer:
    """Take an invoice back whole; its period can be invoiced again, when asked for."""
    async with _invoice(parts, query) as (tx, invoice):
        await parts.collection.void(
            *(tx, invoice, Step(author, body.reason)),
            buyer=find_customer(parts, invoice.customer),
        )
    parts.standings.note(invoice.customer)
    return await get_document(parts, DocumentQuery(number=query.number))


@asynccontextmanager
async def _invoice(
    parts: Parts, query: InvoiceNumber
) -> AsyncGenerator[tuple[Tx, DocumentRow]]:
    """Give an invoice, in a transaction that may change what becomes of it.

    Raises:
        BadRequest: it is none.
    """
    async with parts.database.transaction() as tx:
        yield tx, await invoice_of(tx, query)


async def invoice_of(tx: Tx, query: InvoiceNumber) -> DocumentRow:
    """Return the invoice of a number.

    Raises:
        BadRequest: it is none.
    """
    found = await find_document(tx, query.number)
    if found.row.kind != "invoice":
        raise BadRequest(f"{found.number} is no invoice")
    return found.row


def _payment(invoice: DocumentRow, body: NewPayment) -> Payment:
    currency = (body.currency or invoice.currency).lower()
    try:
        amount = read_amount(body.amount, currency)
    except PricingError as error:
        raise BadRequest(str(error)) from error
    return Payment(
        amount=amount,
        currency=currency,
        paid_on=body.day,
        reference=body.reference,
        key=body.key,
    )


def _in_words(payment: Payment, what: str) -> str:
    words = f"{payment.amount} {payment.currency.upper()} {what}"
    return f"{words}: {payment.reference}" if payment.reference else words


OPERATIONS = (
    Operation("/v1/invoices/{number}/credit", credit_invoice, method="POST"),
    Operation("/v1/invoices/{number}/sent", send_invoice, method="POST"),
    Operation("/v1/invoices/{number}/payments", pay_invoice, method="POST"),
    Operation("/v1/invoices/{number}/refunds", refund_invoice, method="POST"),
    Operation("/v1/invoices/{number}/uncollectible", give_up_invoice, method="POST"),
    Operation("/v1/invoices/{number}/void", void_invoice, method="POST"),
)
