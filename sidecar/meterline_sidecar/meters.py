"""What a meter measures: which events it takes, what of them, and how it adds up."""

from collections.abc import Callable, Iterable, Mapping, Set
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta

from meterline.events import UNITS, Flag, Kind
from meterline_sidecar.decimals import SCALE_MAX, Number, minus, plus, times
from meterline_sidecar.measured import Measured
from meterline_sidecar.properties import Named
from meterline_sidecar.where import KindName, Where

Aggregation = Literal["count", "sum", "max", "min", "unique", "latest"]
Dimension = Literal["route", "method", "status"]
DIMENSIONS: Final[tuple[Dimension, ...]] = get_args(Dimension)
"""What every event has; any other name in ``group_by`` is that of a property."""
Mode = Literal["set", "delta"]
"""How Stripe hears of an hour: as its total, or as what has changed since."""
Formula = Literal["sum", "last"]
"""How Stripe makes a month of its hours."""

EVENT_VALUES: Final = ("bytes_in", "bytes_out", "duration_us", UNITS)
TEXT_VALUES: Final = ("subject", "route", "method")
_NO_UNITS: Final = int(Flag.BAD_UNITS | Flag.UNITS_APART | Flag.PART)
QUANTITY_PREFIX: Final = "quantities."
NO_NAMES: Final[Named] = MappingProxyType({})

_encoder: Final = msgspec.json.Encoder()

Total = Number | list[Number]
"""What has been added up: a number, or for ``latest`` [value, time_ms, event id]."""
Totals = dict[str, Total]
"""What has been added up in one place, by meter."""


def quantity(total: Total) -> Number:
    """Return the billed number of a total."""
    return total[0] if isinstance(total, list) else total


def _n_events(_value: Number | str, events: Measured) -> Total:
    return events.n_events


def _value(value: Number | str, _events: Measured) -> Total:
    assert not isinstance(value, str), "`check` refuses a text here"
    return value


def _of_each(value: Number | str, events: Measured) -> Total:
    assert not isinstance(value, str), "`check` refuses a text here"
    return value if events.n_events == 1 else times(value, events.n_events)


def _value_then(value: Number | str, events: Measured) -> Total:
    assert not isinstance(value, str), "`check` refuses a text here"
    return [value, events.time_ms, events.id]


def _sum(one: Total, other: Total) -> Total:
    if type(one) is int and type(other) is int:
        return one + other  # nearly always
    return plus(quantity(one), quantity(other))


def _less(one: Total, other: Total) -> Total:
    return minus(quantity(one), quantity(other))


def _larger(one: Total, other: Total) -> Total:
    return max(quantity(one), quantity(other))


def _smaller(one: Total, other: Total) -> Total:
    return min(quantity(one), quantity(other))


def _later(one: Total, other: Total) -> Total:
    """Return the later of two values; of two at one time, the one that came last."""
    assert isinstance(one, list)
    assert isinstance(other, list)
    return max(one, other, key=lambda total: (total[1], total[2]))


def _never(_one: Total, _other: Total) -> Total:
    raise AssertionError("distinct values are counted, never added")


class Hourly(msgspec.Struct, frozen=True, kw_only=True):
    """How an aggregation is told to Stripe by the hour."""

    formula: Formula
    modes: tuple[Mode, ...]
    """The usual one first."""
    zero_is_news: bool = False
    """Whether a first total of zero says anything."""


