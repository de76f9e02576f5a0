"""Folds events into what they add to usage; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from meterline_sidecar.meters import (
    AGGREGATIONS,
    UNMATCHED,
    Adding,
    Meter,
    Reader,
    Totals,
    reader,
)
from meterline_sidecar.store.edge.usage import EventFacts
from meterline_sidecar.usage.counted import WINDOW_MS

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

    def _rules_for(self, kind: int, endpoint_id: int, status: int) -> list[Rule]:
        method, route = self._endpoints[endpoint_id]
        method, route = method or UNMATCHED, route or UNMATCHED
        return [
            Rule(
                meter.name,
                AGGREGATIONS[meter.aggregation],
                read,
                meter.labels(method=method, route=route, status=status),
            )
            for meter, read in self._readers
            if meter.takes(kind=kind, method=method, route=route, status=status)
        ]

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


def definition_of(meters: Sequence[Meter]) -> str:
    """Return what meters measure, as a text that is equal when they are."""
    ordered = sorted(meters, key=lambda meter: meter.name)
    return msgspec.json.encode(ordered, order="deterministic").decode()
