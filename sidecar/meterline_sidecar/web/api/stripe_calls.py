"""What Stripe is told of one final invoice, and letting it go again."""

from meterline_sidecar.clock import time_text
from meterline_sidecar.store import stripe_calls as store
from meterline_sidecar.web.answers.outbox import InvoiceCalls, ShownCall
from meterline_sidecar.web.api.collection import InvoiceNumber, invoice_of
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts


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


OPERATIONS = (
    Operation("/v1/invoices/{number}/stripe", list_invoice_calls),
    Operation("/v1/invoices/{number}/stripe/retry", retry_invoice_calls, method="POST"),
)
