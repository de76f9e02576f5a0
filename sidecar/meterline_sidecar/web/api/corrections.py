"""Corrections: what of the events counts, and what was added to them."""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from meterline.usage_event import Text, UsageEvent
from meterline_sidecar.billing.corrected import Supposed, of_correction
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.ingest import correction_plans as plans
from meterline_sidecar.ingest.amended import Changes
from meterline_sidecar.ingest.correction_plans import ADDED_MAX, Plan, Search
from meterline_sidecar.ingest.corrections import Asked
from meterline_sidecar.ingest.decode import possible_ms
from meterline_sidecar.store.edge import corrections as store
from meterline_sidecar.store.edge.corrections import CorrectionRow
from meterline_sidecar.store.edge.event_log import Filter
from meterline_sidecar.usage.counted import snapshot
from meterline_sidecar.web.answers.corrections import (
    CorrectionAnswer,
    CorrectionPage,
    ShownCorrection,
)
from meterline_sidecar.web.answers.events import KINDS
from meterline_sidecar.web.answers.reason import Reason
from meterline_sidecar.web.api.external_forms import BadField, amounts, texts
from meterline_sidecar.web.api.external_shapes import (
    EventData,
    Properties,
    Quantities,
)
from meterline_sidecar.web.money import shown_money
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest
from meterline_sidecar.web.query import (
    ID_MAX,
    PAGE,
    Limit,
    Time,
    find_customer,
    span_of,
    time_ms,
)
from meterline_sidecar.web.search import Search as EventSearch
from meterline_sidecar.web.search import filter_of

EVENTS_NAMED_MAX: Final = 1_000

EventId = Annotated[int, Meta(ge=1, le=ID_MAX, description="An event's id.")]


class AddedEvent(EventData, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Usage that was never recorded."""

    subject: Text
    time: Time


class ChangedEvent(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """What the events should have said; whatever is not named stays."""

    subject: Text | UnsetType = UNSET
    time: Time | UnsetType = UNSET
    quantities: Quantities | UnsetType = UNSET
    """By name; others stay."""
    properties: Properties | UnsetType = UNSET
    """Of the whole event, by name; others stay."""


class Wanted(
    EventSearch,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """Which events are corrected, and how: void unless ``set`` or ``add`` is given."""

    events: Annotated[tuple[EventId, ...], Meta(max_length=EVENTS_NAMED_MAX)] = ()
    """These, whatever else holds; in place of a search."""
    meter: Annotated[str, Meta(max_length=100)] | None = None
    """Only events that this meter counts; they are void for every meter."""
    set: ChangedEvent | None = None
    """What they should have said: others, which say it, count in their place."""
    add: Annotated[tuple[AddedEvent, ...], Meta(max_length=ADDED_MAX)] = ()
    """Usage to add, in place of events to look for."""


class NewCorrection(
    Wanted, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A correction that is asked for."""

    reason: Reason
    key: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=100,
                description="Your own name of it. Asked for again under the same key,"
                " it"
                " is made once: send it again after an answer that was lost.",
            ),
        ]
        | None
    ) = None


class HowQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whether anything is done."""

    dry_run: Annotated[
        bool, Meta(description="Only answer what it would do, and what it comes to.")
    ] = False


class RevertQuery(HowQuery, frozen=True, kw_only=True):
    """Which correction is taken back, and why."""

    correction: Annotated[int, Meta(ge=1, le=ID_MAX)]
    reason: Reason


class CorrectionsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of the list."""

    after: Annotated[
        int,
        Meta(ge=0, le=ID_MAX, description="`next_after` of the page before."),
    ] = ID_MAX
    limit: Limit = PAGE


async def list_corrections(parts: Parts, query: CorrectionsQuery) -> CorrectionPage:
    """List corrections, the newest first, with who made them and why."""
    async with snapshot(parts.database) as (tx, at):
        rows = await store.corrections_before(tx, query.after, limit=query.limit)
    return CorrectionPage(
        corrections=tuple(shown(row, up_to_event=at.up_to_event) for row in rows),
        next_after=rows[-1].id if len(rows) == query.limit else None,
    )


async def correct(
    parts: Parts, query: HowQuery, *, body: NewCorrection, author: str
) -> CorrectionAnswer:
    """Make events void, change what they say, or add usage; no event is changed."""
    said = msgspec.structs.asdict(body)
    wanted = Wanted(**{name: said[name] for name in Wanted.__struct_fields__})
    asked = Asked(
        author, body.reason, msgspec.json.encode(wanted).decode(), key=body.key
    )
    known = await parts.corrections.known(asked)
    if known is not None:
        return await _made(parts, known)
    return await _answer(
        parts, await _plan(parts, wanted), asked, is_dry_run=query.dry_run
    )


async def revert_correction(
    parts: Parts, query: RevertQuery, author: str
) -> CorrectionAnswer:
    """Take a correction back: what was void counts again, what was added does not."""
    plan = await plans.revert(parts.database, query.correction)
    asked = Asked(author, query.reason)
    return await _answer(parts, plan, asked, is_dry_run=query.dry_run)


