"""What a correction will do: found and checked before anything is written.

Each function returns a plan, by which ``corrections`` makes the correction, and from which
is worked out what it comes to.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from meterline.events import UNCOUNTED
from meterline.usage_event import UsageEvent
from meterline_pricing.errors import unknown
from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.errors import EventsArchived, MeterlineError
from meterline_sidecar.ingest.amended import Changes, NotAmendable, amended
from meterline_sidecar.ingest.decode import EVER, to_row
from meterline_sidecar.store.edge import archive, event_log
from meterline_sidecar.store.edge import corrections as store
from meterline_sidecar.store.edge import usage as counting
from meterline_sidecar.store.edge.event_log import Filter
from meterline_sidecar.store.edge.events import EventRow
from meterline_sidecar.store.edge.fact_columns import PLACING, FactColumns, picked
from meterline_sidecar.store.owned import times_of
from meterline_sidecar.store.port import Readable, Tx
from meterline_sidecar.store.terms import NEVER_MS
from meterline_sidecar.store.usage import newest_generation
from meterline_sidecar.usage.corrected import facts_of, places_of
from meterline_sidecar.usage.counted import WINDOW_MS
from meterline_sidecar.usage.definition import decode
from meterline_sidecar.usage.fold import ROLLED_UP, Folder, Place
from meterline_sidecar.usage.values import read_values

EVENTS_MAX: Final = 200_000
"""Of one correction: some seconds of counting, while others are not counted."""
WINDOWS_MAX: Final = 100_000
"""Windows of a subject and group that it changes: while they are written, for seconds,
whoever reads usage waits."""
ADDED_MAX: Final = 1_000
"""Events that one stores: they are committed, and counted, in one transaction."""


class CorrectionRefused(MeterlineError):
    """This cannot be corrected so, and nothing was; the text says why."""


class NoSuchCorrection(MeterlineError):
    """There is no correction of this id."""


class Search(NamedTuple):
    """Which events are meant: those that are named, or all that a search finds."""

    event_ids: tuple[int, ...] = ()
    wanted: Filter = Filter()
    start: int = 0
    end: int = NEVER_MS
    meter: str | None = None
    """Only what this meter counts."""


class Plan(NamedTuple):
    """What a correction will do: which events it makes void, or lets count again."""

    kind: store.Kind
    changed: Mapping[int, bool]
    """Whether each is void by it, in order of the events."""
    times_ms: tuple[int, ...] = ()
    """When these events happened, the first and the last of them in any case."""
    added: Sequence[EventRow] = ()
    """Events to be stored with it."""
    places: frozenset[Place] = frozenset()
    """The windows that the events are in."""
    reverts: int | None = None
    all_up_to: int = 0
    """Up to this event nothing else counts in these windows."""

    @property
    def hours(self) -> frozenset[int]:
        """When the hours begin in which usage changes, UTC ms."""
        times = [*self.times_ms, *(event.time_ms for event in self.added)]
        times += [place.window_ms for place in self.places]
        return frozenset(time_ms // HOUR_MS * HOUR_MS for time_ms in times)


async def void(database: Readable, search: Search) -> Plan:
    """Return what makes all events void that are meant and count.

    Raises:
        CorrectionRefused: there is none, or too much would change at once.
        EventsArchived: some of them left the ledger.
    """
    meant = await _found(database, search)
    if not meant.ids:
        raise CorrectionRefused("no event that counts is meant; nothing to correct")
    if meant.n_rolled_up and not search.event_ids:
        raise CorrectionRefused(
            f"{meant.n_rolled_up} of these {len(meant.ids)} events are usage of edges, which keep"
            " the events themselves: `meterline events` at the edge shows them. Name"
            " events here by their ids to make void what an edge has counted at one"
            " time, or correct by adding usage"
        )
    return meant.planned("void", dict.fromkeys(meant.ids, True))


async def amend(database: Readable, search: Search, changes: Changes) -> Plan:
    """Return what makes events void, and stores others in their place.

    Raises:
        CorrectionRefused: as ``void``; or an event cannot be as it was asked for.
        EventsArchived: some of them left the ledger.
    """
    plan = await void(database, search)
    if len(plan.changed) > ADDED_MAX:
        raise CorrectionRefused(
            f"{len(plan.changed)} events are meant, and {ADDED_MAX} are changed at once:"
            " say a shorter time, or a subject"
        )
    async with database.reading() as tx:
        rows = await store.rows_of(tx, list(plan.changed))
    if any(event.flags & ROLLED_UP for event in rows):
        raise CorrectionRefused(
            "usage of an edge cannot be amended, as the edge keeps its events: make it"
            " void, and add what was used"
        )
    try:
        added = [amended(event, changes) for event in rows]
    except NotAmendable as error:
        raise CorrectionRefused(str(error)) from error
    if any(
        event._replace(seq=0, flags=0) == one._replace(flags=0)
        for event, one in zip(rows, added, strict=True)
    ):
        raise CorrectionRefused(
            "some of these events say just that already; name those that do not"
        )
    return plan._replace(kind="amend", added=added)


async def add(database: Readable, events: Sequence[UsageEvent]) -> Plan:
    """Return what adds usage that was never recorded.

    Raises:
        CorrectionRefused: there are too many events.
    """
    if not 0 < len(events) <= ADDED_MAX:
        raise CorrectionRefused(
            f"there are {len(events)} events; add 1 to {ADDED_MAX} at once"
        )
    added = [to_row(0, event, EVER) for event in events]
    return Plan("add", {}, added=added)


async def revert(database: Readable, correction_id: int) -> Plan:
    """Return what takes a correction back.

    Raises:
        NoSuchCorrection: there is none of this id.
        CorrectionRefused: it is taken back already, or a later one is about the same
            events.
        EventsArchived: some of its events left the ledger.
    """
    async with database.reading() as tx:
        row = await store.get_correction(tx, correction_id)
        if row is None:
            raise NoSuchCorrection(
                f"there is no correction {correction_id}; `meterline correct --list`"
                " has them"
            )
        if row.reverted_by is not None:
            raise CorrectionRefused(
                f"correction {correction_id} was taken back by {row.reverted_by};"
                f" to make it hold again, revert {row.reverted_by}"
            )
        rows = await store.events_of(tx, correction_id)
        later = await store.later_than(tx, correction_id)
        if later is not None:
            raise CorrectionRefused(
                f"correction {later} is about events of correction {correction_id},"
                f" and is later: revert {later} first"
            )
        changed = {event_id: not is_void for event_id, is_void in rows}
        meant = _Meant(await _folder(tx))
        async for facts in facts_of(tx, list(changed)):
            await meant.add(facts)
    return meant.planned("revert", changed)._replace(reverts=correction_id)


class _Meant:
    """What there is to know of events that are meant: too many to be kept themselves.

    Args:
        folder: says in which windows they are.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._places: set[Place] = set()
        self._first_ms = self._last_ms = 0
        self.all_up_to = 0
        self.ids: list[int] = []
        self.n_rolled_up = 0

    async def add(self, facts: FactColumns) -> None:
        """Add some, in their order."""
        ids, times = facts["id"], facts["time_ms"]
        if not ids:
            return
        self._places |= await places_of(self._folder, facts)
        first_ms, last_ms = min(times), max(times)
        if self.ids:
            first_ms = min(first_ms, self._first_ms)
            last_ms = max(last_ms, self._last_ms)
        self._first_ms, self._last_ms = first_ms, last_ms
        self.ids += ids
        self.n_rolled_up += sum(flags & ROLLED_UP != 0 for flags in facts["flags"])

    def planned(self, kind: store.Kind, changed: Mapping[int, bool]) -> Plan:
        """Return a plan about them, of which not too much changes at once."""
        n_windows = len(self._places)
        if n_windows > WINDOWS_MAX:
            raise CorrectionRefused(
                f"these {len(changed)} events are in {n_windows} windows of 15 minutes"
                f" and a subject, and {WINDOWS_MAX} change at once: say a shorter time,"
                " or a subject"
            )
        times_ms = (self._first_ms, self._last_ms) if self.ids else ()
        return Plan(
            kind,
            changed,
            times_ms,
            places=frozenset(self._places),
            all_up_to=self.all_up_to,
        )


