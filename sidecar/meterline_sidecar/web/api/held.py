"""Held events: which there are, and what a person decides about them."""

from typing import Annotated

import msgspec
from msgspec import Meta

from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.store.edge import held as store
from meterline_sidecar.store.edge.held import HeldRow, State, Wanted
from meterline_sidecar.web.answers.held import HeldDecision, HeldPage, ShownHeld
from meterline_sidecar.web.answers.reason import Reason
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest
from meterline_sidecar.web.query import ID_MAX, PAGE, CustomerId, Limit

EventId = Annotated[
    int, Meta(ge=0, le=ID_MAX, description="The id under which an event came.")
]
ProducerName = Annotated[
    str, Meta(max_length=32, description="The id of a worker's process.")
]


class HeldQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which held events."""

    customer: CustomerId | None = None
    producer: ProducerName | None = None
    state: State | None = None
    after: Annotated[
        int, Meta(ge=0, le=ID_MAX, description="`next_after` of the page before.")
    ] = 0
    limit: Limit = PAGE


class DecideQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which held events are decided about, why, and by whom."""

    reason: Reason
    author: Annotated[str, Meta(min_length=1, max_length=100)] = "api"
    event: EventId | None = None
    customer: CustomerId | None = None
    producer: ProducerName | None = None
    all: Annotated[bool, Meta(description="Decide about everything that is held.")] = (
        False
    )
    dry_run: Annotated[
        bool, Meta(description="Only answer how many events it would be.")
    ] = False


async def list_held(parts: Parts, query: HeldQuery) -> HeldPage:
    """List events whose time cannot be right, a page at a time."""
    wanted = Wanted(customer=query.customer, producer=query.producer, state=query.state)
    async with parts.database.reading() as tx:
        rows = await store.read_held(tx, wanted, after=query.after, limit=query.limit)
    return HeldPage(
        events=[_shown(row) for row in rows],
        next_after=rows[-1].event_id if len(rows) == query.limit else None,
    )


async def accept_held(parts: Parts, query: DecideQuery) -> HeldDecision:
    """Count held events at the time that they say, from now on."""
    return await _decide(parts, query, is_accepted=True)


async def reject_held(parts: Parts, query: DecideQuery) -> HeldDecision:
    """Leave held events out of billing for good."""
    return await _decide(parts, query, is_accepted=False)


async def _decide(
    parts: Parts, query: DecideQuery, *, is_accepted: bool
) -> HeldDecision:
    if query.all == any((query.event, query.customer, query.producer)):
        raise BadRequest("give an event, a customer, a producer, or all=true")
    wanted = Wanted(event=query.event, customer=query.customer, producer=query.producer)
    async with parts.database.reading() as tx:
        is_one = query.event is not None
        found = await store.sum_held(
            tx, wanted if is_one else wanted._replace(state="waiting")
        )
    n_events = found.events
    if not query.dry_run:
        n_events = await parts.held.decide(
            wanted, is_accepted=is_accepted, author=query.author, reason=query.reason
        )
    return HeldDecision(
        is_accepted=is_accepted,
        is_dry_run=query.dry_run,
        events=n_events,
        subjects=found.subjects,
        first=_text(found.first_ms),
        last=_text(found.last_ms),
    )


def _shown(row: HeldRow) -> ShownHeld:
    return ShownHeld(
        event=row.event_id,
        time=format_time_ms(row.time_ms),
        learned=format_time_ms(row.learned_ms),
        subject=row.subject,
        customer=row.customer,
        producer=row.producer,
        app=row.app,
        host=row.host,
        pid=row.pid,
        state=row.state,
        counted_as=row.counted_as,
        decided=_text(row.decided_ms),
        author=row.author,
        reason=row.reason,
    )


def _text(time_ms: int | None) -> str | None:
    return None if time_ms is None else format_time_ms(time_ms)


OPERATIONS = (
    Operation("/v1/held", list_held),
    Operation("/v1/held/accept", accept_held, method="POST"),
    Operation("/v1/held/reject", reject_held, method="POST"),
)
