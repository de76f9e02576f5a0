"""What Stripe's totals should be, by the rows that it was told. Pure."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.decimals import Number, in_units, minus, of_units, total_of
from meterline_sidecar.store.outbox import OutboxRow
from meterline_sidecar.stripe.comparison import HourDifference, Verdict
from meterline_sidecar.stripe.states import ON_THE_WAY

EXACT_MAX: Final = 9 * 10**15
"""Stripe's totals are floats, which hold every integer up to 2**53."""
TOLERANCE: Final = Decimal(2) ** -52
"""Above that they are equal when no float lies between the two."""


def is_equal(theirs: Decimal, ours: Number) -> bool:
    """Say whether Stripe's total, a float, is this number.

    Most fractions are no float, and adding up floats loses a little each time: of a
    number with digits behind its point, theirs may be off by less than half of the
    smallest unit. Then no other number with so many digits is nearer.
    """
    units, scale = in_units(ours)
    apart = Decimal(minus(theirs, ours)).copy_abs()
    if abs(units) >= EXACT_MAX or abs(theirs) >= EXACT_MAX:
        return apart <= abs(Decimal(ours)) * TOLERANCE
    return 2 * apart < Decimal(of_units(1, scale)) if scale else not apart


def verdict_on(theirs: Decimal, ours: Number) -> Verdict:
    """Return what one total says about the other."""
    if is_equal(theirs, ours):
        return "equal"
    return "missing" if theirs < ours else "extra"


def by_hour(rows: Sequence[OutboxRow]) -> dict[int, list[OutboxRow]]:
    """Return the parts of each hour, in the order of the rows."""
    hours: dict[int, list[OutboxRow]] = {}
    for row in rows:
        hours.setdefault(row.hour_ms, []).append(row)
    return hours


def hour_total(parts: Sequence[OutboxRow]) -> Number:
    """Return what an hour's parts amount to at Stripe, when all of them count.

    Rows that are on their way are left out: Stripe need not have them.
    """
    sent = [row for row in parts if row.state not in ON_THE_WAY]
    if not sent:
        return 0
    last = max(sent, key=lambda row: row.part)
    if last.mode == "set":
        return last.quantity
    return total_of(row.quantity for row in sent)


def expected(rows: Sequence[OutboxRow], formula: str) -> Number:
    """Return what Stripe should say about these rows."""
    hours = by_hour(rows)
    told = [
        hour_ms
        for hour_ms in sorted(hours)
        if any(row.state not in ON_THE_WAY for row in hours[hour_ms])
    ]
    if formula == "last":
        return hour_total(hours[told[-1]]) if told else 0
    return total_of(hour_total(hours[hour_ms]) for hour_ms in told)


def hour_differences(
    theirs: Mapping[int, Decimal], rows: Sequence[OutboxRow]
) -> list[HourDifference]:
    """Return the hours in which the two sides differ."""
    told = by_hour(rows)
    ours = {hour_ms: hour_total(parts) for hour_ms, parts in told.items()}
    return [
        HourDifference(
            hour=format_time_ms(hour_ms),
            ours=ours.get(hour_ms, 0),
            theirs=theirs.get(hour_ms, Decimal(0)),
            rows=tuple(row.id for row in told.get(hour_ms, ())),
        )
        for hour_ms in sorted(ours.keys() | theirs.keys())
        if not is_equal(theirs.get(hour_ms, Decimal(0)), ours.get(hour_ms, 0))
    ]