async def _found(database: Readable, search: Search) -> _Meant:
    """Return the events that are meant and count."""
    async with database.reading() as tx:
        last_id = await event_log.last_event_id(tx)
        folder = None
        if search.meter is not None:
            folder = await _folder(tx, only=search.meter)
        found = _Meant(await _folder(tx))
        if search.event_ids:
            async for facts in _named(tx, search.event_ids, last_id=last_id):
                await found.add(facts)
            return found
        await _check_all_here(tx, search)
        after: int | None = 0
        while after is not None:
            page = await store.find_facts(
                tx,
                search.wanted,
                start=search.start,
                end=search.end,
                after=after,
                up_to=last_id,
                skip_flags=UNCOUNTED,
                columns=PLACING.names,
            )
            await found.add(await _counting(tx, page.facts, folder, last_id=last_id))
            after = page.next_after
            if len(found.ids) > EVENTS_MAX:
                raise CorrectionRefused(
                    f"more than {EVENTS_MAX} events are meant, and so many are"
                    " corrected at once: say a shorter time, or a subject"
                )
        if await _is_of_all(tx, search):
            found.all_up_to = last_id
    return found


async def _check_all_here(tx: Tx, search: Search) -> None:
    """Make sure that a search finds all that happened in its time.

    Raises:
        EventsArchived: some of it left the ledger.
    """
    for file in await archive.files_of_span(tx, search.start, search.end, limit=1):
        raise EventsArchived(
            f"events of this time left the ledger for {file.file}; `meterline archive"
            f" restore {file.file}` brings them back, with all that is newer; or name"
            " events by their ids"
        )


