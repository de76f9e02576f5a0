"""What a meter measures: which events it takes, what of them, and how it adds up."""

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal, assert_never

import msgspec
from msgspec import Meta

from meterline.events import Kind

Aggregation = Literal["count", "sum", "max", "unique", "latest"]
Dimension = Literal["route", "method", "status"]
KindName = Literal["request", "websocket", "use"]

EVENT_VALUES: Final = ("bytes_in", "bytes_out", "duration_us", "units")
TEXT_VALUES: Final = ("subject", "route", "method")
QUANTITY_PREFIX: Final = "quantities."
UNMATCHED: Final = "unmatched"
"""How a missing route or method is written in labels and filters."""

Total = int | list[int]
"""What has been added up: a number, or for ``latest`` [value, time_ms, event id]."""


class StatusRange(msgspec.Struct, frozen=True):
    """HTTP statuses from ``first`` to ``last``, both inclusive as in ``200-499``."""

    first: int
    last: int


class Where(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which events a meter takes; an empty tuple takes all."""

    route: Annotated[
        tuple[str, ...],
        Meta(
            description='Route templates, or patterns over them: `["/v1/*"]`. A'
            " request that no route took is `unmatched`."
        ),
    ] = ()
    method: Annotated[
        tuple[str, ...], Meta(description='HTTP methods: `["GET", "HEAD"]`.')
    ] = ()
    status: Annotated[
        tuple[StatusRange, ...],
        Meta(
            description='HTTP statuses, with both ends: `"200-499"`, `"200,304"`.',
            extra_json_schema={"type": "string"},
        ),
    ] = ()
    kind: Annotated[
        tuple[KindName, ...],
        Meta(
            description="`request`, `websocket`, or `use`: recorded outside of a"
            " request. A `count` meter takes the first two unless this is given."
        ),
    ] = ()


class Meter(msgspec.Struct, frozen=True, omit_defaults=True):
    """A named quantity with its aggregation."""

    name: Annotated[
        str,
        Meta(
            description="Letters, digits, `_`, `.` and `-`, at most 100; unique. Plans"
            " name it."
        ),
    ]
    aggregation: Annotated[
        Aggregation,
        Meta(
            description="How events add up: `count` them; the `sum`, the `max` or the"
            " `latest` of a value; or how many `unique` values there were."
        ),
    ]
    value: Annotated[
        str | None,
        Meta(
            description="What is taken of each event: `bytes_in`, `bytes_out`,"
            " `duration_us`, `units` (1, or what the app recorded as `units`), or"
            " `quantities.NAME`. A `unique` meter also takes `subject`, `route` or"
            " `method`. A `count` meter needs none; given one, it counts the events"
            " that have it. An event without the value does not count."
        ),
    ] = None
    where: Annotated[
        Where, Meta(description="Which events count; see `[meter.where]`.")
    ] = Where()
    group_by: Annotated[
        tuple[Dimension, ...],
        Meta(
            description='Add up apart by these, for prices by dimension: `["route"]`.'
        ),
    ] = ()

    def takes(self, *, kind: int, method: str, route: str, status: int) -> bool:
        """Say whether an event of this sort is measured."""
        where = self.where
        return (
            (not where.kind or Kind(kind).name.lower() in where.kind)
            and (not where.method or method in where.method)
            and (not where.route or any(fnmatchcase(route, p) for p in where.route))
            and (
                not where.status
                or any(r.first <= status <= r.last for r in where.status)
            )
        )

    def labels(self, *, method: str, route: str, status: int) -> str:
        """Return the group that an event falls into, as a JSON object."""
        values = {"route": route, "method": method, "status": str(status)}
        return msgspec.json.encode(
            {name: values[name] for name in self.group_by}
        ).decode()


def add(aggregation: Aggregation, one: Total, other: Total) -> Total:
    """Return two totals of disjoint events as one; ``unique`` has no such sum."""
    match aggregation:
        case "count" | "sum":
            assert isinstance(one, int)
            assert isinstance(other, int)
            return one + other
        case "max":
            return max(quantity(one), quantity(other))
        case "latest":
            assert isinstance(one, list)
            assert isinstance(other, list)
            return max(one, other, key=lambda total: (total[1], total[2]))
        case "unique":
            raise AssertionError("distinct values are counted, never added")
        case _:
            assert_never(aggregation)


def quantity(total: Total) -> int:
    """Return the billed number of a total."""
    return total if isinstance(total, int) else total[0]


Reader = Callable[[dict[str, Any]], int | str | None]
"""Takes a meter's value from the fields of an event; ``None`` where it has none."""


def reader(meter: Meter) -> Reader:
    """Return the function that takes the meter's value from an event's fields.

    The fields are the columns of the event by name; ``quantities`` is a mapping.
    """
    value = meter.value
    if value is None:
        return lambda _fields: 1
    if value.startswith(QUANTITY_PREFIX):
        name = value.removeprefix(QUANTITY_PREFIX)
        return lambda fields: fields["quantities"].get(name)
    if value == "units":
        return lambda fields: fields["quantities"].get("units", 1)
    return lambda fields: fields[value]


Mode = Literal["set", "delta"]

BILLABLE: Final[Mapping[Aggregation, tuple[Mode, ...]]] = {
    "count": ("set", "delta"),
    "sum": ("set", "delta"),
    "latest": ("set",),
}
"""How each aggregation can be told to Stripe by the hour.

Counts and sums of hours add up to those of a month. The latest value of an hour
replaces that of the hour before (a Stripe meter with formula ``last``), and a
difference of two such values means nothing. The maximum or the number of distinct
values of a month can not be had from those of its hours, so they are refused.
"""


def why_not_billable(aggregation: Aggregation, mode: Mode) -> str | None:
    """Say why Stripe can not be told hourly about such a meter, ``None`` if it can."""
    if aggregation not in BILLABLE:
        return (
            f"the {aggregation} of a month can not be had from that of its hours, so "
            "Stripe can not add it up; use count, sum or latest"
        )
    if mode not in BILLABLE[aggregation]:
        return 'a latest value is not a sum of changes; use stripe_mode = "set"'
    return None
