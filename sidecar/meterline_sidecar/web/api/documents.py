"""Documents: invoices that are final, and credit notes, by their numbers."""

from datetime import date
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta

from meterline_pricing import Line, Period
from meterline_sidecar.billing.collection import owing_of
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
    Statement,
    breakdowns_of,
    final_of,
    made_of,
)
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.config.names import Names
from meterline_sidecar.meters import AGGREGATIONS
from meterline_sidecar.store import documents as store
from meterline_sidecar.store import invoice_states, payments
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
    DocumentLine,
    ShownParty,
)
from meterline_sidecar.web.answers.usage import ShownGroup
from meterline_sidecar.web.api.document_list import entry_of, invoices_of, stripe_of
from meterline_sidecar.web.api.invoices import shown_adjustments
from meterline_sidecar.web.api.usage import shown_period
from meterline_sidecar.web.daily import days_of, read_daily
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import NoSuchThing

DocumentNumber = Annotated[
    str, Meta(max_length=60, description="A number such as INV-0001.")
]


class DocumentQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which document, and how much of it."""

    number: DocumentNumber
    appendix: Annotated[
        bool, Meta(description="With the usage behind it, by day and by group.")
    ] = False


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
    is_invoice = found.row.kind == "invoice"
    names = Names(said.meters) if said.meters else parts.config.names
    appendix = None
    if query.appendix and is_invoice:
        appendix = await _appendix(parts, tx, at, statement, period, names)
    owing = await owing_of(tx, [found], now_ms=parts.clock.now_ms())
    at_stripe = await stripe_of(tx, [found.row.invoice_id])
    invoices = await invoices_of(tx, [found.row.invoice_id])
    entry = entry_of(
        parts,
        found,
        name=statement.customer_name,
        invoice=invoices[found.row.invoice_id],
        owing=owing.get(found.row.invoice_id),
        made=breakdowns_of(statement).values(),
        at_stripe=at_stripe.get(found.row.invoice_id),
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
        credit_notes=tuple(number_text(one.series, one.number) for one in notes)
        if is_invoice
        else (),
        reason=said.reason,
        bill=_bill(statement, names) if is_invoice else None,
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
            f"no invoice or credit note {number[:60]!r}; the page Invoices,"
            " `meterline invoices` and GET /v1/invoices list all"
        )
    return document_of(row)


def _party(party: Party, *, name: str = "") -> ShownParty:
    return ShownParty(
        name=party.name or name,
        address=party.address,
        tax_id=party.tax_id,
        email=party.email,
    )


def _bill(statement: Statement, names: Names) -> DocumentBill:
    drawn = statement.invoice
    shown = drawn.lines_to_show
    return DocumentBill(
        plan=drawn.plan,
        lines=tuple(
            _line(line, drawn.currency, names, is_idle=line not in shown)
            for line in drawn.lines
        ),
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


def _line(line: Line, currency: str, names: Names, *, is_idle: bool) -> DocumentLine:
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
        is_idle=is_idle,
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


OPERATIONS = (Operation("/v1/invoices/{number}", get_document),)
