"""Raw events: search, filter, and one of them whole."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from meterline_sidecar.store.edge import event_log as audit
from meterline_sidecar.web.answers.events import KINDS
from meterline_sidecar.web.api.events import EventQuery, get_event, shown_event
from meterline_sidecar.web.api.filed import archived_names, filed_by
from meterline_sidecar.web.guard import may_write
from meterline_sidecar.web.operations import read_query
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import (
    ID_MAX,
    CustomerId,
    MonthName,
    Span,
    Statuses,
    Time,
    Where,
    find_customer,
    span_of,
    statuses_of,
    where_of,
)
from meterline_sidecar.web.view.filters import filtered, typed
from meterline_sidecar.web.view.render import render
from meterline_sidecar.where import KindName

PAGE = 50


class EventsPageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events, the newest first."""

    customer: CustomerId | None = None
    subject: Annotated[str, Meta(max_length=256)] | None = None
    route: Annotated[str, Meta(max_length=512)] | None = None
    method: Annotated[str, Meta(max_length=32)] | None = None
    status: Statuses | None = None
    kind: KindName | None = None
    where: Where | None = None
    period: MonthName | None = None
    start: Time | None = None
    end: Time | None = None
    before: Annotated[int, Meta(ge=0, le=ID_MAX)] | None = None


async def events(request: Request) -> Response:
    """Answer a page of events."""
    parts: Parts = request.app.state.parts
    form = typed(request, EventsPageQuery)

    async def read() -> dict[str, Any]:
        return await _found(parts, read_query(request, EventsPageQuery, is_page=True))

    kept = {name: text for name, text in form.items() if text and name != "before"}
    context = {"query": form, "kept": kept, "kinds": KINDS}
    return await filtered(request, "events.html", context, read)


async def _found(parts: Parts, query: EventsPageQuery) -> dict[str, Any]:
    """Return the events that were asked for, and where to go on."""
    customer = None
    if query.customer is not None:
        customer = find_customer(parts, query.customer)
    span = span_of(
        parts, Span(period=query.period, start=query.start, end=query.end), customer
    )
    wanted = audit.Filter(
        customer=query.customer,
        subject=query.subject,
        route=query.route,
        method=query.method,
        statuses=statuses_of(query.status),
        kind=None if query.kind is None else KINDS.index(query.kind),
        where=where_of(query.where),
    )
    async with parts.database.reading() as tx:
        page = await audit.newest_events(
            tx,
            wanted,
            start=span.start,
            end=span.end,
            before=query.before,
            limit=PAGE,
        )
        archived = await archived_names(tx, start=span.start, end=span.end)
        edges = await filed_by(tx, parts, start=span.start, end=span.end)
    return {
        "archived": archived,
        "edges": edges,
        "span": span,
        "events": [shown_event(event) for event in page.events],
        "older": page.next_after,
    }


async def event(request: Request) -> Response:
    """Answer one event whole."""
    parts: Parts = request.app.state.parts
    query = read_query(request, EventQuery, is_page=True)
    whole = await get_event(parts, query)
    context = {"whole": whole, "may_write": may_write(request)}
    return render(request, "event.html", context)
