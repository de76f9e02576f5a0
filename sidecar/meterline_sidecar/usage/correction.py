"""A correction as a step of counting: worked out from snapshots, then written.

What changes is written in parts, so that nobody waits long; the last of them moves the
cursor. Until then the windows that are written are of an event that is not counted yet:
by that readers know, and wait (``counted.snapshot``). Who is killed in between begins
again, and writes the same.
"""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Final, NamedTuple

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.store.edge import corrections
from meterline_sidecar.store.edge import usage as store
from meterline_sidecar.store.edge.corrections import CorrectionRow
from meterline_sidecar.store.edge.fact_columns import events_at
from meterline_sidecar.store.edge.usage import COUNTED, Cut, EventFacts, Key, ReadEvents
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.terms import NEVER_MS
from meterline_sidecar.usage.corrected import (
    NewFolder,
    Recounting,
    facts_of,
    places_of,
    recount,
)
from meterline_sidecar.usage.fold import Delta, Place
from meterline_sidecar.usage.in_bulk import BulkFolder
from meterline_sidecar.usage.rewritten import Rewritten, rewritten
from meterline_sidecar.usage.step import Endpoints, Step

WRITTEN_AT_ONCE: Final = 500  # windows; about 15 ms


class WorkedOut(NamedTuple):
    """What a correction comes to, and what that was worked out by."""

    cuts: list[Cut]
    deltas: dict[Place, Delta]
    parts: list[dict[Key, Delta]]
    """The same by key, in parts; those of a day stand together."""
    first_event_id: int
    """The first event that it is about."""


class Corrected(NamedTuple):
    """What the windows come to that a correction is about."""

    deltas: dict[Place, Delta]
    first_event_id: int
    """The first event that it is about."""


async def corrected(
    tx: Tx,
    correction: CorrectionRow,
    new_folder: NewFolder,
    *,
    after_id: int,
    read_events: ReadEvents | None = None,
) -> Corrected:
    """Return all that is counted in the windows that a correction is about.

    Args:
        after_id: the last event that is counted before.
        read_events: as ``Recounting`` has it.

    Raises:
        EventsArchived: without ``read_events``, where events of them left the ledger.
    """
    changed = dict(await corrections.events_of(tx, correction.id))
    folder, places = new_folder().each, set[Place]()
    added: list[EventFacts] = []
    async for facts in facts_of(
        tx, list(changed), columns=COUNTED.names, read_events=read_events
    ):
        places |= await places_of(folder, facts)
        new = range(bisect_right(facts["id"], after_id), len(facts["id"]))
        added += events_at(facts, new)
    what = Recounting(
        new_folder,
        frozenset(places),
        changed,
        up_to_event=after_id,
        added=added,
        read_events=read_events,
    )
    found = await recount(tx, what)
    deltas = {place: found.get(place) or Delta() for place in what.places}
    for delta in deltas.values():
        delta.last_event_id = correction.event_id
    return Corrected(deltas, min(changed, default=after_id + 1))


def in_parts(
    deltas: Mapping[Place, Delta], groups: Mapping[str, int]
) -> list[dict[Key, Delta]]:
    """Return what windows come to by key, in parts; those of a day stand together."""
    keyed = {
        Key(place.subject_id, place.window_ms, groups[place.labels]): delta
        for place, delta in deltas.items()
    }
    keys = sorted(keyed, key=lambda key: (key.window_ms // DAY_MS, key))
    return [
        {key: keyed[key] for key in keys[start : start + WRITTEN_AT_ONCE]}
        for start in range(0, len(keys), WRITTEN_AT_ONCE)
    ]


async def work_out(
    database: Database,
    step: Step,
    correction: CorrectionRow,
    endpoints: Endpoints,
    *,
    read_events: ReadEvents | None = None,
) -> WorkedOut:
    """Return what usage comes to with a correction, while nobody else counts.

    Nothing of it is kept meanwhile: who is killed works it out again.

    Args:
        read_events: as ``Recounting`` has it.

    Raises:
        EventsArchived: as ``corrected``.
    """
    async with database.reading() as tx:
        cuts = await store.cuts_between(tx, 0, NEVER_MS)

        def new_folder() -> BulkFolder:
            return BulkFolder(
                step.definition,
                endpoints,
                cuts,
                values=step.values,
                generation=step.before.id,
            )

        found = await corrected(
            tx,
            correction,
            new_folder,
            after_id=step.span.after_id,
            read_events=read_events,
        )
    async with database.transaction() as tx:
        groups = await store.intern_groups(tx, {place.labels for place in found.deltas})
    parts = in_parts(found.deltas, groups)
    return WorkedOut(cuts, found.deltas, parts, found.first_event_id)


async def part_of(database: Database, step: Step, part: dict[Key, Delta]) -> Rewritten:
    """Return what is to be written of a part, by what is stored when it is asked for."""
    async with database.reading() as tx:
        return await rewritten(
            tx, step.before.id, part, aggregations=step.definition.aggregations
        )
