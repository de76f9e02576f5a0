"""A correction as a step of counting: worked out from snapshots, then written at once."""

from typing import NamedTuple

from meterline_sidecar.store.edge import corrections
from meterline_sidecar.store.edge import usage as store
from meterline_sidecar.store.edge.corrections import CorrectionRow
from meterline_sidecar.store.edge.usage import Cut, Key
from meterline_sidecar.store.port import Database
from meterline_sidecar.store.terms import NEVER_MS
from meterline_sidecar.usage.corrected import (
    Recounting,
    facts_of,
    places_of,
    recount,
)
from meterline_sidecar.usage.fold import Delta, Folder, Place
from meterline_sidecar.usage.rewritten import Rewritten, rewritten
from meterline_sidecar.usage.step import Endpoints, Step


class WorkedOut(NamedTuple):
    """What a correction comes to, and what that was worked out by."""

    cuts: list[Cut]
    deltas: dict[Place, Delta]
    rewritten: Rewritten
    first_event_id: int
    """The first event that it is about."""


async def work_out(
    database: Database, step: Step, correction: CorrectionRow, endpoints: Endpoints
) -> WorkedOut:
    """Return what usage comes to with a correction, while nobody else counts.

    Nothing of it is kept meanwhile: who is killed works it out again.
    """
    definition, after_id = step.definition, step.span.after_id
    async with database.reading() as tx:
        changed = dict(await corrections.events_of(tx, correction.id))
        facts = await facts_of(tx, list(changed))
        cuts = await store.cuts_between(tx, 0, NEVER_MS)

        def new_folder() -> Folder:
            return Folder(definition, endpoints, cuts, values=step.values)

        what = Recounting(
            new_folder,
            await places_of(new_folder, facts),
            changed,
            up_to_event=after_id,
            added=[event for event in facts if event.id > after_id],
        )
        deltas = await recount(tx, what)
    for delta in deltas.values():
        delta.last_event_id = correction.event_id
    async with database.transaction() as tx:
        groups = await store.intern_groups(tx, {place.labels for place in deltas})
    keyed = {
        Key(place.subject_id, place.window_ms, groups[place.labels]): delta
        for place, delta in deltas.items()
    }
    async with database.reading() as tx:
        written = await rewritten(
            tx, step.before.id, keyed, aggregations=definition.aggregations
        )
    return WorkedOut(cuts, deltas, written, min(changed, default=after_id + 1))
