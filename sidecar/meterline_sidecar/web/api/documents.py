"""Documents: invoices that are final, and credit notes, by their numbers."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from meterline_pricing import Line, Period
from meterline_sidecar.billing.collection import UNPAID, Owing, owing_of
from meterline_sidecar.billing.documents import (
    Document,
    Party,
    day_of,
    document_of,
    number_of,
    number_text,
)
from meterline_sidecar.billing.explained import words_under
from meterline_sidecar.billing.statement import (
    Owed,
    Statement,
    breakdowns_of,
    final_of,
    made_of,
)
from meterline_sidecar.clock import DAY_MS, HOUR_MS, format_time_ms
from meterline_sidecar.config.names import Names
from meterline_sidecar.meters import AGGREGATIONS
from meterline_sidecar.store import documents as store
from meterline_sidecar.store import invoice_states, payments
from meterline_sidecar.store.documents import DocumentRow
from meterline_sidecar.store.invoice_states import State
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.counted import Counted, snapshot
from meterline_sidecar.usage.customer_usage import MeterUsage
from meterline_sidecar.usage.series import Series
from meterline_sidecar.web.answers.collection import InvoiceStep, ShownPayment
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
from meterline_sidecar.web.money import shown_breakdown, shown_owed
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import NoSuchThing
from meterline_sidecar.web.query import (
    ID_MAX,
    PAGE,
    CustomerId,
    Limit,
)

DocumentNumber = Annotated[
    str, Meta(max_length=60, description="A number such as INV-0001.")
]

DocumentState = Literal["final", "sent", "overdue", "paid", "uncollectible", "void"]
EARLIEST_MS: Final = 14 * HOUR_MS
"""So much before UTC days begin where they begin first."""
OVERDUE_STEP: Final = 500
"""Unpaid invoices that are looked at in one step for those that are overdue."""
PeriodName = Annotated[
    str,
    Meta(
        max_length=10,
        description="A billing period, or a month: all that begin in it.",
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


class DocumentQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which document, and how much of it."""

    number: DocumentNumber
    appendix: Annotated[
        bool, Meta(description="With the usage behind it, by day and by group.")
    ] = False


async def list_documents(parts: Parts, query: DocumentsQuery) -> DocumentPage:
    """List invoices that are final, and credit notes, the newest first."""
    now_ms = parts.clock.now_ms()
    async with parts.database.reading() as tx:
        rows, next_before = await _page(tx, query, now_ms=now_ms)
        found = [document_of(row) for row in rows]
        owing = await owing_of(tx, found, now_ms=now_ms)
    return DocumentPage(
        documents=[
            DocumentEntry(**_entry(parts, one, "", owing.get(one.row.invoice_id)))
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
    owing = await owing_of(tx, [found], now_ms=parts.clock.now_ms())
    entry = _entry(
        parts, found, statement.customer_name, owing.get(found.row.invoice_id)
    )
    return DocumentAnswer(
        **entry,
        issued_time=format_time_ms(found.row.issued_ms),
        seller=_party(said.seller),
        payment=said.payment,
        buyer=_party(said.buyer, name=entry["customer_name"]),
        time_zone=said.time_zone,
        span=shown_period(period, said.time_zone),
        first_day=day_of(period.start, said.time_zone),
        last_day=day_of(period.end - 1, said.time_zone),
        invoice=number_text(invoice.series, invoice.number),
        credit_notes=tuple(number_text(one.series, one.number) for one in notes)
        if is_invoice
        else (),
        reason=said.reason,
        bill=_bill(statement, names) if is_invoice else None,
        breakdown=tuple(
            map(
                shown_breakdown,
                breakdowns_of(statement).values() if is_invoice else said.breakdown,
            )
        ),
        appendix=appendix,
        steps=await read_steps(tx, found.row.invoice_id) if is_invoice else (),
        payments=await _payments(tx, found.row.invoice_id) if is_invoice else (),
    )


async def read_steps(tx: Tx, invoice_id: int) -> tuple[InvoiceStep, ...]:
    """Return what became of a final invoice, as it is shown."""
    return tuple(
        InvoiceStep(
            state=step.state,
            at=format_time_ms(step.at_ms),
            author=step.author,
            cause=step.cause,
        )
        for step in await invoice_states.states_of(tx, invoice_id)
    )


async def _payments(tx: Tx, invoice_id: int) -> tuple[ShownPayment, ...]:
    return tuple(
        ShownPayment(
            payment=row.id,
            currency=row.currency,
            amount=Decimal(row.amount),
            day=row.paid_on,
            reference=row.reference,
            recorded=format_time_ms(row.recorded_ms),
            author=row.author,
            reason=row.reason,
            key=row.key,
        )
        for row in await payments.of_invoices(tx, [invoice_id])
    )


async def find_document(tx: Tx, number: str) -> Document:
    """Return the document of a number.

    Raises:
        NoSuchThing: there is none.
    """
    named = number_of(number)
    row = None if named is None else await store.numbered(tx, *named)
    if row is None:
        raise NoSuchThing(
            f"no invoice or credit note {number[:60]!r}; the page Invoices"
            " lists all, and so does GET /v1/invoices"
        )
    return document_of(row)


def _entry(
    parts: Parts, found: Document, name: str, owing: Owing | None
) -> dict[str, Any]:
    """Return what a document says in a list.

    Args:
        name: of the customer, where the document is older than what it says of them.
        owing: how the invoice stands; it is not said of a credit note.
    """
    if found.row.kind != "invoice":
        owing = None
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
        "is_overdue": owing is not None and owing.is_overdue,
        "left": shown_owed(Owed(n, currency) for currency, n in left.items()),
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
        net=made_of(statement).net,
        tax=drawn.tax,
        total=drawn.total,
        accepted_gaps=statement.accepted_gaps,
        counted_up_to_event=statement.counted_up_to_event,
        known_correction=statement.known_correction,
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
)
