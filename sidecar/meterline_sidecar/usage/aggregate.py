"""Adds events up into usage: by a cursor, so that the cost follows the new events."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from meterline.events import Flag
from meterline_sidecar.clock import DAY_MS, MINUTE_MS, Clock
from meterline_sidecar.meters import UNMATCHED, Meter, Reader, Total, add, reader
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.edge import event_log as audit
from meterline_sidecar.store.edge import rollups
from meterline_sidecar.store.edge import usage as store
from meterline_sidecar.store.edge.usage import EventFacts, Key
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.rollups import (
    ALL,
    DAYS,
    STEPS_MS,
    Rollup,
    RollupKey,
    Totals,
)
from meterline_sidecar.store.usage import Generation

WINDOW_MS: Final = 15 * MINUTE_MS
"""Fine enough that a month in any IANA time zone (+05:45 too) starts on a window."""
STEP_EVENTS: Final = 20_000  # one transaction; ingest waits for it at most 0.1 s
DELETE_ROWS: Final = 20_000

_quantities: Final = msgspec.json.Decoder(dict[str, int])


class Place(NamedTuple):
    """Where an event is added up: its subject, window and group."""

    subject_id: int
    window_ms: int
    labels: str


@dataclass(slots=True)
class Delta:
    """What a step's events add to one place."""

    totals: Totals = field(default_factory=dict[str, int | list[int]])
    unique: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    last_event_id: int = 0


class Rule(NamedTuple):
    """What one meter does with an event of a certain sort."""

    meter: Meter
    read: Reader
    labels: str


class Folder:
    """Folds events into deltas; pure.

    Which meters take an event depends on its sort (kind, endpoint, status) alone,
    and there are few sorts: each is looked at once.
    """

    def __init__(
        self, meters: Sequence[Meter], endpoints: dict[int, tuple[str, str]]
    ) -> None:
        self._readers = [(meter, reader(meter)) for meter in meters]
        self._endpoints = endpoints
        self._rules: dict[tuple[int, int, int], list[Rule]] = {}

    def fold(self, events: Iterable[EventFacts]) -> dict[Place, Delta]:
        """Return what the events add, per place."""
        deltas: dict[Place, Delta] = {}
        for event in events:
            sort = (event.kind, event.endpoint_id, event.status)
            rules = self._rules.get(sort)
            if rules is None:
                rules = self._rules[sort] = self._rules_for(*sort)
            if not rules:
                continue
            window_ms = event.time_ms // WINDOW_MS * WINDOW_MS
            fields = self._fields(event)
            for meter, read, labels in rules:
                value = read(fields)
                if value is None:
                    continue
                place = Place(event.subject_id, window_ms, labels)
                delta = deltas.get(place)
                if delta is None:
                    delta = deltas[place] = Delta()
                _add_value(delta, meter, value, event)
        return deltas

    def _rules_for(self, kind: int, endpoint_id: int, status: int) -> list[Rule]:
        method, route = self._endpoints[endpoint_id]
        method, route = method or UNMATCHED, route or UNMATCHED
        return [
            Rule(meter, read, meter.labels(method=method, route=route, status=status))
            for meter, read in self._readers
            if meter.takes(kind=kind, method=method, route=route, status=status)
        ]

    def _fields(self, event: EventFacts) -> dict[str, Any]:
        method, route = self._endpoints[event.endpoint_id]
        return {
            "bytes_in": event.bytes_in,
            "bytes_out": event.bytes_out,
            "duration_us": event.duration_us,
            "subject": event.subject_id or None,
            "method": method or None,
            "route": route or None,
            "quantities": _quantities.decode(event.quantities)
            if event.quantities
            else {},
        }


def _add_value(delta: Delta, meter: Meter, value: int | str, event: EventFacts) -> None:
    delta.last_event_id = event.id
    if meter.aggregation == "unique":
        delta.unique.setdefault(meter.name, set()).add(str(value))
        return
    assert isinstance(value, int)
    one: Total
    match meter.aggregation:
        case "count":
            one = 1
        case "latest":
            one = [value, event.time_ms, event.id]
        case _:
            one = value
    before = delta.totals.get(meter.name)
    delta.totals[meter.name] = (
        one if before is None else add(meter.aggregation, before, one)
    )


def definition_of(meters: Sequence[Meter]) -> str:
    """Return what meters measure, as a text that is equal when they are."""
    ordered = sorted(meters, key=lambda meter: meter.name)
    return msgspec.json.encode(ordered, order="deterministic").decode()


