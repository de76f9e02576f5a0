"""Compares what edges have in files with what came of it as usage, hour by hour.

By what meters measure, for those that count or add up, which have measured the same ever
since, and not by a property. An hour is compared once all usage of it that came is older
than the last of the edge's files: a later event may add to it until then.
"""

from collections import Counter, defaultdict
from collections.abc import Collection
from typing import Final

from msgspec.structs import replace

from meterline.events import UNCOUNTED, Flag
from meterline_sidecar.clock import HOUR_MS, format_time_ms
from meterline_sidecar.decimals import Number, plus
from meterline_sidecar.ledger.bundle import Bundle
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store import fleet
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.edge import archive, roll_ups
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.edge.edge_files import OWN, EdgeFile
from meterline_sidecar.store.edge.events import marks
from meterline_sidecar.store.edge.usage import EventFacts
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage import rolled_up
from meterline_sidecar.usage.definition import Definition, decode
from meterline_sidecar.usage.fold import Folder
from meterline_sidecar.usage.outside import Outside

ROLLED_UP: Final = int(Flag.ROLLED_UP)
ADDED_UP: Final = ("count", "sum")
STEP_EVENTS: Final = 20_000

Sums = dict[tuple[int, str], Number]
"""By hour and meter."""


class EdgeSums:
    """What files of edges come to, as they are read, and what came of it here."""

    def __init__(
        self,
        names: dict[int, str],
        definition: Definition,
        generation: int,
        *,
        from_ms: int,
    ) -> None:
        self._names = names
        """Of those edges that are compared."""
        self._outside = Outside()
        self._folder = Folder(
            definition, self._outside.endpoints, generation=generation
        )
        self._from_ms = from_ms
        self._filed: dict[int, Sums] = defaultdict(dict)
        self._ends: dict[int, int] = defaultdict(int)
        """The last event in files of each edge that were read."""
        self._states: dict[str, int] = {}
        """The last number of each producer of usage that is in files."""

    @classmethod
    async def of(cls, tx: Tx) -> "EdgeSums | None":
        """Return nothing that was read yet; ``None`` where nothing can be compared."""
        served = await usage_store.newest_generation(tx)
        if served is None:
            return None
        epochs = await roll_ups.epochs_of_edges(tx, app=rolled_up.OWN_APP)
        lives = Counter(edge_id for edge_id, _, _ in epochs)
        taken_over = await roll_ups.edges_that_took_over(tx, app=rolled_up.OWN_APP)
        names = {
            row.id: row.name
            for row in await fleet.list_edges(tx)
            # Of one that was put back, several files hold the same; of one that took over
            # a worker, they hold what another one has counted as well.
            if row.forwards == "usage"
            and lives[row.id] == 1
            and row.id not in taken_over
        }
        away = await archive.files(tx)
        from_ms = max((file.beyond_ms for file in away), default=0)
        definition = decode(served.definition)
        kept = {
            name: steps
            for name, steps in definition.meters.items()
            if len(steps) == 1
            and (meter := steps[0].meter) is not None
            and not steps[0].after_event_id
            and meter.aggregation in ADDED_UP
            and not meter.told_apart
        }
        compared = replace(definition, meters=kept)
        return cls(names, compared, served.id, from_ms=from_ms) if names else None

    def add(self, file: EdgeFile, bundle: Bundle) -> None:
        """Add what a file holds; files of an edge are added in their order."""
        edge_id = file.what.edge_id
        if edge_id == OWN or edge_id not in self._names:
            return
        if file.what.first_event_id != self._ends[edge_id] + 1:
            del self._names[edge_id]  # Some are not read, or hold the same.
            return
        self._ends[edge_id] += file.what.events
        counted: list[EventFacts] = []
        for stored in bundle.batches:
            for event in stored.events:
                if event.flags & ROLLED_UP:
                    before = self._states.get(stored.producer, 0)
                    self._states[stored.producer] = max(before, event.seq)
                elif not event.flags & UNCOUNTED:
                    counted.append(self._outside.facts(event))
        self._fold(counted, self._filed[edge_id])

    async def compare(self, tx: Tx, report: Report) -> None:
        """Note each edge and hour of which files and usage differ."""
        came: dict[int, Sums] = defaultdict(dict)
        is_open: dict[int, set[int]] = defaultdict(set)
        after, last_id = (await begin(tx)).event_id, (await marks(tx)).event_id
        while after < last_id:
            states = await roll_ups.states_of_edges(
                tx, after, after + STEP_EVENTS, flags=ROLLED_UP
            )
            for edge_id, producer, seq, state in states:
                if edge_id in self._names:
                    self._fold([state], came[edge_id])
                    if seq > self._states.get(producer, 0):
                        is_open[edge_id].add(state.time_ms // HOUR_MS)
            after += STEP_EVENTS
        for edge_id, name in self._names.items():
            self._compare(
                name, self._filed[edge_id], came[edge_id], is_open[edge_id], report
            )

    def _compare(
        self,
        name: str,
        filed: Sums,
        came: Sums,
        is_open: Collection[int],
        report: Report,
    ) -> None:
        hours = {hour for hour, _ in (*filed, *came)}
        if is_open:
            report.edges_ahead.append(
                f"edge {name}: usage of {n_of(len(is_open), 'hour')} is newer than its"
                " files that are noted here"
            )
        for hour in sorted(hours):
            if hour * HOUR_MS < self._from_ms:
                report.edge_hours_away += 1
                continue
            if hour in is_open:
                continue
            report.edge_hours += 1
            for meter in sorted({m for h, m in (*filed, *came) if h == hour}):
                in_files, as_usage = (
                    filed.get((hour, meter), 0),
                    came.get((hour, meter), 0),
                )
                if in_files != as_usage:
                    report.add(
                        f"edge {name}, {format_time_ms(hour * HOUR_MS)[:13]}h: {meter} is"
                        f" {in_files} by the events in its files, and {as_usage} came as"
                        " usage"
                    )

    def _fold(self, events: list[EventFacts], sums: Sums) -> None:
        for place, delta in self._folder.fold(events).items():
            hour = place.window_ms // HOUR_MS
            for meter, total in delta.totals.items():
                assert not isinstance(total, list), "it adds up"
                sums[hour, meter] = plus(sums.get((hour, meter), 0), total)
