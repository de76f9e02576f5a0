"""The list of documents: invoices that are final, and credit notes, the newest first."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from meterline_sidecar.billing.breakdown import Breakdown
from meterline_sidecar.billing.collection import UNPAID, Owing, owing_of
from meterline_sidecar.billing.documents import (
    Document,
    day_of,
    document_of,
    number_text,
)
from meterline_sidecar.billing.statement import Owed, breakdowns_of_finals
from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.store import documents as store
from meterline_sidecar.store import invoice_states, stripe_calls
from meterline_sidecar.store.documents import DocumentRow
from meterline_sidecar.store.invoice_states import State
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.stripe_calls import CallRow
from meterline_sidecar.web.answers.documents import (
    DocumentAtStripe,
    DocumentEntry,
    DocumentKind,
    DocumentPage,
    DocumentState,
)
from meterline_sidecar.web.money import shown_breakdown, shown_owed
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import ID_MAX, PAGE, CustomerId, Limit, period_wanted

EARLIEST_MS: Final = 14 * HOUR_MS
"""So much before UTC days begin where they begin first."""
OVERDUE_STEP: Final = 500
"""Unpaid invoices that are looked at in one step for those that are overdue."""
PeriodName = Annotated[
    str,
    Meta(
        max_length=10,
        description="A billing period, or a month or a year: all that begin in it; or `last` or"
        " `current`, the customer's, or a month in UTC.",
    ),
]


class DocumentsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which documents, the newest first."""

    customer: CustomerId | None = None
    period: PeriodName | None = None
    kind: Annotated[
        DocumentKind | None, Meta(description="`invoice` or `credit_note`.")
    ] = None
    state: Annotated[
        DocumentState | None,
        Meta(
            description="Only invoices whose last step is this one; `overdue`: that"
            " should be paid by now, and are not."
        ),
    ] = None
    before: Annotated[
        int, Meta(ge=0, le=ID_MAX, description="`next_before` of the page before.")
    ] = ID_MAX
    limit: Limit = PAGE


async def list_documents(parts: Parts, query: DocumentsQuery) -> DocumentPage:
    """List invoices that are final, and credit notes, the newest first."""
    now_ms = parts.clock.now_ms()
    if query.period is not None:
        name = period_wanted(parts, query.customer, query.period)
        query = replace(query, period=name)
    async with parts.database.reading() as tx:
        rows, next_before = await _page(tx, query, now_ms=now_ms)
        found = [document_of(row) for row in rows]
        owing = await owing_of(tx, found, now_ms=now_ms)
        finals = [one.row.invoice_id for one in found if one.row.kind == "invoice"]
        made = await breakdowns_of_finals(tx, finals)
        at_stripe = await stripe_of(tx, finals)
        invoices = await invoices_of(tx, [one.row.invoice_id for one in found])
    return DocumentPage(
        documents=[
            DocumentEntry(
                **entry_of(
                    parts,
                    one,
                    invoice=invoices[one.row.invoice_id],
                    owing=owing.get(one.row.invoice_id),
                    made=made.get(one.row.invoice_id, ()),
                    at_stripe=at_stripe.get(one.row.invoice_id),
                )
            )
            for one in found
        ],
        next_before=next_before,
    )


async def _page(
    tx: Tx, query: DocumentsQuery, *, now_ms: int
) -> tuple[list[DocumentRow], int | None]:
    """Return a page of rows, and where the next one begins.

    What is overdue follows from days and payments: invoices that are not paid, of days
    that are over anywhere, are read until there are enough of them.
    """
    is_overdue = query.state == "overdue"
    yesterday = day_of(now_ms + EARLIEST_MS - DAY_MS, "UTC")
    states: tuple[State, ...] = ()
    if query.state is not None:
        states = UNPAID if query.state == "overdue" else (query.state,)
    found: list[DocumentRow] = []
    before = query.before
    while True:
        rows = await store.page(
            tx,
            customer=query.customer,
            period=query.period,
            kind=query.kind,
            states=states,
            due_until=yesterday.isoformat() if is_overdue else None,
            before=before,
            limit=OVERDUE_STEP if is_overdue else query.limit,
        )
        if not is_overdue:
            return rows, rows[-1].id if len(rows) == query.limit else None
        owing = await owing_of(tx, map(document_of, rows), now_ms=now_ms)
        found += [row for row in rows if owing[row.invoice_id].is_overdue]
        if len(found) >= query.limit:
            return found[: query.limit], found[query.limit - 1].id
        if len(rows) < OVERDUE_STEP:
            return found, None
        before = rows[-1].id


class OfInvoice(NamedTuple):
    """What a document and the credit notes to it share."""

    number: str
    state: State


async def invoices_of(tx: Tx, invoice_ids: Sequence[int]) -> dict[int, OfInvoice]:
    """Return the numbers of final invoices, and what became of them."""
    states = await invoice_states.newest_states(tx, invoice_ids)
    return {
        row.invoice_id: OfInvoice(
            number_text(row.series, row.number), states.get(row.invoice_id, "final")
        )
        for row in await store.of_invoices(tx, invoice_ids)
        if row.kind == "invoice"
    }


def entry_of(
    parts: Parts,
    found: Document,
    *,
    name: str = "",
    invoice: OfInvoice,
    owing: Owing | None,
    made: Iterable[Breakdown],
    at_stripe: DocumentAtStripe | None,
) -> dict[str, Any]:
    """Return what a document says in a list.

    Args:
        name: of the customer, where the document is older than what it says of them.
        invoice: the one that it is, or that it credits.
        owing: how the invoice stands; it is not said of a credit note.
        made: what an invoice is made of, by currency; a credit note says it itself.
        at_stripe: how far Stripe is told of the invoice.
    """
    if found.row.kind != "invoice":
        owing, made, at_stripe = None, found.details.breakdown, None
    left: Mapping[str, Decimal] = {} if owing is None else owing.left
    row, said = found.row, found.details
    known = parts.customers.get(row.customer)
    current = row.customer if known is None else known.name
    return {
        "number": found.number,
        "kind": row.kind,
        "customer": row.customer,
        "customer_name": said.buyer.name or name or current,
        "period": row.period,
        "currency": row.currency,
        "amount": found.amount,
        "also_due": shown_owed(said.also_due),
        "issued": found.issued,
        "due": said.due,
        "state": None if owing is None else owing.state,
        "invoice": invoice.number,
        "invoice_state": invoice.state,
        "is_overdue": owing is not None and owing.is_overdue,
        "left": shown_owed(Owed(n, currency) for currency, n in left.items()),
        "breakdown": tuple(map(shown_breakdown, made)),
        "stripe": at_stripe,
    }


async def stripe_of(tx: Tx, invoice_ids: Sequence[int]) -> dict[int, DocumentAtStripe]:
    """Return how far Stripe is told of final invoices; of the others there is nothing."""
    calls: dict[int, list[CallRow]] = defaultdict(list)
    for call in await stripe_calls.calls_of(tx, invoice_ids):
        calls[call.invoice_id].append(call)
    return {id_: _at_stripe(theirs) for id_, theirs in calls.items()}


def _at_stripe(calls: Sequence[CallRow]) -> DocumentAtStripe:
    # Nothing goes on behind a call that is not done; what was taken back is over.
    at = next((c for c in calls if c.state not in ("done", "dropped")), calls[-1])
    made = (call.object_id for call in calls if call.step == "invoice")
    return DocumentAtStripe(
        state=at.state, stripe_id=next(made, None), reason=at.reason
    )


OPERATIONS = (Operation("/v1/invoices", list_documents),)