async def _is_of_all(tx: Tx, search: Search) -> bool:
    """Say whether a search finds all that counts in each window that it finds any in."""
    wanted = search.wanted
    by_whom = Filter(customer=wanted.customer, subject=wanted.subject)
    if wanted != by_whom or search.meter is not None:
        return False
    if search.start % WINDOW_MS or (search.end % WINDOW_MS and search.end != NEVER_MS):
        return False
    # What changed hands has events of others beside.
    return wanted.customer is None or not await times_of(tx, wanted.customer)


async def _named(
    tx: Tx, event_ids: Sequence[int], *, last_id: int
) -> AsyncGenerator[FactColumns]:
    """Yield events that are named, each of which must count."""
    wanted = sorted(set(event_ids))
    read = [facts async for facts in facts_of(tx, wanted)]
    found = {
        event_id: flags
        for facts in read
        for event_id, flags in zip(facts["id"], facts["flags"], strict=True)
    }
    marks = await store.marks_in(tx, wanted[0] - 1, wanted[-1], up_to_event=last_id)
    for event_id in wanted:
        if event_id not in found:
            raise CorrectionRefused(f"there is no event {event_id}")
        if event_id in marks and marks[event_id].is_void:
            raise CorrectionRefused(
                f"event {event_id} is void already; `meterline events` says by which"
                " correction"
            )
    for event_id, flags in found.items():
        if flags & UNCOUNTED:
            raise CorrectionRefused(
                f"event {event_id} counts for nothing: it is held, a correction's own,"
                " or another one with its id counts; `meterline events` says which"
            )
    for facts in read:
        yield facts


async def _folder(tx: Tx, *, only: str | None = None) -> Folder:
    served = await newest_generation(tx)
    assert served is not None, "Aggregator.start() comes first"
    definition = decode(served.definition)
    if only is not None:
        if only not in definition.meters:
            raise CorrectionRefused(unknown("meter", only, definition.meters))
        definition = replace(definition, meters={only: definition.meters[only]})
    return Folder(
        definition,
        await counting.endpoints(tx),
        await counting.cuts_between(tx, 0, NEVER_MS),
        values=await read_values(tx, definition),
        generation=served.id,
    )


async def _counting(
    tx: Tx, facts: FactColumns, folder: Folder | None, *, last_id: int
) -> FactColumns:
    """Return those events that count, and that a folder's meter takes."""
    ids = facts["id"]
    if not ids:
        return facts
    marks = await store.marks_in(tx, ids[0] - 1, ids[-1], up_to_event=last_id)
    void = {event_id for event_id, mark in marks.items() if mark.is_void}
    if void:
        facts = picked(facts, [event_id not in void for event_id in ids])
    if folder is not None:
        facts = picked(facts, await asyncio.to_thread(folder.takes, facts))
    return facts
