"""Quantities that need pricing's precision: what a meter's readings come to.

Counts, sums, maxima and latest values are added up where the events are. These two
divide, or look across the edge of a period, and so belong here.
"""

from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct

from meterline_pricing.errors import PricingError
from meterline_pricing.money import exact
from meterline_pricing.numbers import Number, to_decimal, to_signed
from meterline_pricing.period import Period

Reading = tuple[int, Number]
"""An instant in UTC milliseconds, and a value."""


class Change(Struct, frozen=True):
    """How far a reading went since the last period."""

    before: Decimal
    after: Decimal
    quantity: Decimal
    """``after - before``; negative where it fell."""


def time_weighted_sum(
    changes: Iterable[Reading],
    period: Period,
    *,
    carried: Number = 0,
    unit_ms: int | None = None,
) -> Decimal:
    """Return the sum of a level that changes, weighted by how long it held.

    Ten seats for a whole period are 10, and for half of it 5. With ``unit_ms`` the
    weight is not the share of the period but the time in that unit: gigabyte-hours
    with ``unit_ms = 3_600_000``.

    Args:
        changes: instants and by how much the level rose (or fell, below 0), in any
            order. Those before the period count from its start; those at or after
            its end not at all.
        period: what is billed.
        carried: the level at the start of the period, beside ``changes``.
        unit_ms: what counts as one; the length of the period where it is ``None``.

    Raises:
        PricingError: a change that is no number, or a period without length.
    """
    length = period.end - period.start
    if length <= 0 or (unit_ms is not None and unit_ms <= 0):
        raise PricingError("expected a period, and a unit, of more than 0 ms")
    with exact():
        total = to_decimal(carried, "carried") * length
        for time_ms, change in changes:
            held = min(period.end - time_ms, length)
            if held > 0:
                total += to_signed(change, "change") * held
        return total / (length if unit_ms is None else unit_ms)


def latest_incremental(
    readings: Iterable[Reading],
    period: Period,
    *,
    before: Number = 0,
) -> Change:
    """Return how far the latest reading of a period is from the last period's.

    A gauge, or a counter that is never set back, is billed by this change:
    ``rate(price, change.quantity)`` at the price of the first units, or
    ``rate_between(price, change.before, change.after)`` at the tiers that the level
    went through.

    Args:
        readings: instants and levels, in any order; those outside the period are
            left out, and of two at one instant the later in this order counts.
        period: what is billed.
        before: the latest reading of the period before; also the answer where there
            is none in this one.

    Raises:
        PricingError: a reading that is no number, or below 0.
    """
    start = to_decimal(before, "before")
    latest, latest_ms = start, period.start
    for time_ms, value in readings:
        if time_ms in period and time_ms >= latest_ms:
            latest, latest_ms = to_decimal(value, "reading"), time_ms
    with exact():
        return Change(start, latest, latest - start)
