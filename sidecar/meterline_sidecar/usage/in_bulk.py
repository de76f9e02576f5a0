"""Folds many events at once, given column by column, where that comes to the same.

Events that are alike as far as meters look are folded as one. What meters only add up,
such as bytes, need not be alike: of events that are alike else, the sum is folded.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence, Set
from typing import Any, Final

from msgspec.structs import replace

from meterline.events import UNCOUNTED
from meterline_sidecar.store.edge.fact_columns import VALUES, FactColumns, events_at
from meterline_sidecar.store.edge.usage import COUNTED, Cut, EventFacts, Span
from meterline_sidecar.usage.counted import WINDOW_MS
from meterline_sidecar.usage.definition import Definition, Step, looked_at_of
from meterline_sidecar.usage.fold import ROLLED_UP, Delta, Folder, Place
from meterline_sidecar.usage.values import Values

OF_SORT: Final = ("subject_id", "kind", "endpoint_id", "status", "flags")
OF_ITS_OWN: Final[dict[str, Any]] = {
    **dict.fromkeys(VALUES, 0),
    "quantities": None,
    "properties": None,
}
"""What differs from event to event, and what stands for it where no meter looks."""

Deltas = dict[Place, Delta]


class BulkFolder:
    """Folds columns of events as a ``Folder`` folds each of them.

    Args:
        as: those of a ``Folder``.
    """

    def __init__(
        self,
        definition: Definition,
        endpoints: dict[int, tuple[str, str]],
        cuts: Collection[Cut],
        *,
        values: Values,
        generation: int,
    ) -> None:
        self._cuts = sorted({cut.cut_ms for cut in cuts})
        added = {n: s for n, s in definition.meters.items() if _is_added_up(s)}
        others = {n: s for n, s in definition.meters.items() if n not in added}
        self._added = replace(definition, meters=added)
        self._others = replace(definition, meters=others)
        same: Any = {"values": values, "generation": generation}
        self._folders = (
            Folder(self._added, endpoints, **same),
            Folder(self._others, endpoints, **same),
        )
        self.each = Folder(definition, endpoints, cuts, **same)
        """Folds what cannot be folded so, each event by itself."""

    def fold_all(self, columns: FactColumns) -> list[Deltas]:
        """Return what events add that count, in parts, one by one where it must be."""
        if not columns["id"]:
            return []
        found = self.fold(columns)
        if found is None:
            found = [self.each.fold(events_at(columns, range(len(columns["id"]))))]
        return found

    def fold(self, columns: FactColumns) -> list[Deltas] | None:
        """Return what events add, in parts; ``None``: look at each of them by itself.

        Args:
            columns: of at least one event, in the order of their ids.
        """
        ids, times = columns["id"], columns["time_ms"]
        span = Span(ids[0] - 1, ids[-1], min(times), max(times))
        looked_at = looked_at_of(self._others, span)
        added_up = looked_at_of(self._added, span)
        if looked_at is None or added_up is None:
            return None
        first_ms = span.first_ms // WINDOW_MS * WINDOW_MS
        if any(first_ms <= cut_ms <= span.last_ms for cut_ms in self._cuts):
            return None
        alike, single = _sorted_out(columns, looked_at)
        added, others = self._folders
        found = [others.fold(_as_one(columns, alike, looked_at))]
        if self._added.meters:
            found.append(added.fold(_as_sums(columns, alike, added_up)))
        if single:
            found.append(self.each.fold(events_at(columns, single)))
        return found


def _is_added_up(steps: Sequence[Step]) -> bool:
    """Say whether a meter does nothing but add up whole numbers, whenever it does."""
    return all(
        step.meter is None
        or (
            step.meter.aggregation == "sum"
            and step.meter.value in VALUES
            and not step.meter.names_properties
        )
        for step in steps
    )


def _sorted_out(
    columns: FactColumns, looked_at: Set[str]
) -> tuple[list[list[int]], list[int]]:
    """Return the places of events that are alike, and those of events by themselves."""
    told_apart = [
        columns[name] for name in (*OF_SORT, *looked_at) if len(set(columns[name])) > 1
    ]
    windows = [time_ms // WINDOW_MS for time_ms in columns["time_ms"]]
    groups: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for place, key in enumerate(zip(windows, *told_apart, strict=True)):
        groups[key].append(place)
    alike: list[list[int]] = []
    single: list[int] = []
    for places in groups.values():
        flags = columns["flags"][places[0]]
        if flags & UNCOUNTED:
            continue
        if flags & ROLLED_UP:
            single += places
        else:
            alike.append(places)
    return alike, sorted(single)


def _as_one(
    columns: FactColumns, alike: Sequence[Sequence[int]], looked_at: Set[str]
) -> Iterator[EventFacts]:
    """Yield events that are alike as one, with only what is looked at."""
    for places in alike:
        last = places[-1]
        facts = [
            columns[name][last]
            if name in looked_at or name not in OF_ITS_OWN
            else OF_ITS_OWN[name]
            for name in COUNTED.names
        ]
        yield EventFacts._make([*facts, len(places)])


def _as_sums(
    columns: FactColumns, alike: Sequence[Sequence[int]], added_up: Set[str]
) -> Iterator[EventFacts]:
    """Yield events that are alike as one that has the sums of their numbers."""
    for places in alike:
        last = places[-1]
        facts = [
            sum(map(columns[name].__getitem__, places))
            if name in added_up
            else OF_ITS_OWN.get(name, columns[name][last])
            for name in COUNTED.names
        ]
        yield EventFacts._make([*facts, 1])