class Adding(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know of one aggregation; everybody asks here."""

    means: str
    """What it comes to, for the documentation."""
    shown_as: str = "total"
    """What its number is called beside it, on pages."""
    needs_value: bool = True
    takes_text: bool = False
    """Whether the value may be a text."""
    kinds: tuple[KindName, ...] = ()
    """The kinds of events that it takes unless the meter names them; else all."""
    is_distinct: bool = False
    """It counts different values. They are kept one by one, and have no total."""
    is_of_one: bool = False
    """Its value is that of one event, so that events that are alike are not the same."""
    start: Callable[[Number | str, Measured], Total] = _value
    """Returns the total of one event, or of some that are alike, which have a value."""
    add: Callable[[Total, Total], Total]
    """Returns the total of two disjoint sets of events from those of each."""
    take_away: Callable[[Total, Total], Total] | None = None
    """Returns the total without some of the events; ``None``: it does not follow."""
    grows_with_time: bool = False
    """Whether twice the time is likely to come to twice as much."""
    is_zero_unused: bool = False
    """Whether a time without an event comes to 0; else there is no value in it."""
    hourly: Hourly | None = None
    """``None``: the value of a month does not follow from those of its hours."""


AGGREGATIONS: Final[Mapping[Aggregation, Adding]] = {
    "count": Adding(
        means="how many events there are",
        needs_value=False,
        takes_text=True,
        kinds=("request", "websocket"),  # what is recorded outside is no request
        start=_n_events,
        add=_sum,
        take_away=_less,
        grows_with_time=True,
        is_zero_unused=True,
        hourly=Hourly(formula="sum", modes=("delta", "set")),
    ),
    "sum": Adding(
        means="the sum of a value",
        start=_of_each,
        add=_sum,
        take_away=_less,
        grows_with_time=True,
        is_zero_unused=True,
        hourly=Hourly(formula="sum", modes=("delta", "set")),
    ),
    "max": Adding(means="the largest value", shown_as="highest value", add=_larger),
    "min": Adding(means="the smallest value", shown_as="lowest value", add=_smaller),
    "unique": Adding(
        means="how many different values there are",
        shown_as="different values",
        is_zero_unused=True,
        takes_text=True,
        is_distinct=True,
        add=_never,
    ),
    # The value of an hour replaces that of the hour before it, and a difference of
    # two such values means nothing.
    "latest": Adding(
        means="the value of the event that happened last",
        shown_as="last value",
        is_of_one=True,
        start=_value_then,
        add=_later,
        hourly=Hourly(formula="last", modes=("set",), zero_is_news=True),
    ),
}
"""One row for each aggregation: all that differs between them stands here."""
SUMS: Final = msgspec.structs.replace(AGGREGATIONS["sum"], start=_value)
"""The sum of values each of which is that of all events that are alike already."""


class Meter(msgspec.Struct, frozen=True, omit_defaults=True):
    """A named quantity with its aggregation."""

    name: Annotated[
        str,
        Meta(
            description="A unique name of at most 100 letters, digits, `_`, `.` and "
            "`-`. Plans refer to it."
        ),
    ]
    aggregation: Annotated[
        Aggregation,
        Meta(
            description="How events add up. "
            + "; ".join(f"`{name}`: {row.means}" for name, row in AGGREGATIONS.items())
            + "."
        ),
    ]
    value: Annotated[
        str | None,
        Meta(
            description="The value to take from each event: `bytes_in`, `bytes_out`,"
            " `duration_us`, `units` (1, or what the app recorded as `units`), or"
            " `quantities.NAME`. A `unique` meter also takes `subject`, `route` or"
            " `method`. A `count` meter needs none; with one, it counts the events "
            "that have it. An event without the value does not count."
        ),
    ] = None
    where: Annotated[
        Where, Meta(description="Which events to count; see `[meter.where]`.")
    ] = Where()
    group_by: Annotated[
        tuple[str, ...],
        Meta(
            description="Add up separately by these, for prices by dimension: `route`,"
            ' `method`, `status`, and any property that your code records: `["model",'
            ' "region"]`. Events without the property are under `(none)`.'
        ),
    ] = ()

    scale: Annotated[
        int,
        Meta(
            ge=0,
            le=SCALE_MAX,
            description=f"How many decimals it counts, up to {SCALE_MAX}, for values"
            " such as `1.234`. Further decimals are rounded, half to even, and"
            " `/status` says so. Without a scale, an event whose value is not whole"
            " does not count, and `/status` says so.",
        ),
    ] = 0

    late: Annotated[
        Literal["adjust", "report"],
        Meta(
            description="What to do with usage that arrives after its period became"
            " final. `adjust`: bill it on the next invoice, as an adjustment."
            " `report`: let its events wait until a person decides with `meterline"
            " late`."
        ),
    ] = "adjust"

    counts_repeated: Annotated[
        bool,
        Meta(
            description="Also count requests that a client repeated with the same"
            " `Idempotency-Key`: see `idempotency_header` of the middleware.",
            extra={"key": "repeated"},
        ),
    ] = False

    def takes(self, *, kind: int, method: str, route: str, status: int) -> bool:
        """Say whether an event of this sort is measured."""
        name = Kind(kind).name.lower()
        return self.where.takes(kind=name, method=method, route=route, status=status)

    @property
    def takes_fractions(self) -> bool:
        """Whether its values can be anything but whole numbers or texts."""
        return (
            self.quantity is not None and not AGGREGATIONS[self.aggregation].takes_text
        )

    @property
    def told_apart(self) -> tuple[str, ...]:
        """The properties that it adds up by."""
        return tuple(name for name in self.group_by if name not in DIMENSIONS)

    @property
    def names_properties(self) -> bool:
        """Whether properties say what it takes, or what that is added up under."""
        return bool(self.told_apart or self.where.properties)

    @property
    def quantity(self) -> str | None:
        """The quantity whose parts it adds up; ``None`` where it takes whole events."""
        if self.aggregation == "count" or self.value is None:
            return None
        if self.value == UNITS:
            return UNITS
        name = self.value.removeprefix(QUANTITY_PREFIX)
        return None if name == self.value else name

    @property
    def looks_at(self) -> Set[str]:
        """What it looks at of an event besides its subject, kind, endpoint and status."""
        named = {"properties"} if self.names_properties else set[str]()
        if self.value == UNITS or (self.value or "").startswith(QUANTITY_PREFIX):
            named.add("quantities")
        elif self.value in EVENT_VALUES:
            named.add(self.value)
        return named

    def labels(
        self, *, method: str, route: str, status: int, properties: Named = NO_NAMES
    ) -> str:
        """Return the group that an event falls into, as a JSON object.

        Args:
            properties: the label of each property that is told apart, by its name.
        """
        values = {"route": route, "method": method, "status": str(status), **properties}
        # Without properties as it always was, so that it is the same group as before.
        names = sorted(self.group_by) if properties else self.group_by
        return _encoder.encode({name: values[name] for name in names}).decode()


def aggregations_of(meters: Iterable[Meter]) -> dict[str, Aggregation]:
    """Return how each meter adds up, by its name."""
    return {meter.name: meter.aggregation for meter in meters}


def merge(
    known: Totals, *, more: Totals, aggregations: Mapping[str, Aggregation]
) -> None:
    """Add totals of more events, none of which is in ``known``, to those in place.

    Args:
        aggregations: how each meter in ``more`` adds up; see ``aggregations_of``.
    """
    for name, total in more.items():
        if (before := known.get(name)) is None:
            known[name] = total
        else:
            known[name] = AGGREGATIONS[aggregations[name]].add(before, total)


Reader = Callable[[Any], Number | str | None]
"""Takes a meter's value from an event; ``None`` where it has none."""

_decode_quantities: Final = msgspec.json.Decoder(dict[str, Number]).decode


@lru_cache(maxsize=1)  # several meters read one event, one after the other
def _quantities(text: str) -> dict[str, Number]:
    return _decode_quantities(text)


def _units(event: Measured) -> Number | None:
    """Return what the app recorded as units; 1 for a call that says nothing of them."""
    recorded = _quantities(event.quantities).get(UNITS) if event.quantities else None
    if recorded is not None:
        return recorded
    return None if event.flags & _NO_UNITS else 1


def _subject(event: Measured) -> int | None:
    return event.subject_id or None


def reader(meter: Meter, *, method: str, route: str) -> Reader:
    """Return the function that takes the meter's value from an event.

    Args:
        method: of the event's endpoint, empty for none.
        route: likewise.
    """
    match meter.value:
        case None:
            return lambda _event: 1
        case "subject":
            return _subject
        case "method":
            return lambda _event: method or None
        case "route":
            return lambda _event: route or None
        case value if value == UNITS:
            return _units
        case value if value.startswith(QUANTITY_PREFIX):
            name = value.removeprefix(QUANTITY_PREFIX)
            return lambda event: (
                _quantities(event.quantities).get(name) if event.quantities else None
            )
        case value:
            return attrgetter(value)


def usual_mode(aggregation: Aggregation) -> Mode:
    """Return the mode in which Stripe hears of such a meter unless it names one."""
    hourly = AGGREGATIONS[aggregation].hourly
    return "delta" if hourly is None else hourly.modes[0]


def why_not_billable(meter: Meter, mode: Mode) -> str | None:
    """Say why Stripe cannot be told hourly about a meter, ``None`` if it can."""
    aggregation = meter.aggregation
    hourly = AGGREGATIONS[aggregation].hourly
    if hourly is None:
        *others, last = (name for name, row in AGGREGATIONS.items() if row.hourly)
        return (
            f"the {aggregation} of a month cannot be had from that of its hours, so "
            f"Stripe cannot add it up; use {', '.join(others)} or {last}"
        )
    if mode not in hourly.modes:
        return (
            f"a {aggregation} value is not a sum of changes; use stripe_mode ="
            f' "{hourly.modes[0]}"'
        )
    return None