class Aggregator:
    """Counts new events into usage, a step to a transaction."""

    def __init__(
        self, database: Database, meters: Sequence[Meter], *, clock: Clock
    ) -> None:
        self._database = database
        self._meters = tuple(meters)
        self._by_name = {meter.name: meter for meter in meters}
        self._clock = clock
        self._running = asyncio.Lock()
        self._generation: Generation | None = None
        self._leftovers = True

    @property
    def generation(self) -> Generation:
        """The generation that is counting: the usage that everybody reads."""
        assert self._generation is not None, "start() comes first"
        return self._generation

    async def start(self) -> None:
        """Find the generation of these meters, or start one.

        A meter that was added or changed counts all events again, the others too:
        they stand side by side. Until it has caught up, usage says so.
        """
        definition = definition_of(self._meters)
        async with self._database.transaction() as tx:
            newest = await usage_store.newest_generation(tx)
            if newest is None or newest.definition != definition:
                newest = await store.add_generation(tx, definition)
        self._generation = newest

    async def run(self) -> int:
        """Count every event that is there now; return how many."""
        n_events = 0
        async with self._running:
            while (n_step := await self._step()) > 0:
                n_events += n_step
            await self._drop_leftovers()
        return n_events

    async def behind(self) -> int:
        """Return how many events are not counted yet."""
        async with self._database.reading() as tx:
            return await audit.last_event_id(tx) - self.generation.cursor

    async def _step(self) -> int:
        async with self._database.reading() as tx:
            # Never from memory: a step that was cancelled during COMMIT may be there.
            generation = await usage_store.newest_generation(tx)
            assert generation is not None
            events, cursor = await store.events_after(
                tx,
                generation.cursor,
                skip_flags=Flag.HELD,
                limit=STEP_EVENTS,
            )
            endpoints = await store.endpoints(tx) if events else {}
        now_ms = self._clock.now_ms()
        # In a thread: folding is Python, and ingest must be answered meanwhile.
        folder = Folder(self._meters, endpoints)
        deltas = await asyncio.to_thread(folder.fold, events)
        async with self._database.transaction() as tx:
            await self._store(tx, deltas)
            await store.advance(tx, generation.id, cursor, now_ms=now_ms)
        n_events = cursor - generation.cursor
        self._generation = generation._replace(cursor=cursor, last_success_ms=now_ms)
        return n_events

    async def _store(self, tx: Tx, deltas: dict[Place, Delta]) -> None:
        if not deltas:
            return
        generation = self.generation.id
        groups = await store.intern_groups(tx, {place.labels for place in deltas})
        keyed = sorted(
            (Key(place.subject_id, place.window_ms, groups[place.labels]), delta)
            for place, delta in deltas.items()
        )
        known = await store.totals_of(tx, generation, [key for key, _ in keyed])
        await store.put_totals(
            tx,
            generation,
            (
                (
                    key,
                    self._merged(known.get(key, {}), delta.totals),
                    delta.last_event_id,
                )
                for key, delta in keyed
            ),
        )
        await self._roll_up(tx, DAYS, _by_day(keyed))
        await self._roll_up(tx, ALL, _by_step(keyed))
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

    async def _roll_up(
        self, tx: Tx, rollup: Rollup, totals: Iterable[tuple[RollupKey, Totals]]
    ) -> None:
        """Add totals up under coarser keys, and to what stands there."""
        fresh: dict[RollupKey, Totals] = {}
        for key, more in totals:
            before = fresh.get(key)
            fresh[key] = more if before is None else self._merged(before, more)
        keys = sorted(fresh)
        generation = self.generation.id
        known = await rollups.totals_of(tx, rollup, generation, keys)
        await rollups.put_totals(
            tx,
            rollup,
            generation,
            ((key, self._merged(known.get(key, {}), fresh[key])) for key in keys),
        )

    def _merged(self, known: Totals, more: Totals) -> Totals:
        merged = dict(known)
        for name, total in more.items():
            before = merged.get(name)
            merged[name] = (
                total
                if before is None
                else add(self._by_name[name].aggregation, before, total)
            )
        return merged

    async def _drop_leftovers(self) -> None:
        """Delete a piece of what earlier meters counted, so that nobody waits."""
        if self._leftovers:
            async with self._database.transaction() as tx:
                deleted = await store.drop_older(
                    tx, self.generation.id, limit=DELETE_ROWS
                )
            self._leftovers = deleted > 0


def _by_day(keyed: list[tuple[Key, Delta]]) -> Iterable[tuple[RollupKey, Totals]]:
    for (subject_id, window_ms, group_id), delta in keyed:
        yield (subject_id, window_ms // DAY_MS * DAY_MS, group_id), delta.totals


def _by_step(keyed: list[tuple[Key, Delta]]) -> Iterable[tuple[RollupKey, Totals]]:
    for (_subject_id, window_ms, group_id), delta in keyed:
        for step_ms in STEPS_MS:
            yield (step_ms, window_ms // step_ms * step_ms, group_id), delta.totals