async def _plan(parts: Parts, wanted: Wanted) -> Plan:
    if wanted.add:
        if any(
            value
            for name in Wanted.__struct_fields__
            if name != "add" and (value := getattr(wanted, name))
        ):
            raise BadRequest(
                "add cannot be combined with a search: what is added is not there yet"
            )
        added = [_event(parts, one) for one in wanted.add]
        return await plans.add(parts.database, added)
    search = _search(parts, wanted)
    if wanted.set is None:
        return await plans.void(parts.database, search)
    return await plans.amend(parts.database, search, _changes(parts, wanted.set))


def _search(parts: Parts, wanted: Wanted) -> Search:
    has_span = any((wanted.period, wanted.start, wanted.end))
    if wanted.events:
        if has_span or filter_of(wanted) != Filter() or wanted.meter:
            raise BadRequest("give either events, or what to look for")
        return Search(event_ids=wanted.events)
    if not has_span:
        raise BadRequest(
            "say of which time: events, a period, or start and end; what is not named"
            " is not corrected"
        )
    customer = None
    if wanted.customer is not None:
        customer = find_customer(parts, wanted.customer)
    span = span_of(parts, wanted, customer)
    return Search(
        wanted=filter_of(wanted), start=span.start, end=span.end, meter=wanted.meter
    )


def _changes(parts: Parts, changed: ChangedEvent) -> Changes:
    found = Changes(
        subject=changed.subject or None,
        time_ms=_happened(parts, changed.time) if changed.time else None,
        quantities=_amounts(changed.quantities or None),
        properties=_texts(changed.properties or None),
    )
    if found == Changes():
        raise BadRequest("set: say what the events should have said")
    return found


def _happened(parts: Parts, time: str) -> int:
    at_ms = time_ms("time", time)
    _, latest_ms = possible_ms(parts.clock.now_ms())
    if at_ms > latest_ms:
        raise BadRequest(
            f"time={time!r} is in the future: only past usage can be counted"
        )
    return at_ms


def _event(parts: Parts, added: AddedEvent) -> UsageEvent:
    return UsageEvent(
        time_ms=_happened(parts, added.time),
        kind=KINDS.index(added.kind),
        subject=added.subject,
        method=added.method,
        route=added.route,
        status=added.status or 0,
        duration_us=added.duration_us,
        bytes_in=added.bytes_in,
        bytes_out=added.bytes_out,
        quantities=dict(_amounts(added.quantities)) or None,
        properties=dict(_texts(added.properties)) or None,
    )


def _amounts(quantities: Quantities | None) -> dict[str, int | str]:
    try:
        return amounts(quantities or {})
    except BadField as error:
        raise BadRequest(str(error)) from error


def _texts(properties: Properties | None) -> dict[str, str]:
    try:
        return texts(properties or {})
    except BadField as error:
        raise BadRequest(str(error)) from error


async def _answer(
    parts: Parts, plan: Plan, asked: Asked, *, is_dry_run: bool
) -> CorrectionAnswer:
    money = made = None
    if is_dry_run:
        found = await of_correction(
            parts.database,
            parts.terms.terms,
            Supposed(plan.changed, plan.places, plan.added, plan.all_up_to),
            read_events=parts.archive.archived.events_after,
            now_ms=parts.clock.now_ms(),
        )
        money = shown_money(found)
    else:
        with parts.leading.as_leader():
            row = await parts.corrections.make(plan, asked)
        made = (await _made(parts, row)).correction
    times = [*plan.times_ms, *(event.time_ms for event in plan.added)]
    n_void = sum(plan.changed.values())
    return CorrectionAnswer(
        is_dry_run=is_dry_run,
        kind=plan.kind,
        void=n_void,
        counting=len(plan.changed) - n_void + len(plan.added),
        first=format_time_ms(min(times)),
        last=format_time_ms(max(times)),
        money=money,
        correction=made,
    )


async def _made(parts: Parts, row: CorrectionRow) -> CorrectionAnswer:
    """Return a correction that was made."""
    async with snapshot(parts.database) as (tx, at):
        events = await store.events_of(tx, row.id)
    n_void = sum(is_void for _, is_void in events)
    return CorrectionAnswer(
        is_dry_run=False,
        kind=row.kind,
        void=n_void,
        counting=len(events) - n_void,
        first=None,
        last=None,
        money=None,
        correction=shown(row, up_to_event=at.up_to_event),
    )


def shown(row: CorrectionRow, *, up_to_event: int) -> ShownCorrection:
    """Return a correction as it is shown.

    Args:
        up_to_event: how far usage is counted.
    """
    return ShownCorrection(
        correction=row.id,
        kind=row.kind,
        events=row.events,
        asked=msgspec.json.decode(row.query),
        reverts=row.reverts,
        reverted_by=row.reverted_by,
        is_counted=row.event_id <= up_to_event,
        first_event=row.first_event_id,
        event=row.event_id,
        corrected=format_time_ms(row.corrected_ms),
        author=row.author,
        reason=row.reason,
        key=row.key,
    )


OPERATIONS = (
    Operation("/v1/corrections", list_corrections),
    Operation("/v1/corrections", correct, method="POST"),
    Operation("/v1/corrections/{correction}/revert", revert_correction, method="POST"),
)
