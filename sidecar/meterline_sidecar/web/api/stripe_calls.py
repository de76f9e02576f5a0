"""What Stripe is told of one final invoice, letting it go again, and what it credited."""

from meterline_sidecar.billing.stripe_plan import NotTold
from meterline_sidecar.clock import time_text
from meterline_sidecar.store import stripe_calls as store
from meterline_sidecar.stripe.invoice_lines import credit_notes_of
from meterline_sidecar.web.answers.outbox import InvoiceCalls, ShownCall
from meterline_sidecar.web.api.collection import InvoiceNumber, invoice_of
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import find_customer


async def list_invoice_calls(parts: Parts, query: InvoiceNumber) -> InvoiceCalls:
    """List the calls by which Stripe is told of an invoice, in order."""
    async with parts.database.reading() as tx:
        row = await invoice_of(tx, query)
        calls = await store.calls_of(tx, [row.invoice_id])
    return InvoiceCalls(
        invoice=query.number,
        calls=tuple(
            ShownCall(
                step=call.step,
                what=call.ref,
                state=call.state,
                attempts=call.attempts,
                in_doubt_since=time_text(call.doubt_ms or None),
                stripe_id=call.object_id,
                reason=call.reason,
            )
            for call in calls
        ),
    )


async def retry_invoice_calls(parts: Parts, query: InvoiceNumber) -> InvoiceCalls:
    """Let an invoice that is held on its way to Stripe go again, as things are now."""
    async with parts.database.reading() as tx:
        row = await invoice_of(tx, query)
    await parts.at_stripe.retry(row.invoice_id)
    return await list_invoice_calls(parts, query)


async def take_credit_notes(
    parts: Parts, query: InvoiceNumber, *, author: str
) -> InvoiceCalls:
    """Credit an invoice here by the credit notes that exist only at Stripe."""
    async with parts.database.reading() as tx:
        row = await invoice_of(tx, query)
        calls = await store.calls_of(tx, [row.invoice_id])
    if not calls or calls[0].object_id is None:
        raise NotTold(f"{query.number} is not at Stripe")
    # Who asks again after a lost answer is told that there is nothing more.
    notes = await credit_notes_of(parts.stripe.api, calls[0].object_id)
    await parts.at_stripe.take_over(
        row,
        notes,
        issuer=parts.issuer,
        buyer=find_customer(parts, row.customer),
        author=author,
        now_ms=parts.clock.now_ms(),
    )
    return await list_invoice_calls(parts, query)


OPERATIONS = (
    Operation("/v1/invoices/{number}/stripe", list_invoice_calls),
    Operation("/v1/invoices/{number}/stripe/retry", retry_invoice_calls, method="POST"),
    Operation(
        "/v1/invoices/{number}/stripe/credit-notes", take_credit_notes, method="POST"
    ),
)
