"""Adds usage up again from the events, and compares it with what is stored.

Sums go to sorted runs in a file and are compared in order of their keys, so that memory
does not grow with the ledger: neither with its events nor with what they come to.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import msgspec

from meterline.events import UNCOUNTED
from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.away import Away
from meterline_sidecar.ledger.beside import Beside, ByDay
from meterline_sidecar.ledger.report import Progress, Report
from meterline_sidecar.ledger.runs import Item, Key, Runs
from meterline_sidecar.ledger.stored_days import days_beside
from meterline_sidecar.ledger.stored_parts import verify_parts
from meterline_sidecar.meters import Aggregation, Totals, merge
from meterline_sidecar.store import generations
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.edge import corrections
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge import integrity as store
from meterline_sidecar.store.edge import usage as counting
from meterline_sidecar.store.edge import values as value_store
from meterline_sidecar.store.edge.by_column import columns_between
from meterline_sidecar.store.edge.corrections import Mark
from meterline_sidecar.store.packs import IDS_MAX
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.rollups import ALL, STEPS_MS, WINDOWS, Rollup
from meterline_sidecar.store.terms import NEVER_MS
from meterline_sidecar.store.usage import Generation
from meterline_sidecar.usage.corrected import fold
from meterline_sidecar.usage.definition import Definition, decode
from meterline_sidecar.usage.fold import Delta, Folder, Place
from meterline_sidecar.usage.in_bulk import BulkFolder
from meterline_sidecar.usage.values import Values

EVENTS_PER_STEP: Final = 10_000
EVENTS_AT_ONCE: Final = 2 * IDS_MAX
PLACES_MAX: Final = 20_000  # sums that are kept in memory before they become a run
ROWS_PER_READ: Final = 2_000

OF_WINDOWS: Final = 0
OF_ALL: Final = 1
OF_VALUES: Final = 2
OF_LATE: Final = 3
"""What a key's first field says: of which table it is."""

VALUES: Final = ("subject_id", "window_ms", "group_id", "meter", "value")
LATE: Final = ("subject_id", "day_ms")


async def verify_usage(
    tx: Tx, report: Report, progress: Progress, *, away: Away, archived: Archived | None
) -> None:
    """Add all events up again, by the same meters, and compare with what is stored.

    Also notes names that no event has: they were not written by Meterline. Where events
    left the ledger and are not read, what they can be part of is told by its end alone.
    """
    for table, stray in await store.strays(tx):
        report.add(f"{table} holds rows of generation {stray}, which there is not")
    generation = await usage_store.newest_generation(tx)
    if generation is None:
        return  # Nothing was counted yet.
    if await generations.is_being_corrected(tx, generation.id, generation.cursor):
        report.add(
            "usage is in the middle of a correction, or holds what is of no counted"
            " event: let the sidecar count, and verify again"
        )
        return
    definition = decode(generation.definition)
    with Runs(_joined(definition.aggregations)) as runs:
        sums = Sums(runs, definition.aggregations, await store.groups(tx))
        events = counting.events_after if archived is None else archived.events_after
        await _add_events(
            tx, generation, definition, sums, report, progress, away=away, read=events
        )
        sums.spill()
        for labels in sums.missing_groups:
            report.add(f"groups: {labels} is missing")
        await _compare(tx, generation.id, runs, definition.aggregations, report, away)
    await verify_parts(tx, generation.id, definition.aggregations, report)


