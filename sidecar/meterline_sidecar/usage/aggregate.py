"""Adds events up into usage: by a cursor, so that the cost follows the new events."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from meterline.events import Flag
from meterline_sidecar.clock import DAY_MS, Clock
from meterline_sidecar.meters import Meter, Totals, aggregations_of, merge
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.edge import event_log as audit
from meterline_sidecar.store.edge import rollups
from meterline_sidecar.store.edge import usage as store
from meterline_sidecar.store.edge.usage import Key
from meterline_sidecar.store.invoices import newest_final_end
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.rollups import ALL, DAYS, STEPS_MS, Rollup, RollupKey
from meterline_sidecar.usage.counted import counted
from meterline_sidecar.usage.fold import Delta, Folder, Place, definition_of

STEP_EVENTS: Final = 20_000  # one transaction; ingest waits for it at most 0.1 s
DELETE_ROWS: Final = 20_000


Release = Callable[[], Awaitable[int]]
"""Stores what was held and may be counted by now, as new events."""


class Aggregator:
    """Counts new events into usage, a step to a transaction.

    Args:
        release: is called before counting.
    """

    def __init__(
        self,
        database: Database,
        meters: Sequence[Meter],
        *,
        clock: Clock,
        release: Release | None = None,
    ) -> None:
        self._database = database
        self._meters = tuple(meters)
        self._aggregations = aggregations_of(meters)
        self._clock = clock
        self._release = release
        self._running = asyncio.Lock()
        self._leftovers = True

    async def start(self) -> None:
        """Find the generation of these meters, or start one.

        A meter that was added or changed counts all events again, the others too:
        they stand side by side. Until it has caught up, usage says so.
        """
        definition = definition_of(self._meters)
        async with self._database.transaction() as tx:
            newest = await usage_store.newest_generation(tx)
            if newest is None or newest.definition != definition:
                await store.add_generation(tx, definition)

    async def run(self) -> int:
        """Count every event that is there now; return how many."""
        n_events = 0
        if self._release is not None:
            await self._release()
        async with self._running:
            while (n_step := await self._step()) > 0:
                n_events += n_step
            await self._drop_leftovers()
        return n_events

    async def behind(self) -> int:
        """Return how many events are not counted yet."""
        async with self._database.reading() as tx:
            return await audit.last_event_id(tx) - (await counted(tx)).up_to_event

    async def _step(self) -> int:
        async with self._database.reading() as tx:
            # Never from memory: a step that was cancelled during COMMIT may be there.
            before = await counted(tx)
            events, cursor = await store.events_after(
                tx,
                before.up_to_event,
                skip_flags=Flag.HELD,
                limit=STEP_EVENTS,
            )
            endpoints = await store.endpoints(tx) if events else {}
        now_ms = self._clock.now_ms()
        # In a thread: folding is Python, and ingest must be answered meanwhile.
        folder = Folder(self._meters, endpoints)
        deltas = await asyncio.to_thread(folder.fold, events)
        async with self._database.transaction() as tx:
            if deltas:
                await self._store(tx, before.generation, deltas)
            await store.advance(tx, before.generation, cursor, now_ms=now_ms)
        return cursor - before.up_to_event

    async def _store(self, tx: Tx, generation: int, deltas: dict[Place, Delta]) -> None:
        groups = await store.intern_groups(tx, {place.labels for place in deltas})
        keyed = sorted(
            (Key(place.subject_id, place.window_ms, groups[place.labels]), delta)
            for place, delta in deltas.items()
        )
        known = await store.totals_of(tx, generation, [key for key, _ in keyed])
        for key, delta in keyed:
            self._merge(known.setdefault(key, {}), delta.totals)
        await store.put_totals(
            tx,
            generation,
            ((key, known[key], delta.last_event_id) for key, delta in keyed),
        )
        await self._note_late(tx, keyed)
        await self._roll_up(tx, generation, DAYS, _by_day(keyed))
        await self._roll_up(tx, generation, ALL, _by_step(keyed))
        await store.add_unique(
            tx,
            generation,
            (
                (key, meter, value)
                for key, delta in keyed
                for meter, values in delta.unique.items()
                for value in sorted(values)
            ),
        )

    async def _note_late(self, tx: Tx, keyed: list[tuple[Key, Delta]]) -> None:
        """Note what changes in periods that are final for somebody."""
        final_ms = await newest_final_end(tx)
        late: dict[tuple[int, int], int] = {}
        for (subject_id, window_ms, _group_id), delta in keyed:
            if window_ms < final_ms:
                key = (subject_id, window_ms // DAY_MS * DAY_MS)
                late[key] = max(late.get(key, 0), delta.last_event_id)
        await store.note_late(tx, [(*key, event_id) for key, event_id in late.items()])

    async def _roll_up(
        self,
        tx: Tx,
        generation: int,
        rollup: Rollup,
        totals: Iterable[tuple[RollupKey, Totals]],
    ) -> None:
        """Add totals up under coarser keys, and to what stands there."""
        fresh: dict[RollupKey, Totals] = {}
        for key, more in totals:
            self._merge(fresh.setdefault(key, {}), more)
        keys = sorted(fresh)
        known = await rollups.totals_of(tx, rollup, generation, keys)
        for key in keys:
            self._merge(known.setdefault(key, {}), fresh[key])
        await rollups.put_totals(
            tx, rollup, generation, ((key, known[key]) for key in keys)
        )

    def _merge(self, known: Totals, more: Totals) -> None:
        merge(known, more=more, aggregations=self._aggregations)

    async def _drop_leftovers(self) -> None:
        """Delete a piece of what earlier meters counted, so that nobody waits."""
        if self._leftovers:
            async with self._database.transaction() as tx:
                counting = (await counted(tx)).generation
                deleted = await store.drop_older(tx, counting, limit=DELETE_ROWS)
            self._leftovers = deleted > 0


def _by_day(keyed: list[tuple[Key, Delta]]) -> Iterable[tuple[RollupKey, Totals]]:
    for (subject_id, window_ms, group_id), delta in keyed:
        yield (subject_id, window_ms // DAY_MS * DAY_MS, group_id), delta.totals


def _by_step(keyed: list[tuple[Key, Delta]]) -> Iterable[tuple[RollupKey, Totals]]:
    for (_subject_id, window_ms, group_id), delta in keyed:
        for step_ms in STEPS_MS:
            yield (step_ms, window_ms // step_ms * step_ms, group_id), delta.totals
