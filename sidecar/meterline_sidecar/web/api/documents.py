"""Documents: invoices that are final, and credit notes, by their numbers."""

from datetime import date
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from meterline_pricing import Line, Period
from meterline_sidecar.billing.documents import (
    Document,
    Party,
    day_of,
    document_of,
    number_of,
    number_text,
)
from meterline_sidecar.billing.explained import words_under
from meterline_sidecar.billing.statement import Statement, final_of
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.config.names import Names
from meterline_sidecar.meters import AGGREGATIONS
from meterline_sidecar.store import documents as store
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.counted import Counted, snapshot
from meterline_sidecar.usage.customer_usage import MeterUsage
from meterline_sidecar.usage.series import Series
from meterline_sidecar.web.answers.documents import (
    AppendixMeter,
    DayQuantity,
    DocumentAnswer,
    DocumentBill,
    DocumentEntry,
    DocumentKind,
    DocumentLine,
    DocumentPage,
    ShownParty,
)
from meterline_sidecar.web.answers.usage import ShownGroup
from meterline_sidecar.web.api.invoices import shown_adjustments
from meterline_sidecar.web.api.usage import shown_period
from meterline_sidecar.web.daily import days_of, read_daily
from meterline_sidecar.web.money import shown_owed
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest, NoSuchThing
from meterline_sidecar.web.query import (
    ID_MAX,
    PAGE,
    CustomerId,
    Limit,
    find_customer,
    read_amount,
)

DocumentNumber = Annotated[
    str, Meta(max_length=60, description="A number such as INV-0001.")
]

PeriodName = Annotated[
    str, Meta(max_length=10, description="A billing period, such as 2026-11.")
]


class DocumentsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which documents, the newest first."""

    customer: CustomerId | None = None
    period: PeriodName | None = None
    kind: Annotated[
        DocumentKind | None, Meta(description="`invoice` or `credit_note`.")
    ] = None
    before: Annotated[
        int, Meta(ge=0, le=ID_MAX, description="`next_before` of the page before.")
    ] = ID_MAX
    limit: Limit = PAGE


class DocumentQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which document, and how much of it."""

    number: DocumentNumber
    appendix: Annotated[
        bool, Meta(description="With the usage behind it, by day and by group.")
    ] = False