class Sums:
    """Sums of events, as items of sorted runs.

    Args:
        groups: the ids of groups, by their labels.
    """

    def __init__(
        self,
        runs: Runs,
        aggregations: Mapping[str, Aggregation],
        groups: Mapping[str, int],
    ) -> None:
        self._runs = runs
        self._aggregations = aggregations
        self._groups = dict(groups)
        self._windows: dict[Key, tuple[Totals, int]] = {}
        self._values: set[Key] = set()
        self._late: dict[Key, int] = {}
        self.missing_groups: list[str] = []
        """Labels that events have and no group."""

    def add(
        self,
        folder: Folder,
        events: Sequence[counting.EventFacts],
        marks: Mapping[int, Mark],
        *,
        late_before: Callable[[int], int],
    ) -> None:
        """Add events.

        Args:
            marks: what corrections say of them.
            late_before: as ``add_deltas``.
        """
        self.add_deltas(fold(folder, events, marks), late_before=late_before)

    def add_deltas(
        self,
        deltas: Mapping[Place, Delta],
        *,
        late_before: Callable[[int], int],
    ) -> None:
        """Add what events come to.

        Args:
            late_before: returns up to when somebody's period was final when an event
                was counted, or the own event of a correction.
        """
        for place, delta in deltas.items():
            subject_id, window_ms, labels = place
            where = (subject_id, window_ms, self._group(labels))
            key: Key = (OF_WINDOWS, *where)
            known = self._windows.get(key)
            if known is None:
                self._windows[key] = (delta.totals, delta.last_event_id)
            else:
                merge(known[0], more=delta.totals, aggregations=self._aggregations)
                last_event_id = max(known[1], delta.last_event_id)
                self._windows[key] = (known[0], last_event_id)
            for meter, values in delta.unique.items():
                self._values |= {(OF_VALUES, *where, meter, value) for value in values}
            if window_ms < late_before(delta.last_event_id):
                day: Key = (OF_LATE, subject_id, window_ms // DAY_MS * DAY_MS)
                self._late[day] = max(self._late.get(day, 0), delta.last_event_id)
        if len(self._windows) + len(self._values) + len(self._late) > PLACES_MAX:
            self.spill()

    def spill(self) -> None:
        """Write what is in memory as a run."""
        items: list[Item] = [*self._windows.items()]
        added: list[Item] = [
            ((window_ms, group_id), totals)
            for (_, _, window_ms, group_id), (totals, _) in self._windows.items()
        ]
        for step_ms in STEPS_MS:  # each of parts of the one before
            whole = self._by_step(added, step_ms)
            added = [*whole.items()]
            items += [((OF_ALL, step_ms, *where), of) for where, of in added]
        items += [(key, None) for key in self._values]
        items += self._late.items()
        self._runs.add(items)
        self._windows, self._values, self._late = {}, set(), {}

    def _by_step(self, added: Iterable[Item], step_ms: int) -> dict[Key, Totals]:
        """Return totals of starts and groups, added up over longer spans."""
        whole: dict[Key, Totals] = {}
        for (start_ms, group_id), totals in added:
            assert isinstance(start_ms, int)
            known = whole.setdefault((start_ms // step_ms * step_ms, group_id), {})
            merge(known, more=totals, aggregations=self._aggregations)
        return whole

    def _group(self, labels: str) -> int:
        found = self._groups.get(labels)
        if found is None:
            self.missing_groups.append(labels)
            found = self._groups[labels] = -len(self.missing_groups)
        return found


def _totals(read: Any) -> Totals:
    """Return totals that come from a run, in which decimals are texts."""
    for total in read.values():
        if type(total) is not int:
            return msgspec.convert(read, Totals)
    return cast("Totals", read)


def _joined(
    aggregations: Mapping[str, Aggregation],
) -> Callable[[Any, Any], Any]:
    """Return what puts two values of one key together, whichever table it is of."""

    def join(one: Any, other: Any) -> Any:
        kind = type(cast("object", one))
        if kind is dict:
            totals = _totals(one)
            merge(totals, more=_totals(other), aggregations=aggregations)
            return totals
        if kind is list or kind is tuple:  # of a window: with its last event
            totals = _totals(one[0])
            merge(totals, more=_totals(other[0]), aggregations=aggregations)
            return [totals, max(one[1], other[1])]
        return None if one is None else max(one, other)

    return join


async def _add_events(
    tx: Tx,
    generation: Generation,
    definition: Definition,
    sums: Sums,
    report: Report,
    progress: Progress,
    *,
    away: Away,
    read: counting.ReadEvents,
) -> None:
    cuts = await counting.cuts_between(tx, 0, NEVER_MS)
    endpoints = await counting.endpoints(tx)
    # Nothing is learned here: what is not told apart by the ledger was not counted so.
    values = Values(await value_store.read_values(tx), values_max=0)
    finals = await store.final_steps(tx, generation.id)
    last = (await event_store.marks(tx)).event_id

    def late_before(event_id: int) -> int:
        return max((end for after, end in finals if after < event_id), default=0)

    bulk = BulkFolder(
        definition, endpoints, cuts, values=values, generation=generation.id
    )
    adding = _Adding(tx, sums, bulk, generation.cursor, late_before, read)
    cursor = 0 if away.is_read else away.begin.event_id
    while cursor < last:
        # What was final is told apart by the event behind which it was: see _note_late.
        stops = [generation.cursor, *(after for after, _ in finals)]
        stop = min([last, *(at for at in stops if at > cursor)])
        reached = cursor
        if cursor >= away.begin.event_id:
            reached = await adding.many(cursor, min(stop, cursor + EVENTS_AT_ONCE))
        if reached == cursor:
            reached = await adding.each(cursor, min(stop, cursor + EVENTS_PER_STEP))
        if reached == cursor:  # the last events are gone
            break
        cursor = reached
        progress("usage", cursor, last)
    for name, _, _ in values.learned:
        report.add(f"property_values: it is not noted that {name} has too many values")
    if away.is_read:
        await _compare_names(tx, adding.subjects, adding.routes, report)


class Seen:
    """Which ids were seen, a bit to each."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def note(self, ids: Iterable[int]) -> None:
        """Note ids, from 0 on."""
        for i in ids:
            if i >= len(self._bits) * 8:
                self._bits.extend(bytes(i // 8 + 1 - len(self._bits) + 1_024))
            self._bits[i // 8] |= 1 << i % 8

    def __contains__(self, i: int) -> bool:
        """Say whether an id was seen."""
        return i < len(self._bits) * 8 and bool(self._bits[i // 8] >> i % 8 & 1)


@dataclass(slots=True)
class _Adding:
    """Adds events of a ledger to sums, and notes whose they are."""

    tx: Tx
    sums: Sums
    bulk: BulkFolder
    counted_up_to: int
    late_before: Callable[[int], int]
    read: counting.ReadEvents
    subjects: Seen = field(default_factory=Seen)
    routes: Seen = field(default_factory=Seen)

    async def many(self, cursor: int, upper: int) -> int:
        """Add the events between two at once; return the second, or the first: not so."""
        if await self._marks(cursor, upper):
            return cursor
        names = self.bulk.reads
        read = await columns_between(self.tx, cursor + 1, upper, columns=names)
        columns = dict(zip(names, read, strict=True))
        if not columns["id"]:
            return cursor
        if upper <= self.counted_up_to:
            found = self.bulk.fold(columns)
            if found is None:
                return cursor
            late_ms = self.late_before(upper)  # of all of them: no stop is in between
            for deltas in found:
                self.sums.add_deltas(deltas, late_before=lambda _: late_ms)
        self._note(columns["subject_id"], columns["endpoint_id"])
        return upper

    async def each(self, cursor: int, upper: int) -> int:
        """Add as many events behind one, each by itself; return the last one."""
        events, reached = await self.read(
            self.tx, cursor, skip_flags=0, limit=upper - cursor
        )
        if reached <= self.counted_up_to:
            marks = await self._marks(cursor, reached)
            counted = [event for event in events if not event.flags & UNCOUNTED]
            self.sums.add(self.bulk.each, counted, marks, late_before=self.late_before)
        self._note(
            (event.subject_id for event in events),
            (event.endpoint_id for event in events),
        )
        return reached

    async def _marks(self, cursor: int, upper: int) -> Mapping[int, Mark]:
        return await corrections.marks_in(
            self.tx, cursor, upper, up_to_event=self.counted_up_to
        )

    def _note(self, subjects: Iterable[int], routes: Iterable[int]) -> None:
        self.subjects.note(set(subjects))
        self.routes.note(set(routes))


async def _compare_names(tx: Tx, subjects: Seen, routes: Seen, report: Report) -> None:
    seen_of: dict[store.Names, Seen] = {"subjects": subjects, "endpoints": routes}
    for table, seen in seen_of.items():
        last_id = -(1 << 63)
        while ids := await store.ids_after(tx, table, last_id, limit=ROWS_PER_READ):
            for row_id in ids:
                if row_id < 1 or row_id not in seen:
                    report.add(f"{table}: no event is of row {row_id}")
            last_id = ids[-1]


async def _compare(
    tx: Tx,
    generation: int,
    runs: Runs,
    aggregations: Mapping[str, Aggregation],
    report: Report,
    away: Away,
) -> None:
    """Walk what the events come to beside what is stored, both in order of the key."""
    beyond_ms = 0 if away.is_read else away.beyond_ms

    def totals(rollup: Rollup) -> Beside:
        async def read(key: Key | None) -> list[Item]:
            return await store.totals_after(
                tx, rollup, generation, key, limit=ROWS_PER_READ
            )

        return Beside(rollup.table, rollup.columns, read, report, beyond_ms=beyond_ms)

    async def read_values(key: Key | None) -> list[Item]:
        return await store.values_after(tx, generation, key, limit=ROWS_PER_READ)

    async def read_late(key: Key | None) -> list[Item]:
        return await store.late_after(tx, key, limit=ROWS_PER_READ)

    windows, all_of = totals(WINDOWS), totals(ALL)
    days = days_beside(tx, generation, aggregations, report, beyond_ms=beyond_ms)
    values = Beside("unique_values", VALUES, read_values, report, beyond_ms=beyond_ms)
    late = Beside("late_usage", LATE, read_late, report, may_be_more=True)
    by_day = ByDay(days, aggregations)
    others: dict[int | str, Beside] = {OF_ALL: all_of, OF_VALUES: values, OF_LATE: late}
    for (table, *rest), value in runs.sorted():
        key = tuple(rest)
        if table == OF_WINDOWS:
            of_window = _totals(value[0])
            expected = (of_window, value[1])
            if not windows.has(key, expected):
                await windows.expect(key, expected)
            if not by_day.goes_on(key):
                await by_day.end()
            by_day.add(key, of_window)
        else:
            await others[table].expect(
                key, _totals(value) if table == OF_ALL else value
            )
    await by_day.end()
    for compared in (windows, days, all_of, values, late):
        await compared.end()
    report.usage_rows += windows.rows + days.rows
