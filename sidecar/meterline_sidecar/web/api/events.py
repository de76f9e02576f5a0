"""Raw events: pages of them, and one with all that is known of it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from meterline.events import Flag
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.meters import quantity
from meterline_sidecar.properties import stored_in
from meterline_sidecar.store.edge import archive
from meterline_sidecar.store.edge import event_log as audit
from meterline_sidecar.usage.rolled_up import rolled_up_in
from meterline_sidecar.web.answers.events import (
    KINDS,
    EventPage,
    ShownEvent,
    ShownPart,
    ShownRolledUp,
    WholeEvent,
    named_flags,
)
from meterline_sidecar.web.api.filed import archived_names, filed_by
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import NoSuchThing
from meterline_sidecar.web.query import (
    ID_MAX,
    PAGE,
    Limit,
    find_customer,
    span_of,
)
from meterline_sidecar.web.search import Search, filter_of


class EventsQuery(Search, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events."""

    after: Annotated[
        int, Meta(ge=0, le=ID_MAX, description="`next_after` of the page before.")
    ] = 0
    limit: Limit = PAGE


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which event."""

    event: Annotated[int, Meta(ge=0, le=ID_MAX, description="An event's id.")]


async def list_events(parts: Parts, query: EventsQuery) -> EventPage:
    """List raw events in the order in which they were learned, a page at a time."""
    customer = None
    if query.customer is not None:
        customer = find_customer(parts, query.customer)
    span = span_of(parts, query, customer)
    async with parts.database.reading() as tx:
        page = await audit.read_events(
            tx,
            filter_of(query),
            start=span.start,
            end=span.end,
            after=query.after,
            limit=query.limit,
        )
        archived = await archived_names(tx, start=span.start, end=span.end)
        if query.external_id is not None:
            named = await archive.files_of_name(
                tx, query.external_id, source=query.source
            )
            archived = tuple(file.file for file in named)
        edges = await filed_by(tx, parts, start=span.start, end=span.end)
    return EventPage(
        events=[shown_event(event) for event in page.events],
        next_after=page.next_after,
        archived=archived,
        edges=edges,
    )


async def get_event(parts: Parts, query: EventQuery) -> WholeEvent:
    """Return one event with where it came from and when it was stored."""
    async with parts.database.reading() as tx:
        found = await audit.read_event(tx, query.event)
        file = await archive.file_of_event(tx, query.event)
    if file is not None:
        raise NoSuchThing(
            f"event {query.event} left the ledger for {file.file}; `meterline archive"
            f" restore {file.file}` brings it back, with all that is newer"
        )
    if found is None:
        raise NoSuchThing(
            f"no event {query.event}; `meterline events` lists the newest"
        )
    return WholeEvent(
        event=shown_event(found.event),
        producer=found.event.producer,
        app=found.app,
        host=found.host,
        pid=found.pid,
        batch=found.batch_id,
        learned=format_time_ms(found.learned_ms),
        mac=found.mac.hex(),
    )


def shown_event(event: audit.AuditEvent) -> ShownEvent:
    """Return a raw event as it is shown."""
    told = stored_in(event.properties)
    return ShownEvent(
        id=event.id,
        event=f"{event.producer}-{event.seq}",
        time=format_time_ms(event.time_ms),
        kind=KINDS[event.kind],
        subject=event.subject,
        customer=event.customer,
        method=event.method or None,
        route=event.route or None,
        status=event.status or None,
        duration_us=event.duration_us,
        bytes_in=event.bytes_in,
        bytes_out=event.bytes_out,
        flags=named_flags(event.flags),
        quantities=msgspec.json.decode(event.quantities) if event.quantities else {},
        properties=told.whole,
        parts=[
            ShownPart(quantity=name, amount=amount, properties=own)
            for name, amount, own in told.parts
        ],
        source=event.source,
        external_id=event.external_id,
        voided_by=event.voided_by,
        edge=event.edge,
        usage=_shown_usage(event),
    )


def _shown_usage(event: audit.AuditEvent) -> ShownRolledUp | None:
    if not event.flags & Flag.ROLLED_UP or event.properties is None:
        return None
    told = rolled_up_in(event.properties)
    return ShownRolledUp(
        events=told.events,
        group=msgspec.json.decode(told.labels, type=dict[str, str]),
        totals={meter: quantity(total) for meter, total in told.totals.items()},
        distinct={meter: len(values) for meter, values in told.unique.items()},
    )


OPERATIONS = (
    Operation("/v1/events", list_events),
    Operation("/v1/events/{event}", get_event),
)
