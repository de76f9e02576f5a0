"""What a customer, or a subject that nobody pays for, used in a span of time."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from meterline_pricing import Period
from meterline_sidecar.decimals import Number, total_of
from meterline_sidecar.meters import (
    AGGREGATIONS,
    Aggregation,
    Meter,
    Total,
    aggregations_of,
    quantity,
)
from meterline_sidecar.store import usage as store
from meterline_sidecar.store.packed_days import NO_PACKS
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.counted import Counted
from meterline_sidecar.usage.summed import by_group

UNGROUPED: Final = "{}"
"""The group of a meter without dimensions."""
_labels: Final = msgspec.json.Decoder(dict[str, str])
UNASSIGNED_ROWS_MAX: Final = 10_000  # windows; what is beyond them is not shown


class GroupUsage(msgspec.Struct, frozen=True, gc=False):
    """Usage under one combination of a meter's dimensions."""

    labels: dict[str, str]
    quantity: Number


class MeterUsage(msgspec.Struct, frozen=True):
    """What a customer used of one meter."""

    meter: str
    aggregation: Aggregation
    quantity: Number
    groups: tuple[GroupUsage, ...] = ()
    """By dimension, for a meter with ``group_by``; else empty."""


class CustomerUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a customer used in a span of time."""

    customer: str
    period: Period
    meters: tuple[MeterUsage, ...]
    counted_up_to_event: int
    """Usage is a function of the events up to this one."""


class SubjectUsage(msgspec.Struct, frozen=True):
    """What a subject used that no customer pays for."""

    subject: str | None
    """``None``: requests that nobody could be named for."""
    meters: tuple[MeterUsage, ...]


async def usage_of(
    tx: Tx,
    at: Counted,
    meters: Sequence[Meter],
    *,
    customers: Sequence[str],
    period: Period,
) -> list[CustomerUsage]:
    """Return the usage of customers in the same span of time, each of every meter.

    Args:
        at: of this snapshot; see ``counted``.
    """
    span = {"start": period.start, "end": period.end}
    sums = await store.read_sums_of(tx, at.generation, customers=customers, **span)
    has_distinct = any(AGGREGATIONS[m.aggregation].is_distinct for m in meters)
    aggregations = aggregations_of(meters)
    found: list[CustomerUsage] = []
    for customer in customers:
        groups = by_group(aggregations, sums[customer])
        if has_distinct:
            for meter, labels, n_values in await store.count_unique(
                tx, at.generation, customer=customer, **span
            ):
                groups[meter][labels] = n_values
        found.append(
            CustomerUsage(
                customer=customer,
                period=period,
                meters=tuple(
                    meter_usage(meter.name, meter.aggregation, groups[meter.name])
                    for meter in meters
                ),
                counted_up_to_event=at.up_to_event,
            )
        )
    return found


async def unassigned_usage(
    tx: Tx, at: Counted, meters: Sequence[Meter], *, period: Period
) -> list[SubjectUsage]:
    """Return usage of subjects without a customer, in order of time.

    Args:
        at: of this snapshot; see ``counted``.
    """
    rows = await store.read_unassigned(
        tx,
        at.generation,
        start=period.start,
        end=period.end,
        limit=UNASSIGNED_ROWS_MAX,
    )
    by_subject: dict[str | None, list[store.UsageRow]] = defaultdict(list)
    for subject, row in rows:
        by_subject[subject].append(row)
    return [
        SubjectUsage(subject, tuple(_used(meters, windows)))
        for subject, windows in by_subject.items()
    ]


def _used(meters: Sequence[Meter], rows: list[store.UsageRow]) -> Iterable[MeterUsage]:
    """Return usage of the meters that were used at all."""
    sums = store.Sums([(row.labels, [row.totals]) for row in rows], NO_PACKS)
    groups = by_group(aggregations_of(meters), sums)
    return (
        meter_usage(meter.name, meter.aggregation, groups[meter.name])
        for meter in meters
        if meter.name in groups
    )


def meter_usage(
    meter: str, aggregation: Aggregation, groups: Mapping[str, Total]
) -> MeterUsage:
    """Return a meter's usage over all of its groups.

    ``max`` and ``latest`` of a grouped meter are billed as the sum over its groups:
    each group is a thing of its own, such as one seat count a region. Which groups
    there are is up to what the meter was when they were counted.
    """
    quantities = {labels: quantity(total) for labels, total in groups.items()}
    shown: tuple[GroupUsage, ...] = ()
    if any(labels != UNGROUPED for labels in quantities):
        shown = tuple(
            GroupUsage(_labels.decode(labels), quantities[labels])
            for labels in sorted(quantities)
        )
    return MeterUsage(meter, aggregation, total_of(quantities.values()), shown)
