"""How an invoice came about: lines, days, subjects, events, and the chain's proof."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from msgspec import Meta

from meterline_pricing import Line, Period
from meterline_sidecar.billing.documents import number_text
from meterline_sidecar.billing.drafts import NotBillable
from meterline_sidecar.billing.explain import Behind, behind
from meterline_sidecar.billing.statement import Final, Statement, finals_of
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.config.names import Names
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.decimals import subtracted
from meterline_sidecar.store import changes, documents, journal
from meterline_sidecar.store.edge import event_log
from meterline_sidecar.store.invoice_states import newest_states
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.usage.counted import WINDOW_MS, Counted, snapshot
from meterline_sidecar.web.answers.explain import (
    EventsBehind,
    ExplainedLine,
    Explanation,
    LineEvents,
    PlanPart,
    Proof,
    UsedBySubject,
    UsedInWindow,
    UsedOnDay,
)
from meterline_sidecar.web.answers.money import ShownOwed
from meterline_sidecar.web.api.documents import (
    DocumentNumber,
    find_document,
    read_steps,
)
from meterline_sidecar.web.api.filed import archived_names, filed_by
from meterline_sidecar.web.api.invoices import shown_adjustments
from meterline_sidecar.web.api.line_events import (
    Day,
    line_events,
    lines_of,
    refs_of,
    span_in,
)
from meterline_sidecar.web.api.usage import shown_period
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest
from meterline_sidecar.web.query import (
    CustomerId,
    MonthName,
    find_customer,
    invoice_period,
)


class ExplainQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which invoice, and which of its lines."""

    customer: CustomerId
    period: MonthName | None = None
    line: Annotated[
        str | None,
        Meta(
            description="The name of a line, or its number on the invoice; by default"
            " all of them."
        ),
    ] = None
    day: Annotated[
        Day | None,
        Meta(description="The windows of which day of the customer's are told, too."),
    ] = None


class ExplainNumberQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which document, and which of its lines."""

    number: DocumentNumber
    line: str | None = None
    day: Day | None = None


async def explain_document(parts: Parts, query: ExplainNumberQuery) -> Explanation:
    """Return how the invoice of a number came about; as by customer and period.

    Raises:
        BadRequest: it is void, so that its period is explained by another one.
    """
    async with parts.database.reading() as tx:
        found = await find_document(tx, query.number)
        states = await newest_states(tx, [found.row.invoice_id])
    if found.row.kind != "invoice":
        raise BadRequest(
            f"{found.number} is a credit note: it is of one invoice, which"
            f" `meterline invoice {found.number}` names, and says itself what for"
        )
    if states.get(found.row.invoice_id) == "void":
        raise BadRequest(
            f"{found.number} is void: `meterline invoice {found.number}` shows what it"
            f" said, `meterline explain {found.row.customer} --period"
            f" {found.row.period}` what its period comes to in its place"
        )
    asked = ExplainQuery(
        customer=found.row.customer,
        period=found.row.period,
        line=query.line,
        day=query.day,
    )
    return await explain_invoice(parts, asked)


async def explain_invoice(parts: Parts, query: ExplainQuery) -> Explanation:
    """Return how an invoice came about, from its lines down to the events."""
    customer = find_customer(parts, query.customer)
    async with snapshot(parts.database) as (tx, at):
        period = await invoice_period(tx, parts, customer, query.period)
        statement = await parts.invoices.shown(tx, at, customer, period)
        calendar = CustomerCalendar.of(parts.terms.terms, customer.id)
        asked: Sequence[Line] = statement.invoice.lines
        if query.line is not None:
            asked = lines_of(statement, query.line)
        lines = await behind(
            *(tx, at, parts.terms.terms, customer, period, asked),
            day=None if query.day is None else span_in(calendar, period, query.day),
        )
        refs = {
            id(line): ref
            for line, ref in zip(
                statement.invoice.lines, refs_of(statement), strict=True
            )
        }
        explained = [
            _line(
                one,
                parts.config.names,
                ref=refs[id(one.line)],
                events=None
                if query.line is None or one.meter is None
                else await line_events(
                    *(tx, at, customer, period, statement),
                    line=one.line,
                    ref=refs[id(one.line)],
                    meter=one.meter,
                ),
            )
            for one in lines
        ]
        final = (await finals_of(tx, customer.id)).get(period.name)
        return Explanation(
            number=await _number(tx, final),
            customer=customer.id,
            customer_name=statement.customer_name or customer.name,
            period=shown_period(period, customer.time_zone),
            time_zone=customer.time_zone,
            status="draft" if statement.finalized_ms is None else "final",
            currency=statement.invoice.currency,
            due=statement.due,
            counted_up_to_event=statement.counted_up_to_event,
            parts=_parts(statement),
            lines=tuple(explained),
            adjustments=() if query.line else shown_adjustments(statement),
            billed_elsewhere=_billed_elsewhere(final),
            pending=await _pending(parts, tx, at, customer, final),
            steps=() if final is None else await read_steps(tx, final.row_id),
            events=await _events(tx, parts, at, customer, period),
            proof=await _proof(tx, statement, final),
        )


def _parts(statement: Statement) -> tuple[PlanPart, ...]:
    agreement = statement.agreement
    return tuple(
        PlanPart(
            start=format_time_ms(part.start),
            end=format_time_ms(part.end),
            plan=None if part.plan is None else part.plan.name,
            version=None if part.plan is None else part.plan.version,
        )
        for part in (() if agreement is None else agreement.parts)
    )


async def _number(tx: Tx, final: Final | None) -> str | None:
    if final is None:
        return None
    of_invoice = await documents.of_invoice(tx, final.row_id)
    return next(
        number_text(row.series, row.number)
        for row in of_invoice
        if row.kind == "invoice"
    )


def _billed_elsewhere(final: Final | None) -> tuple[ShownOwed, ...]:
    if final is None:
        return ()
    own = final.statement.invoice
    billed = final.billed | {
        own.currency: subtracted(final.billed[own.currency], own.total)
    }
    return tuple(
        ShownOwed(amount=amount, currency=currency)
        for currency, amount in billed.items()
        if amount
    )


def _line(
    one: Behind, names: Names, *, ref: str, events: LineEvents | None
) -> ExplainedLine:
    line = one.line
    return ExplainedLine(
        line=line.name,
        ref=ref,
        description=names.line(line.description, line.meter),
        kind=line.kind,
        quantity=line.quantity,
        amount=line.amount,
        explanation=line.explanation,
        charges=line.charges,
        meter=None if one.meter is None else msgspec.to_builtins(one.meter),
        counted_now=one.counted,
        days=tuple(
            UsedOnDay(
                date=day.day.isoformat(),
                start=format_time_ms(day.start),
                end=format_time_ms(day.end),
                quantity=day.quantity,
            )
            for day in one.days
        ),
        subjects=tuple(
            UsedBySubject(subject=used.subject, quantity=used.quantity)
            for used in one.subjects
        ),
        n_subjects=one.n_subjects,
        windows=tuple(
            UsedInWindow(start=format_time_ms(used.window_ms), quantity=used.quantity)
            for used in one.windows
        ),
        events=events,
    )


async def _pending(
    parts: Parts, tx: Tx, at: Counted, customer: Customer, final: Final | None
) -> Decimal | None:
    """Return what a final period came to since, and is not billed."""
    if final is None:
        return None
    try:
        found = await parts.invoices.pending(tx, at, customer)
    except NotBillable:
        return None
    own = final.period.name, final.statement.invoice.currency
    return next((d.amount for d in found if (d.period, d.currency) == own), None)


async def _events(
    tx: Tx, parts: Parts, at: Counted, customer: Customer, period: Period
) -> EventsBehind:
    found = await changes.counted_range(
        tx,
        at.generation,
        customer=customer.id,
        start=period.start,
        end=period.end,
    )
    first: int | None = None
    if found is not None:
        page = await event_log.read_events(
            tx,
            event_log.Filter(customer=customer.id),
            start=max(found[0], period.start),
            end=min(found[0] + WINDOW_MS, period.end),
            after=0,
            limit=1,
        )
        first = page.events[0].id if page.events else None
    span = {
        "customer": customer.id,
        "start": format_time_ms(period.start),
        "end": format_time_ms(period.end),
    }
    return EventsBehind(
        first=first,
        last=None if found is None else found[1],
        list=f"/v1/events?{urlencode(span)}",
        archived=await archived_names(tx, start=period.start, end=period.end),
        edges=await filed_by(tx, parts, start=period.start, end=period.end),
    )


async def _proof(tx: Tx, statement: Statement, final: Final | None) -> Proof | None:
    event = await event_log.read_event(tx, statement.counted_up_to_event)
    if event is None:
        return None
    link = None
    if final is not None:
        link = await journal.link_of(tx, "invoices", final.row_id)
    return Proof(
        event=statement.counted_up_to_event,
        batch=event.batch_id,
        batch_mac=event.mac.hex(),
        journal_link=None if link is None else link.id,
        journal_mac=None if link is None else link.mac.hex(),
    )


OPERATIONS = (
    Operation("/v1/customers/{customer}/invoice/explain", explain_invoice),
    Operation("/v1/invoices/{number}/explain", explain_document),
)
