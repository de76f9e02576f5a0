"""Puts other totals in place of what is stored of some windows, and of what adds them up.

All of it is worked out before, from a snapshot: counting waits meanwhile, and nobody
else. The transaction only writes. Written once more it comes to the same.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.meters import AGGREGATIONS, Aggregation, Totals, merge, quantity
from meterline_sidecar.store.edge import packed_days, rollups, windows
from meterline_sidecar.store.edge import usage as store
from meterline_sidecar.store.edge.usage import Key
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.rollups import ALL, DAYS, STEPS_MS, WINDOW_MS, RollupKey
from meterline_sidecar.usage.fold import Delta

Aggregations = Mapping[str, Aggregation]
_Value = tuple[Key, str, str]


class Rewritten(NamedTuple):
    """What is to be written, each in order of its key."""

    windows: list[tuple[Key, Delta]]
    days: list[tuple[RollupKey, Totals]]
    everybody: list[tuple[RollupKey, Totals]]
    gone: list[_Value]
    """Distinct values that no event has any more."""
    new: list[_Value]

    async def write(self, tx: Tx, generation: int) -> None:
        """Write it in place of what is there."""
        await store.put_totals(
            tx,
            generation,
            ((key, delta.totals, delta.last_event_id) for key, delta in self.windows),
        )
        await packed_days.take_out(tx, generation, (key for key, _ in self.days))
        await rollups.put_totals(tx, DAYS, generation, self.days)
        await rollups.put_totals(tx, ALL, generation, self.everybody)
        await windows.drop_values(tx, generation, self.gone)
        await store.add_unique(tx, generation, self.new)


async def rewritten(
    tx: Tx, generation: int, known: Mapping[Key, Delta], aggregations: Aggregations
) -> Rewritten:
    """Return what follows where windows come to something else than is stored."""
    keys = sorted(known)
    before = await store.totals_of(tx, generation, keys)
    have = await windows.values_of(tx, generation, keys)
    want = {
        (key, meter, value)
        for key, delta in known.items()
        for meter, of in delta.unique.items()
        for value in of
    }
    return Rewritten(
        windows=sorted(known.items()),
        days=await _days(tx, generation, known, aggregations),
        everybody=await _everybody(tx, generation, known, before, aggregations),
        gone=sorted(have - want),
        new=sorted(want - have),
    )


async def _days(
    tx: Tx, generation: int, known: Mapping[Key, Delta], aggregations: Aggregations
) -> list[tuple[RollupKey, Totals]]:
    """Return what the days come to that the windows are in."""
    wanted = {(key.subject_id, _of(key, DAY_MS), key.group_id) for key in known}
    found: dict[RollupKey, Totals] = {key: {} for key in wanted}
    for subject_id, day_ms in sorted({key[:2] for key in wanted}):
        stored = await windows.windows_of(
            tx, generation, subject_id, start=day_ms, end=day_ms + DAY_MS
        )
        for key, totals in stored.items():
            day = (subject_id, day_ms, key.group_id)
            if day in wanted and key not in known:
                merge(found[day], more=totals, aggregations=aggregations)
    for key, delta in known.items():
        day = (key.subject_id, _of(key, DAY_MS), key.group_id)
        merge(found[day], more=delta.totals, aggregations=aggregations)
    return sorted(found.items())


async def _everybody(
    tx: Tx,
    generation: int,
    known: Mapping[Key, Delta],
    before: Mapping[Key, Totals],
    aggregations: Aggregations,
) -> list[tuple[RollupKey, Totals]]:
    """Return what everybody's usage comes to in all spans that the windows are in."""
    changed: dict[RollupKey, list[Key]] = defaultdict(list)
    for key in known:
        changed[WINDOW_MS, _of(key, WINDOW_MS), key.group_id].append(key)
    stored = await rollups.totals_of(tx, ALL, generation, sorted(changed))
    found: dict[RollupKey, Totals] = {}
    unknown: set[RollupKey] = set()
    for span, keys in changed.items():
        totals = _without(stored.get(span, {}), keys, before, aggregations)
        if totals is None:
            unknown.add(span)
        else:
            found[span] = totals
    found |= await _others(tx, generation, unknown, known, aggregations)
    for span, keys in changed.items():
        for key in keys:
            merge(found[span], more=known[key].totals, aggregations=aggregations)
    found |= await _coarser(tx, generation, found, aggregations)
    return sorted(found.items())


def _without(
    totals: Totals,
    keys: Iterable[Key],
    before: Mapping[Key, Totals],
    aggregations: Aggregations,
) -> Totals | None:
    """Return everybody's totals without some windows; ``None``: that does not follow.

    It does not where a sum would be 0, as nobody may be left who used anything, nor
    where the highest value, or one like it, is that of such a window.
    """
    rest = dict(totals)
    for key in keys:
        for meter, total in before.get(key, {}).items():
            if meter not in rest:
                return None
            take_away = AGGREGATIONS[aggregations[meter]].take_away
            if take_away is None:
                if rest[meter] == total:
                    return None
                continue
            rest[meter] = take_away(rest[meter], total)
            if not quantity(rest[meter]):
                return None
    return rest


async def _others(
    tx: Tx,
    generation: int,
    spans: set[RollupKey],
    known: Mapping[Key, Delta],
    aggregations: Aggregations,
) -> dict[RollupKey, Totals]:
    """Return what spans come to by the windows that stay as they are."""
    found: dict[RollupKey, Totals] = {span: {} for span in spans}
    if not spans:
        return found
    starts = {span[1] for span in spans}
    for key, totals in await windows.windows_of_all(
        tx, generation, start=min(starts), end=max(starts) + WINDOW_MS
    ):
        span = (WINDOW_MS, _of(key, WINDOW_MS), key.group_id)
        if span in spans and key not in known:
            merge(found[span], more=totals, aggregations=aggregations)
    return found


async def _coarser(
    tx: Tx,
    generation: int,
    changed: Mapping[RollupKey, Totals],
    aggregations: Aggregations,
) -> dict[RollupKey, Totals]:
    """Return what hours and days come to by the windows of everybody in them."""
    by_day: dict[int, dict[RollupKey, Totals]] = defaultdict(dict)
    for key, totals in changed.items():
        by_day[key[1] // DAY_MS * DAY_MS][key] = totals
    steps = [step_ms for step_ms in STEPS_MS if step_ms != WINDOW_MS]
    found: dict[RollupKey, Totals] = {
        (step_ms, start // step_ms * step_ms, group): {}
        for step_ms in steps
        for _, start, group in changed
    }
    for day_ms, of_day in by_day.items():
        stored = await windows.everybodys(
            tx, generation, step_ms=WINDOW_MS, start=day_ms, end=day_ms + DAY_MS
        )
        for (_, start, group), totals in {**stored, **of_day}.items():
            for step_ms in steps:
                span = (step_ms, start // step_ms * step_ms, group)
                if span in found:
                    merge(found[span], more=totals, aggregations=aggregations)
    return found


def _of(key: Key, step_ms: int) -> int:
    """Return where the span begins that a window is in."""
    return key.window_ms // step_ms * step_ms
