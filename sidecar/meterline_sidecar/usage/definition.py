"""What each meter measures from when on, as a generation counts by it.

A change holds for the time of use from which it was agreed, and for the events behind
the one that was counted last when it was learned: what is counted stays as it was
counted. So the same events come to the same usage whenever they are added up again.
"""

from collections.abc import Iterable, Sequence, Set
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from meterline_sidecar.meters import AGGREGATIONS, Aggregation, Meter
from meterline_sidecar.properties import VALUES_MAX
from meterline_sidecar.store.edge.fact_columns import VALUES
from meterline_sidecar.store.edge.usage import Span
from meterline_sidecar.terms.book import Entry, Terms
from meterline_sidecar.terms.change import MeterChange


class Step(msgspec.Struct, frozen=True, array_like=True):
    """What a meter measures from a time of use on, behind an event."""

    from_ms: int
    after_event_id: int
    meter: Meter | None
    """``None``: nothing more."""


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """What all meters measure."""

    terms_row: int = 0
    """Up to which row of terms this follows them."""
    meters: dict[str, tuple[Step, ...]] = {}
    """By name, in the order in which changes were learned; the last that holds for an
    event's time and number is what it is counted by."""
    values_max: int = VALUES_MAX
    """How many values of a property are told apart; those that are, stay so."""
    name: str = ""
    """What edges call it that count by it: made up with the first generation that has
    it, so that no other definition is called so, also where this ledger is put back."""
    kept: dict[str, str] = {}
    """Epochs of edges that cannot be counted again, and by which generation they were:
    what was rolled up then stands in this one, too."""

    @property
    def tells_values_apart(self) -> bool:
        """Whether any meter adds up by a property."""
        return any(
            step.meter is not None and step.meter.told_apart
            for steps in self.meters.values()
            for step in steps
        )

    @property
    def added_up(self) -> Set[str]:
        """The values of events with which meters do nothing but add them up.

        An event that stands for several which are alike else has the sum of theirs.
        """
        meters = [
            step.meter
            for steps in self.meters.values()
            for step in steps
            if step.meter is not None
        ]
        told_apart = {
            meter.value
            for meter in meters
            if meter.aggregation != "sum" or meter.names_properties
        }
        return set(VALUES) - told_apart

    @property
    def aggregations(self) -> dict[str, Aggregation]:
        """How each meter adds up, which never changes."""
        return {
            name: step.meter.aggregation
            for name, steps in self.meters.items()
            for step in steps
            if step.meter is not None
        }

    def called(self, generation: int) -> str:
        """Return what edges call a generation that counts by this."""
        return self.name or str(generation)

    def meter_at(self, name: str, *, time_ms: int, event_id: int) -> Meter | None:
        """Return what a meter measures of an event; ``None``: nothing."""
        return next(
            (
                step.meter
                for step in reversed(self.meters.get(name, ()))
                if step.from_ms <= time_ms and step.after_event_id < event_id
            ),
            None,
        )

    def with_steps(
        self, steps: Iterable[tuple[str, Step]], row_id: int
    ) -> "Definition":
        """Return this definition followed by more steps."""
        meters = dict(self.meters)
        for name, step in steps:
            meters[name] = (*meters.get(name, ()), step)
        return replace(self, terms_row=row_id, meters=meters)

    def differs_in(self, other: "Definition") -> tuple[str, ...]:
        """Return the meters that another definition counts otherwise, in order."""
        names = sorted(self.meters.keys() | other.meters.keys())
        return tuple(
            name for name in names if self.meters.get(name) != other.meters.get(name)
        )


OF_BEFORE: Final = -1
"""In place of the row of terms: counted by an earlier Meterline, which had none."""


class Change(NamedTuple):
    """What was learned of a meter since a definition was made."""

    name: str
    from_ms: int
    meter: Meter | None
    reaches_back: bool
    """Whether it holds for a time before it was learned."""

    def after(self, event_id: int) -> tuple[str, Step]:
        """Return it as a step that holds behind an event."""
        return self.name, Step(self.from_ms, event_id, self.meter)


def first_definition(terms: Terms) -> Definition:
    """Return what counts from the first event on where nothing was counted yet."""
    steps = [change.after(0) for change in changes(Definition(), terms, now_ms=0)]
    return Definition().with_steps(steps, terms.row_id)


def changes(known: Definition, terms: Terms, *, now_ms: int) -> list[Change]:
    """Return what terms say of meters beyond a definition, in the order learned."""
    if known.terms_row == OF_BEFORE:
        return _adopted(known, terms, now_ms=now_ms)
    found: list[tuple[Entry, str]] = [
        (entry, name)
        for name in terms.names("meter")
        for entry in terms.entries("meter", name)
        if entry.row_id > known.terms_row
    ]
    found.sort(key=lambda item: item[0].row_id)
    return [_change(entry, name) for entry, name in found]


def _change(entry: Entry, name: str) -> Change:
    assert isinstance(entry.change, MeterChange)
    reaches_back = entry.from_ms < entry.learned_ms
    return Change(name, entry.from_ms, entry.change.meter, reaches_back)


def _adopted(known: Definition, terms: Terms, *, now_ms: int) -> list[Change]:
    """Return how the meters of terms differ from what was counted before there were any.

    Usage stays as it was counted: what differs holds from now on.
    """
    wanted = {name: terms.meter(name, now_ms) for name in terms.names("meter")}
    names = sorted(wanted.keys() | known.meters.keys())
    return [
        Change(name, now_ms, wanted.get(name), reaches_back=False)
        for name in names
        if _last(known.meters.get(name, ())) != wanted.get(name)
    ]


def _last(steps: Sequence[Step]) -> Meter | None:
    return steps[-1].meter if steps else None


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Definition)


def encode(definition: Definition) -> str:
    """Return a definition as a generation keeps it."""
    return _encoder.encode(definition).decode()


def decode(text: str) -> Definition:
    """Return the definition that a generation keeps."""
    return _decoder.decode(text)


def looked_at_of(definition: Definition, span: Span) -> Set[str] | None:
    """Return what of its own meters look at in an event; ``None``: at which it is.

    That is so where the last of them counts, where values are told apart from an event
    on, and where a meter changes in between.
    """
    looked_at: set[str] = set()
    for steps in definition.meters.values():
        for step in steps:
            if (
                span.first_ms < step.from_ms <= span.last_ms
                or span.after_id < step.after_event_id < span.last_id
            ):
                return None
            meter = step.meter
            if meter is None:
                continue
            if meter.told_apart or AGGREGATIONS[meter.aggregation].is_of_one:
                return None
            looked_at |= meter.looks_at
    return looked_at
