"""Folds events into what they add to usage; pure.

An event is counted by what each meter measured at its time (``definition``), in the
window of its time. Where its subject changed hands within that window, the time behind
the change is a window of its own, which begins there: who paid is told apart to the
millisecond, and readers need only look at where windows begin.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from itertools import count
from typing import Any, Final, NamedTuple

import msgspec

from meterline.events import Flag
from meterline_sidecar.decimals import Number, at_scale
from meterline_sidecar.meters import (
    AGGREGATIONS,
    SUMS,
    Adding,
    Reader,
    Totals,
    merge,
    reader,
)
from meterline_sidecar.store.edge.fact_columns import FactColumns, events_at
from meterline_sidecar.store.edge.usage import Cut, EventFacts
from meterline_sidecar.usage.by_property import PropertyRule
from meterline_sidecar.usage.counted import WINDOW_MS
from meterline_sidecar.usage.definition import Definition
from meterline_sidecar.usage.misfits import Misfits
from meterline_sidecar.usage.parts import SORTED_BY, can_measure, kind_in_filters
from meterline_sidecar.usage.rolled_up import rolled_up_in
from meterline_sidecar.usage.values import Values
from meterline_sidecar.where import UNMATCHED

ROLLED_UP: Final = int(Flag.ROLLED_UP)  # arithmetic on enums costs ten times as much
SORTED: Final = (
    *("kind", "endpoint_id", "status", "flags"),
    *("quantities", "properties"),
)
Sort = tuple[int, int, int, int, tuple[int, int] | None]
"""What decides which meters take an event: kind, endpoint, status, and era."""


class Place(NamedTuple):
    """Where an event is added up: its subject, window and group."""

    subject_id: int
    window_ms: int
    labels: str


class Delta(msgspec.Struct):  # made in a fifth of the time that a dataclass takes
    """What a step's events add to one place."""

    totals: Totals = {}
    unique: dict[str, set[str]] = {}
    last_event_id: int = 0


class Rule(NamedTuple):
    """What one meter does with an event of a certain sort."""

    meter: str
    adding: Adding
    read: Reader
    labels: str
    scale: int


class Rules(NamedTuple):
    """What all meters do with an event of a certain sort."""

    plain: list[Rule]
    by_property: list[PropertyRule]
    """Those that must read its properties; no others do."""


