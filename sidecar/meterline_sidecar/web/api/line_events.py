"""The very events that a line of an invoice was counted from."""

from collections import Counter
from datetime import date
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from msgspec import Meta

from meterline_pricing import Line, Period
from meterline_pricing.errors import unknown
from meterline_sidecar.billing.statement import Statement
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.meters import Meter
from meterline_sidecar.store.edge import behind as store
from meterline_sidecar.store.edge import event_log
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.days import day_after
from meterline_sidecar.usage.behind import Asked, Behind
from meterline_sidecar.usage.counted import Counted, snapshot
from meterline_sidecar.web.answers.explain import (
    LineEvent,
    LineEventPage,
    LineEvents,
)
from meterline_sidecar.web.api.events import shown_event
from meterline_sidecar.web.api.filed import archived_names, filed_by
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest
from meterline_sidecar.web.query import (
    ID_MAX,
    PAGE,
    CustomerId,
    Limit,
    MonthName,
    find_customer,
    invoice_period,
)

Day = Annotated[
    date, Meta(description="A day of the customer's calendar, such as 2026-11-06.")
]


class LineEventsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The events of which line."""

    customer: CustomerId
    line: Annotated[
        str,
        Meta(
            max_length=256,
            description="The name of a line, or its number on the invoice.",
        ),
    ]
    period: MonthName | None = None
    day: Day | None = None
    late: Annotated[
        bool,
        Meta(
            description="In place of what a final invoice counts, what came later and"
            " is an adjustment."
        ),
    ] = False
    after: Annotated[
        int, Meta(ge=0, le=ID_MAX, description="`next_after` of the page before.")
    ] = 0
    limit: Limit = PAGE


async def list_line_events(parts: Parts, query: LineEventsQuery) -> LineEventPage:
    """List the events that a line of an invoice was counted from, and no others."""
    customer = find_customer(parts, query.customer)
    async with snapshot(parts.database) as (tx, at):
        period = await invoice_period(tx, parts, customer, query.period)
        statement = await parts.invoices.shown(tx, at, customer, period)
        line = line_of(statement, query.line)
        meter = meter_of(parts, line, period)
        calendar = CustomerCalendar.of(parts.terms.terms, customer.id)
        span = span_in(calendar, line.span or period, query.day)
        counted_to = statement.counted_up_to_event
        asked = Asked(
            generation=at.generation,
            customer=customer.id,
            meter=meter,
            start=span.start,
            end=span.end,
            after=max(query.after, counted_to if query.late else 0),
            up_to=at.up_to_event if query.late else counted_to,
        )
        page = await (await Behind.of(tx, asked)).page(limit=query.limit)
        events = await event_log.events_of(tx, [one.event_id for one in page.events])
        archived = await archived_names(tx, start=span.start, end=span.end)
        edges = await filed_by(tx, parts, start=span.start, end=span.end)
    return LineEventPage(
        customer=customer.id,
        period=period.name,
        line=line.name,
        meter=meter.name,
        up_to_event=asked.up_to,
        events=tuple(
            LineEvent(
                **msgspec.structs.asdict(shown_event(events[one.event_id])),
                counted=one.quantity,
            )
            for one in page.events
        ),
        next_after=page.next_after,
        archived=archived,
        edges=edges,
    )


def refs_of(statement: Statement) -> list[str]:
    """Return what to ask for each line by: its name, or its number from 1 on.

    Where a price changed in the middle of a period, two lines have one name.
    """
    names = Counter(line.name for line in statement.invoice.lines)
    return [
        line.name if names[line.name] == 1 else str(i)
        for i, line in enumerate(statement.invoice.lines, 1)
    ]


def lines_of(statement: Statement, ref: str) -> list[Line]:
    """Return the lines of an invoice that are meant by a name, or by a number.

    Raises:
        BadRequest: it has none such.
    """
    lines = statement.invoice.lines
    found = [line for line in lines if line.name == ref]
    if not found and ref.isascii() and ref.isdigit() and 0 < int(ref) <= len(lines):
        found = [lines[int(ref) - 1]]
    if not found:
        names = dict.fromkeys(line.name for line in lines)
        raise BadRequest(unknown("line", ref[:100], names))
    return found


def line_of(statement: Statement, ref: str) -> Line:
    """Return the line of an invoice that is meant.

    Raises:
        BadRequest: it has none such, or more than one.
    """
    found = lines_of(statement, ref)
    if len(found) > 1:
        lines = statement.invoice.lines
        listed = ", ".join(
            f"{i} for {line.description}"
            for i, line in enumerate(lines, 1)
            if line in found
        )
        raise BadRequest(
            f"{len(found)} lines are called {ref!r}, as the price changed within the"
            f" period; ask for one by its number: {listed}"
        )
    return found[0]


def meter_of(parts: Parts, line: Line, period: Period) -> Meter:
    """Return what counted the events of a line.

    Raises:
        BadRequest: nothing is counted for it.
    """
    meter = None
    if line.meter is not None:
        end = (line.span or period).end
        meter = parts.terms.terms.meter(line.meter, end - 1)
    if meter is None:
        raise BadRequest(f"line {line.name} is of no meter: no event is counted for it")
    return meter


def span_in(calendar: CustomerCalendar, period: Period, day: date | None) -> Period:
    """Return what a period has of a day of the customer's calendar, or all of it.

    Raises:
        BadRequest: the day is not in the period.
    """
    if day is None:
        return period
    start, end = calendar.start_of(day), calendar.start_of(day_after(day))
    span = Period(max(start, period.start), min(end, period.end), period.name)
    if span.start >= span.end:
        raise BadRequest(f"day={day.isoformat()} is not in {period.name}")
    return span


async def line_events(
    tx: Tx,
    at: Counted,
    customer: Customer,
    period: Period,
    statement: Statement,
    *,
    line: Line,
    ref: str,
    meter: Meter,
) -> LineEvents:
    """Return what is known of a line's events without reading all of them.

    Args:
        ref: what to ask for the line by.
    """
    of_line = line.span or period
    asked = Asked(
        generation=at.generation,
        customer=customer.id,
        meter=meter,
        start=of_line.start,
        end=of_line.end,
        after=0,
        up_to=statement.counted_up_to_event,
    )
    behind = await Behind.of(tx, asked)
    first = await behind.page(limit=1)
    late_after = await store.last_learned_by(tx, period.end)
    span = {"line": ref, "period": period.name}
    is_counting = meter.aggregation == "count" and not meter.names_properties
    return LineEvents(
        n_events=int(line.quantity) if is_counting and line.quantity else None,
        first=first.events[0].event_id if first.events else None,
        last=await behind.last(),
        late_after=late_after,
        late_hours=sum(last > late_after for last in behind.hours.values()),
        list=f"/v1/customers/{customer.id}/invoice/events?{urlencode(span)}",
    )


OPERATIONS = (Operation("/v1/customers/{customer}/invoice/events", list_line_events),)
