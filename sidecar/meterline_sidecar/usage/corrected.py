"""What corrections do to usage: which events count, and what their windows come to then.

A correction says of events that they are void, or that they count again, and holds from
behind its own event on. The windows that these events are in are counted again from all
of their events, whatever the aggregation. An event that is void leaves its windows as
they are without it, and stays in their order: a window that it was in changed with the
correction's own event, so that whoever looks for changes finds it.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Final, NamedTuple

from meterline.events import UNCOUNTED
from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.store.edge import archive, windows
from meterline_sidecar.store.edge import corrections as store
from meterline_sidecar.store.edge.begin import begin, check_here
from meterline_sidecar.store.edge.by_column import columns_between
from meterline_sidecar.store.edge.corrections import Mark
from meterline_sidecar.store.edge.event_log import SCAN_EVENTS_MAX
from meterline_sidecar.store.edge.fact_columns import (
    PLACING,
    FactColumns,
    of_events,
    part_of,
    picked,
)
from meterline_sidecar.store.edge.usage import COUNTED, EventFacts, ReadEvents
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.counted import WINDOW_MS
from meterline_sidecar.usage.fold import Delta, Folder, Place
from meterline_sidecar.usage.in_bulk import BulkFolder

FOLDED: Final = 20_000
"""Events at once in a thread, to be counted or looked at."""
READ: Final = 1_000
"""Events at once, where those of a correction are read wherever they are."""

IN_WINDOW: Final = ("subject_id", "time_ms", "flags")
NewFolder = Callable[[], BulkFolder]
"""Returns a folder that knows nothing of the events before."""


def fold(
    folder: Folder, events: Sequence[EventFacts], marks: Mapping[int, Mark]
) -> dict[Place, Delta]:
    """Return what events add where corrections say of some whether they count.

    Where such an event is, something changed with the last correction about it, if
    only that nothing is left of it.
    """
    if not marks:
        return folder.fold(events)
    void = {event_id for event_id, mark in marks.items() if mark.is_void}
    deltas = folder.fold(event for event in events if event.id not in void)
    misfits = deepcopy(folder.misfits)
    for event in events:
        mark = marks.get(event.id)
        if mark is None:
            continue
        for place in folder.fold([event]):
            delta = deltas.setdefault(place, Delta())
            delta.last_event_id = max(delta.last_event_id, mark.event_id)
    folder.misfits = misfits  # of what is void nothing is left out
    return deltas


async def places_of(folder: Folder, facts: FactColumns) -> frozenset[Place]:
    """Return the windows that events are in."""
    return frozenset(await asyncio.to_thread(folder.places, facts))


async def facts_of(
    tx: Tx,
    event_ids: Sequence[int],
    *,
    columns: Sequence[str] = PLACING.names,
    read_events: ReadEvents | None = None,
) -> AsyncGenerator[FactColumns]:
    """Yield events by their ids, which are in order, some at once.

    Args:
        columns: what of them is asked for; the first is ``id``.
        read_events: reads them also where they left the ledger.

    Raises:
        EventsArchived: without ``read_events``, where some of them did.
    """
    if read_events is None:
        if event_ids:
            await check_here(tx, event_ids[0] - 1)
        for start in range(0, len(event_ids), FOLDED):
            part = event_ids[start : start + FOLDED]
            yield await store.facts_of(tx, part, columns=columns)
        return
    wanted, reached = set(event_ids), 0
    for event_id in event_ids:
        if event_id > reached:
            events, reached = await read_events(
                tx, event_id - 1, skip_flags=0, limit=READ
            )
            yield of_events(event for event in events if event.id in wanted)


class Recounting(NamedTuple):
    """Windows that are counted again, and by what."""

    new_folder: NewFolder
    places: frozenset[Place]
    changed: Mapping[int, bool]
    """Which events are void by what is corrected, and which are not."""
    up_to_event: int
    """Usage is counted up to here."""
    added: Sequence[EventFacts] = ()
    """Events behind there, in these windows, that count as well."""
    read_events: ReadEvents | None = None
    """Reads each event by itself, also where it left the ledger."""
    all_up_to: int = 0
    """Up to this event only ``changed`` are in these windows: others are not looked for."""


async def recount(tx: Tx, what: Recounting) -> dict[Place, Delta]:
    """Return all that is counted in those of some windows where anything is.

    Raises:
        EventsArchived: without ``read_events``, where events of these windows left the
            ledger.
    """
    found: dict[Place, Delta] = {}
    folder = what.new_folder()
    async for facts in _events(tx, what):
        for deltas in await asyncio.to_thread(folder.fold_all, facts):
            for place, delta in deltas.items():
                if place in what.places:
                    _merge(found.setdefault(place, Delta()), delta, folder.each)
    for place, delta in folder.each.fold(what.added).items():
        _merge(found.setdefault(place, Delta()), delta, folder.each)
    return found


async def _events(tx: Tx, what: Recounting) -> AsyncGenerator[FactColumns]:
    """Yield what counts in the windows, in its order."""
    if what.all_up_to >= what.up_to_event:
        return
    wanted = {
        (subject_id, window_ms // WINDOW_MS * WINDOW_MS)
        for subject_id, window_ms, _ in what.places
    }
    starts = {start for _, start in wanted}
    subjects = sorted({subject_id for subject_id, _ in wanted})
    hours = sorted({start // HOUR_MS * HOUR_MS for start in starts})
    changed = sorted(what.changed)
    ranges = await windows.id_ranges(tx, hours)
    if what.read_events is not None:
        ranges = await _narrowed(tx, ranges, hours)
    for first, last in ranges:
        if what.read_events is None:
            await check_here(tx, first - 1)
        after, end = max(first - 1, what.all_up_to), min(last, what.up_to_event)
        while after < end:
            upper = min(after + SCAN_EVENTS_MAX, end)
            if what.read_events is None:
                # Not even read: of a correction of everything they are nearly all.
                void = await _void(tx, what, changed, after, upper)
                read = await columns_between(
                    *(tx, after + 1, upper),
                    columns=COUNTED.names,
                    subjects=subjects,
                    without=void,
                )
                facts = dict(zip(COUNTED.names, read, strict=True))
            else:
                events, upper = await what.read_events(
                    tx, after, skip_flags=UNCOUNTED, limit=upper - after
                )
                if upper == after:
                    break  # the last events are gone
                void = await _void(tx, what, changed, after, upper)
                facts = of_events(
                    event
                    for event in events
                    if event.id <= end and event.id not in void
                )
            where = zip(*(facts[name] for name in IN_WINDOW), strict=True)
            which = [
                (subject_id, time_ms // WINDOW_MS * WINDOW_MS) in wanted
                and not flags & UNCOUNTED
                for subject_id, time_ms, flags in where
            ]
            kept = picked(facts, which)
            for start in range(0, len(kept["id"]), FOLDED):
                yield part_of(kept, slice(start, start + FOLDED))
            after = upper


async def _narrowed(
    tx: Tx, ranges: Sequence[tuple[int, int]], hours: Sequence[int]
) -> list[tuple[int, int]]:
    """Return ranges of ids without files of the archive that have nothing of some hours.

    A single event that came late makes the range of its hour reach from there to itself.
    """
    files = await archive.files_of_hours(tx, hours)
    here = (await begin(tx)).event_id + 1
    spans = [(file.first_event_id, file.last_event_id) for file in files]
    return [
        (max(first, start), min(last, end))
        for first, last in ranges
        for start, end in (*spans, (here, last))
        if start <= last and end >= first
    ]


async def _void(
    tx: Tx, what: Recounting, changed: Sequence[int], after: int, last: int
) -> set[int]:
    """Return which events between two do not count; ``changed`` are in order."""
    marks = await store.marks_in(tx, after, last, up_to_event=what.up_to_event)
    void = {event_id for event_id, mark in marks.items() if mark.is_void}
    for event_id in changed[bisect_right(changed, after) : bisect_right(changed, last)]:
        (void.add if what.changed[event_id] else void.discard)(event_id)
    return void


def _merge(known: Delta, more: Delta, folder: Folder) -> None:
    folder.merge(known.totals, more=more.totals)
    for meter, values in more.unique.items():
        known.unique.setdefault(meter, set()).update(values)
    known.last_event_id = max(known.last_event_id, more.last_event_id)


def counting_only(
    events: Iterable[EventFacts], marks: Mapping[int, Mark]
) -> list[EventFacts]:
    """Return the events that count, by what corrections say."""
    return [
        event
        for event in events
        if (mark := marks.get(event.id)) is None or not mark.is_void
    ]