class Folder:
    """Folds events into deltas; pure, but for ``values``, which may learn some.

    Which meters take an event depends on its sort (kind, whether it is a part of a
    request, endpoint, status) and on the era of its time and number, between changes
    of meters, alone: there are few of both, and each is looked at once. An event that
    stands for several has the sums of what meters only add up (``Definition.added_up``).

    Args:
        values: which values of properties are told apart; without, as many as may be.
        generation: of which counting what edges have rolled up is taken; by default
            nothing of it is.
    """

    def __init__(
        self,
        definition: Definition,
        endpoints: dict[int, tuple[str, str]],
        cuts: Iterable[Cut] = (),
        *,
        values: Values | None = None,
        generation: int = 0,
    ) -> None:
        self._generation = definition.called(generation) if generation else None
        self._definition = definition
        self._aggregations = definition.aggregations
        self._added_up = definition.added_up
        self._endpoints = endpoints
        self._values = values or Values(values_max=definition.values_max)
        steps = [step for steps in definition.meters.values() for step in steps]
        self._from_ms = sorted({step.from_ms for step in steps})
        self._after = sorted({step.after_event_id for step in steps})
        self.misfits: dict[str, Misfits] = {}
        """Of each meter, what it could not take as it was."""
        self._has_eras = len(self._from_ms) + len(self._after) > 2
        self._rules: dict[Sort, Rules] = {}
        self._cuts: dict[int, list[Cut]] = defaultdict(list)
        for cut in sorted(cuts):
            self._cuts[cut.subject_id].append(cut)

    def fold(self, events: Iterable[EventFacts]) -> dict[Place, Delta]:
        """Return what the events add, per place."""
        # By plain tuples, and made places at the end: this is done for every event.
        deltas: dict[tuple[int, int, str], Delta] = {}
        for event in events:
            if event.flags & ROLLED_UP:
                self._add_rolled_up(event, deltas)
                continue
            era = self._era(event.time_ms, event.id) if self._has_eras else None
            part = event.flags & SORTED_BY
            sort = (event.kind, part, event.endpoint_id, event.status, era)
            rules = self._rules.get(sort)
            if rules is None:
                rules = self._rules[sort] = self._rules_for(event)
            plain, by_property = rules
            if not plain and not by_property:
                continue
            window_ms = event.time_ms // WINDOW_MS * WINDOW_MS
            if event.subject_id in self._cuts:
                window_ms = self._cut(event.subject_id, event.time_ms, event.id)
            for meter, adding, read, labels, scale in plain:
                value = read(event)
                if scale or type(value) is Decimal:
                    value = self._fitted(event, meter, adding, value, scale)
                if value is None:
                    continue
                place = (event.subject_id, window_ms, labels)
                delta = deltas.get(place)
                if delta is None:
                    delta = deltas[place] = Delta()
                _add_value(delta, meter, adding, value, event)
            for rule in by_property:
                for labels, share in rule.shares(event):
                    value = share
                    if rule.scale or type(value) is Decimal:
                        value = self._fitted(
                            event, rule.name, rule.adding, value, rule.scale
                        )
                    if value is None:
                        continue
                    place = (event.subject_id, window_ms, labels)
                    delta = deltas.get(place)
                    if delta is None:
                        delta = deltas[place] = Delta()
                    _add_value(delta, rule.name, rule.adding, value, event)
        return {Place(*place): delta for place, delta in deltas.items()}

    def _add_rolled_up(
        self, event: EventFacts, deltas: dict[tuple[int, int, str], Delta]
    ) -> None:
        """Add what an edge has counted: whatever of it is of a meter known here."""
        if self._generation is None:
            return
        assert event.properties is not None, "what has nothing in it was refused"
        rolled_up = rolled_up_in(event.properties)
        kept = self._definition.kept.get(rolled_up.epoch, self._generation)
        if rolled_up.generation != kept:
            return
        totals: Totals = {}
        for meter, total in rolled_up.totals.items():
            adding = AGGREGATIONS.get(self._aggregations.get(meter, "unique"))
            assert adding is not None
            if adding.is_distinct or adding.is_of_one != isinstance(total, list):
                continue  # no meter here, or none that adds up so
            # Of two values of one moment that counts which was learned last here.
            totals[meter] = [*total[:2], event.id] if isinstance(total, list) else total
        unique = {
            meter: {
                # The subject itself, whose id at the edge means nothing here.
                str(event.subject_id) if value is None else value
                for value in values
            }
            for meter, values in rolled_up.unique.items()
            if self._aggregations.get(meter) == "unique"
        }
        if not totals and not unique:
            return
        window_ms = event.time_ms // WINDOW_MS * WINDOW_MS
        if event.subject_id in self._cuts:
            window_ms = self._cut(event.subject_id, event.time_ms, event.id)
        place = (event.subject_id, window_ms, rolled_up.labels)
        delta = deltas.setdefault(place, Delta())
        delta.last_event_id = max(delta.last_event_id, event.id)
        merge(delta.totals, more=totals, aggregations=self._aggregations)
        for meter, values in unique.items():
            delta.unique.setdefault(meter, set()).update(values)

    def places(self, facts: FactColumns) -> set[Place]:
        """Return where events are added up; most are as others are, and cheap."""
        ids, times, subjects = (facts[name] for name in ("id", "time_ms", "subject_id"))
        windows = [time_ms // WINDOW_MS * WINDOW_MS for time_ms in times]
        if not self._cuts.keys().isdisjoint(subjects):
            windows = list(map(self._cut, subjects, times, ids))
        sorts = self._sorts(facts)
        labels = {
            sort: [found.labels for found in self.fold(events_at(facts, [place]))]
            for sort, place in dict(zip(sorts, count(), strict=False)).items()
        }
        return {
            Place(subject_id, window_ms, text)
            for subject_id, window_ms, sort in set(
                zip(subjects, windows, sorts, strict=True)
            )
            for text in labels[sort]
        }

    def takes(self, facts: FactColumns) -> list[bool]:
        """Say of events whether any meter takes them; as cheap."""
        sorts = self._sorts(facts)
        taken = {
            sort: bool(self.fold(events_at(facts, [place])))
            for sort, place in dict(zip(sorts, count(), strict=False)).items()
        }
        return [taken[sort] for sort in sorts]

    def _sorts(self, facts: FactColumns) -> list[tuple[Any, ...]]:
        """Return of each event what decides which meters take it, and in which groups."""
        told_apart = [facts[name] for name in SORTED]
        told_apart.append(list(map(bool, facts["subject_id"])))  # nobody is not unique
        if self._has_eras:
            told_apart.append(list(map(self._era, facts["time_ms"], facts["id"])))
        if self._definition.tells_values_apart:
            told_apart.append(
                [
                    of and one
                    for one, of in zip(facts["id"], facts["properties"], strict=True)
                ]
            )
        return list(zip(*told_apart, strict=True))

    def merge(self, known: Totals, *, more: Totals) -> None:
        """Add totals of other events to those in place, as its meters add up."""
        merge(known, more=more, aggregations=self._aggregations)

    def _fitted(
        self,
        event: EventFacts,
        meter: str,
        adding: Adding,
        value: Number | str | None,
        scale: int,
    ) -> Number | str | None:
        """Return a value as a meter adds it up; ``None`` where it cannot.

        What it takes that is rounded, and what it cannot, is noted.
        """
        if value is None or isinstance(value, str) or adding.takes_text:
            return value
        if not scale:
            self.misfits.setdefault(meter, Misfits()).left_out += event.n_events
            return None
        fitted = at_scale(value, scale)
        if fitted != value:
            self.misfits.setdefault(meter, Misfits()).rounded += event.n_events
        return fitted

    def _era(self, time_ms: int, event_id: int) -> tuple[int, int]:
        """Return between which changes of meters an event is, by time and number."""
        return bisect_right(self._from_ms, time_ms), bisect_left(self._after, event_id)

    def _rules_for(self, event: EventFacts) -> Rules:
        method, route = self._endpoints[event.endpoint_id]
        shown = {"method": method or UNMATCHED, "route": route or UNMATCHED}
        kind = kind_in_filters(event.kind, event.flags)
        found = Rules([], [])
        for name in self._definition.meters:
            meter = self._definition.meter_at(
                name, time_ms=event.time_ms, event_id=event.id
            )
            if meter is None or not meter.takes(
                kind=kind, **shown, status=event.status
            ):
                continue
            if not can_measure(meter, event.flags):
                continue
            read = reader(meter, method=method, route=route)
            if meter.names_properties:
                by_property = PropertyRule(
                    meter, read, **shown, status=event.status, values=self._values
                )
                found.by_property.append(by_property)
                continue
            labels = meter.labels(
                method=shown["method"], route=shown["route"], status=event.status
            )
            is_sum = meter.value in self._added_up
            adding = SUMS if is_sum else AGGREGATIONS[meter.aggregation]
            found.plain.append(Rule(name, adding, read, labels, meter.scale))
        return found

    def _cut(self, subject_id: int, time_ms: int, event_id: int) -> int:
        """Return where the part of a window begins that an event lies in."""
        cuts = (
            cut.cut_ms
            for cut in self._cuts.get(subject_id, ())
            if cut.cut_ms <= time_ms and cut.after_event_id < event_id
        )
        return max([time_ms // WINDOW_MS * WINDOW_MS, *cuts])


def _add_value(
    delta: Delta, meter: str, adding: Adding, value: Number | str, event: EventFacts
) -> None:
    if event.id > delta.last_event_id:
        delta.last_event_id = event.id
    if adding.is_distinct:
        delta.unique.setdefault(meter, set()).add(str(value))
        return
    one = adding.start(value, event)
    before = delta.totals.get(meter)
    delta.totals[meter] = one if before is None else adding.add(before, one)
