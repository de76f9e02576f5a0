"""Folds events into what they add to usage; pure.

An event is counted by what each meter measured at its time (``definition``), in the
window of its time. Where its subject changed hands within that window, the time behind
the change is a window of its own, which begins there: who paid is told apart to the
millisecond, and readers need only look at where windows begin.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from meterline_sidecar.meters import (
    AGGREGATIONS,
    UNMATCHED,
    Adding,
    Reader,
    Totals,
    reader,
)
from meterline_sidecar.store.edge.usage import Cut, EventFacts
from meterline_sidecar.usage.counted import WINDOW_MS
from meterline_sidecar.usage.definition import Definition

_quantities: Final = msgspec.json.Decoder(dict[str, int])


class Place(NamedTuple):
    """Where an event is added up: its subject, window and group."""

    subject_id: int
    window_ms: int
    labels: str


@dataclass(slots=True)
class Delta:
    """What a step's events add to one place."""

    totals: Totals = field(default_factory=Totals)
    unique: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    last_event_id: int = 0


class Rule(NamedTuple):
    """What one meter does with an event of a certain sort."""

    meter: str
    adding: Adding
    read: Reader
    labels: str


class Folder:
    """Folds events into deltas; pure.

    Which meters take an event depends on its sort (kind, endpoint, status) and on the
    era of its time and number, between changes of meters, alone: there are few of
    both, and each is looked at once.
    """

    def __init__(
        self,
        definition: Definition,
        endpoints: dict[int, tuple[str, str]],
        cuts: Iterable[Cut] = (),
    ) -> None:
        self._definition = definition
        self._endpoints = endpoints
        steps = [step for steps in definition.meters.values() for step in steps]
        self._from_ms = sorted({step.from_ms for step in steps})
        self._after = sorted({step.after_event_id for step in steps})
        self._rules: dict[tuple[int, int, int, int, int], list[Rule]] = {}
        self._cuts: dict[int, list[Cut]] = defaultdict(list)
        for cut in sorted(cuts):
            self._cuts[cut.subject_id].append(cut)

    def fold(self, events: Iterable[EventFacts]) -> dict[Place, Delta]:
        """Return what the events add, per place."""
        deltas: dict[Place, Delta] = {}
        for event in events:
            sort = (
                event.kind,
                event.endpoint_id,
                event.status,
                bisect_right(self._from_ms, event.time_ms),
                bisect_left(self._after, event.id),
            )
            rules = self._rules.get(sort)
            if rules is None:
                rules = self._rules[sort] = self._rules_for(event)
            if not rules:
                continue
            window_ms = event.time_ms // WINDOW_MS * WINDOW_MS
            if event.subject_id in self._cuts:
                window_ms = self._cut(event, window_ms)
            fields = self._fields(event)
            for meter, adding, read, labels in rules:
                value = read(fields)
                if value is None:
                    continue
                place = Place(event.subject_id, window_ms, labels)
                delta = deltas.get(place)
                if delta is None:
                    delta = deltas[place] = Delta()
                _add_value(delta, meter, adding, value, event)
        return deltas

    def _rules_for(self, event: EventFacts) -> list[Rule]:
        method, route = self._endpoints[event.endpoint_id]
        method, route = method or UNMATCHED, route or UNMATCHED
        found: list[Rule] = []
        for name in self._definition.meters:
            meter = self._definition.meter_at(
                name, time_ms=event.time_ms, event_id=event.id
            )
            if meter is None or not meter.takes(
                kind=event.kind, method=method, route=route, status=event.status
            ):
                continue
            labels = meter.labels(method=method, route=route, status=event.status)
            adding = AGGREGATIONS[meter.aggregation]
            found.append(Rule(name, adding, reader(meter), labels))
        return found

    def _cut(self, event: EventFacts, window_ms: int) -> int:
        """Return where the part of a window begins that an event lies in."""
        cuts = (
            cut.cut_ms
            for cut in self._cuts[event.subject_id]
            if cut.cut_ms <= event.time_ms and cut.after_event_id < event.id
        )
        return max([window_ms, *cuts])

    def _fields(self, event: EventFacts) -> dict[str, Any]:
        method, route = self._endpoints[event.endpoint_id]
        return {
            "bytes_in": event.bytes_in,
            "bytes_out": event.bytes_out,
            "duration_us": event.duration_us,
            "flags": event.flags,
            "subject": event.subject_id or None,
            "method": method or None,
            "route": route or None,
            "quantities": _quantities.decode(event.quantities)
            if event.quantities
            else {},
        }


def _add_value(
    delta: Delta, meter: str, adding: Adding, value: int | str, event: EventFacts
) -> None:
    delta.last_event_id = event.id
    if adding.is_distinct:
        delta.unique.setdefault(meter, set()).add(str(value))
        return
    one = adding.start(value, event.time_ms, event.id)
    before = delta.totals.get(meter)
    delta.totals[meter] = one if before is None else adding.add(before, one)