class NewCreditNote(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """What of an invoice is credited."""

    amount: Annotated[
        str, Meta(max_length=30, description="A decimal in quotes.", examples=["5.00"])
    ]
    reason: Annotated[str, Meta(min_length=1, max_length=500)]
    """Why; it stands on the credit note."""


class CreditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which invoice is credited."""

    number: DocumentNumber


async def credit_invoice(
    parts: Parts, query: CreditQuery, *, body: NewCreditNote, author: str
) -> DocumentAnswer:
    """Credit some of an invoice or all of it, under a number of its own."""
    async with parts.database.transaction() as tx:
        found = await find_document(tx, query.number)
        if found.row.kind != "invoice":
            raise BadRequest(f"{found.number} is no invoice")
        note = await parts.issuer.credit_note(
            tx,
            found.row,
            read_amount(body.amount, found.row.currency),
            buyer=find_customer(parts, found.row.customer),
            reason=body.reason,
            author=author,
            now_ms=parts.clock.now_ms(),
        )
    return await get_document(
        parts, DocumentQuery(number=number_text(note.series, note.number))
    )


async def list_documents(parts: Parts, query: DocumentsQuery) -> DocumentPage:
    """List invoices that are final, and credit notes, the newest first."""
    async with parts.database.reading() as tx:
        rows = await store.page(
            tx,
            customer=query.customer,
            period=query.period,
            kind=query.kind,
            before=query.before,
            limit=query.limit,
        )
    return DocumentPage(
        documents=[
            DocumentEntry(**_entry(parts, document_of(row), "")) for row in rows
        ],
        next_before=rows[-1].id if len(rows) == query.limit else None,
    )


async def get_document(parts: Parts, query: DocumentQuery) -> DocumentAnswer:
    """Return an invoice or a credit note by its number."""
    async with snapshot(parts.database) as (tx, at):
        return await read_document(parts, tx, at, query)


async def read_document(
    parts: Parts, tx: Tx, at: Counted, query: DocumentQuery
) -> DocumentAnswer:
    """Return a document as it is shown.

    Args:
        at: of this snapshot; see ``counted``.

    Raises:
        NoSuchThing: there is none with this number.
    """
    found = await find_document(tx, query.number)
    said = found.details
    statement, period = await final_of(tx, found.row.invoice_id)
    related = await store.of_invoice(tx, found.row.invoice_id)
    notes = [one for one in related if one.kind == "credit_note"]
    (invoice,) = (one for one in related if one.kind == "invoice")
    is_invoice = found.row.kind == "invoice"
    names = Names(said.meters) if said.meters else parts.config.names
    appendix = None
    if query.appendix and is_invoice:
        appendix = await _appendix(parts, tx, at, statement, period, names)
    entry = _entry(parts, found, statement.customer_name)
    return DocumentAnswer(
        **entry,
        issued_time=format_time_ms(found.row.issued_ms),
        seller=_party(said.seller),
        payment=said.payment,
        buyer=_party(said.buyer, name=entry["customer_name"]),
        time_zone=said.time_zone,
        span=shown_period(period),
        first_day=day_of(period.start, said.time_zone),
        last_day=day_of(period.end - 1, said.time_zone),
        invoice=number_text(invoice.series, invoice.number),
        credit_notes=tuple(number_text(one.series, one.number) for one in notes)
        if is_invoice
        else (),
        reason=said.reason,
        bill=_bill(statement, names) if is_invoice else None,
        appendix=appendix,
    )


async def find_document(tx: Tx, number: str) -> Document:
    """Return the document of a number.

    Raises:
        NoSuchThing: there is none.
    """
    named = number_of(number)
    row = None if named is None else await store.numbered(tx, *named)
    if row is None:
        raise NoSuchThing(f"no document {number[:60]!r}; see /v1/invoices")
    return document_of(row)


def _entry(parts: Parts, found: Document, name: str) -> dict[str, Any]:
    """Return what a document says in a list.

    Args:
        name: of the customer, where the document is older than what it says of them.
    """
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
    }


def _party(party: Party, *, name: str = "") -> ShownParty:
    return ShownParty(
        name=party.name or name,
        address=party.address,
        tax_id=party.tax_id,
        email=party.email,
    )


def _bill(statement: Statement, names: Names) -> DocumentBill:
    drawn = statement.invoice
    return DocumentBill(
        plan=drawn.plan,
        lines=tuple(_line(line, drawn.currency, names) for line in drawn.lines),
        adjustments=shown_adjustments(statement),
        subtotal=drawn.subtotal,
        coupons=drawn.coupons,
        credits=drawn.credits,
        tax=drawn.tax,
        total=drawn.total,
        accepted_gaps=statement.accepted_gaps,
        counted_up_to_event=statement.counted_up_to_event,
    )


def _line(line: Line, currency: str, names: Names) -> DocumentLine:
    charges, rest = words_under(line, currency)
    return DocumentLine(
        kind=line.kind,
        name=line.name,
        title=names.line(line.description, line.meter),
        meter=line.meter,
        unit=names.unit(line.meter),
        quantity=line.quantity,
        charges=line.charges,
        words=(*charges, rest) if rest else tuple(charges),
        amount=line.amount,
    )


async def _appendix(
    parts: Parts,
    tx: Tx,
    at: Counted,
    statement: Statement,
    period: Period,
    names: Names,
) -> tuple[AppendixMeter, ...]:
    """Return the usage of those meters that an invoice has lines of."""
    customer = parts.customers.get(statement.customer)
    daily: dict[str, Series] = {}
    if customer is not None:
        daily = await read_daily(parts, tx, at, customer, period)
    billed = {line.meter for line in statement.invoice.lines}
    return tuple(
        _appendix_meter(used, daily.get(used.meter), names)
        for used in statement.usage
        if used.meter in billed
    )


def _appendix_meter(
    used: MeterUsage, series: Series | None, names: Names
) -> AppendixMeter:
    days = () if series is None else days_of(series)
    groups = sorted(used.groups, key=lambda group: -group.quantity)
    return AppendixMeter(
        meter=used.meter,
        title=names.title(used.meter),
        unit=names.unit(used.meter),
        shown_as=AGGREGATIONS[used.aggregation].shown_as,
        quantity=used.quantity,
        days=tuple(
            DayQuantity(date.fromisoformat(day.date), day.quantity) for day in days
        ),
        counted=None if series is None else series.total,
        groups=tuple(
            ShownGroup(labels=group.labels, quantity=group.quantity) for group in groups
        ),
    )


OPERATIONS = (
    Operation("/v1/invoices", list_documents),
    Operation("/v1/invoices/{number}", get_document),
    Operation("/v1/invoices/{number}/credit", credit_invoice, method="POST"),
)
