"""Adds what a step's events come to, to the usage that is kept: windows, days, sums."""

from collections.abc import Iterable, Mapping

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.meters import Aggregation, Totals, merge
from meterline_sidecar.store import invoices
from meterline_sidecar.store.edge import packed_days, rollups
from meterline_sidecar.store.edge import usage as store
from meterline_sidecar.store.edge.usage import Key
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.rollups import (
    ALL,
    DAYS,
    STEPS_MS,
    WINDOW_MS,
    Rollup,
    RollupKey,
)
from meterline_sidecar.usage.counted import counted
from meterline_sidecar.usage.definition import Definition
from meterline_sidecar.usage.fold import Delta, Place


async def add_deltas(
    tx: Tx,
    generation: int,
    definition: Definition,
    deltas: dict[Place, Delta],
) -> None:
    """Add what events come to, in the transaction that moves the cursor over them."""
    aggregations = definition.aggregations
    await note_late(tx, deltas)
    groups = await store.intern_groups(tx, {place.labels for place in deltas})
    keyed = sorted(
        (Key(place.subject_id, place.window_ms, groups[place.labels]), delta)
        for place, delta in deltas.items()
    )
    known = await store.totals_of(tx, generation, [key for key, _ in keyed])
    for key, delta in keyed:
        merge(known.setdefault(key, {}), more=delta.totals, aggregations=aggregations)
    await store.put_totals(
        tx,
        generation,
        ((key, known[key], delta.last_event_id) for key, delta in keyed),
    )
    for rollup, totals in (
        (DAYS, _by_day(keyed)),
        (ALL, _by_step(keyed, aggregations)),
    ):
        await _roll_up(tx, generation, rollup, totals, aggregations)
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


async def note_late(tx: Tx, deltas: Mapping[Place, Delta]) -> None:
    """Note the days of events that nobody had counted before, in what may be final."""
    final_ms = await invoices.newest_final_end(tx)
    served = await counted(tx)
    late: dict[tuple[int, int], int] = {}
    for place, delta in deltas.items():
        if place.window_ms < final_ms and delta.last_event_id > served.up_to_event:
            day = (place.subject_id, place.window_ms // DAY_MS * DAY_MS)
            late[day] = max(late.get(day, 0), delta.last_event_id)
    await store.note_late(
        tx, ((*day, last_event_id) for day, last_event_id in sorted(late.items()))
    )


async def _roll_up(
    tx: Tx,
    generation: int,
    rollup: Rollup,
    totals: Iterable[tuple[RollupKey, Totals]],
    aggregations: Mapping[str, Aggregation],
) -> None:
    """Add totals up under coarser keys, and to what stands there."""
    fresh: dict[RollupKey, Totals] = {}
    for key, more in totals:
        merge(fresh.setdefault(key, {}), more=more, aggregations=aggregations)
    keys = sorted(fresh)
    known = await rollups.totals_of(tx, rollup, generation, keys)
    for key in keys:
        merge(known.setdefault(key, {}), more=fresh[key], aggregations=aggregations)
    if rollup is DAYS:
        # Of values that are counted one by one a day has an empty row, so that whoever
        # looks for its groups finds all: not of a group that its pack has.
        empty = [key for key in keys if not known[key]]
        if empty:
            packed = await packed_days.in_packs(tx, generation, empty)
            keys = [key for key in keys if key not in packed]
    await rollups.put_totals(
        tx, rollup, generation, ((key, known[key]) for key in keys)
    )


def _by_day(keyed: list[tuple[Key, Delta]]) -> Iterable[tuple[RollupKey, Totals]]:
    for (subject_id, window_ms, group_id), delta in keyed:
        yield (subject_id, window_ms // DAY_MS * DAY_MS, group_id), delta.totals


def _by_step(
    keyed: list[tuple[Key, Delta]], aggregations: Mapping[str, Aggregation]
) -> Iterable[tuple[RollupKey, Totals]]:
    """Yield what each span of everybody's comes to, from windows added up before."""
    windows: dict[tuple[int, int], Totals] = {}
    for (_subject_id, window_ms, group_id), delta in keyed:
        window = (window_ms // WINDOW_MS * WINDOW_MS, group_id)
        merge(
            windows.setdefault(window, {}), more=delta.totals, aggregations=aggregations
        )
    for (window_ms, group_id), totals in windows.items():
        for step_ms in STEPS_MS:
            yield (step_ms, window_ms // step_ms * step_ms, group_id), totals
