"""Folds many events at once, given column by column, where that comes to the same.

Events that are alike as far as meters look are folded as one. What meters only add up,
such as bytes, need not be alike: of events that are alike else, the sum is folded.
"""

from collections.abc import Collection

from meterline.events import UNCOUNTED
from meterline_sidecar.store.edge.alike import alike_of
from meterline_sidecar.store.edge.fact_columns import VALUES, FactColumns, events_at
from meterline_sidecar.store.edge.usage import COUNTED, Cut, Span
from meterline_sidecar.store.pack_columns import is_one
from meterline_sidecar.usage.counted import WINDOW_MS
from meterline_sidecar.usage.definition import Definition, looked_at_of
from meterline_sidecar.usage.fold import ROLLED_UP, Delta, Folder, Place
from meterline_sidecar.usage.values import Values

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
        self._definition = definition
        looked_at = {
            name
            for steps in definition.meters.values()
            for step in steps
            if step.meter is not None
            for name in step.meter.looks_at
        }
        self.reads = tuple(
            name for name in COUNTED.names if name not in VALUES or name in looked_at
        )
        """The columns of events that it looks at."""
        self.each = Folder(
            definition, endpoints, cuts, values=values, generation=generation
        )
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
        ids = columns["id"]
        times = sorted(
            columns["time_ms"]
        )  # as they nearly are: sooner than min and max
        span = Span(ids[0] - 1, ids[-1], times[0], times[-1])
        looked_at = looked_at_of(self._definition, span)
        if looked_at is None:
            return None
        first_ms = span.first_ms // WINDOW_MS * WINDOW_MS
        if any(first_ms <= cut_ms <= span.last_ms for cut_ms in self._cuts):
            return None
        alike = alike_of(
            columns,
            skip_flags=UNCOUNTED | ROLLED_UP,
            looked_at=looked_at,
            added_up=self._definition.added_up,
            window_ms=WINDOW_MS,
        )
        flags = columns["flags"]
        single: list[int] = []
        if not is_one(flags) or flags[0] & ROLLED_UP:
            single = [
                place
                for place, of in enumerate(flags)
                if of & ROLLED_UP and not of & UNCOUNTED
            ]
        return [
            self.each.fold(alike),
            *([self.each.fold(events_at(columns, single))] if single else ()),
        ]
