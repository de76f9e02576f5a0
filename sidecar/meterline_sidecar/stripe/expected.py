"""What Stripe's totals should be, by the rows that it was told. Pure."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from meterline_sidecar.store.outbox import OutboxRow
from meterline_sidecar.stripe.comparison import Verdict
from meterline_sidecar.stripe.states import ON_THE_WAY

EXACT_MAX: Final = 9 * 10**15
"""Stripe's totals are floats, which hold every integer up to 2**53."""
TOLERANCE: Final = Decimal(2) ** -52
"""Above that they are equal when no float lies between the two."""


def is_equal(theirs: Decimal, ours: int) -> bool:
    """Say whether Stripe's total, a float, is this number."""
    if abs(theirs) < EXACT_MAX and abs(ours) < EXACT_MAX:
        return theirs == ours
    return abs(theirs - ours) <= abs(ours) * TOLERANCE


def verdict_on(theirs: Decimal, ours: int) -> Verdict:
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


def hour_total(parts: Sequence[OutboxRow]) -> int:
    """Return what an hour's parts amount to at Stripe, when all of them count.

    Rows that are on their way are left out: Stripe need not have them.
    """
    sent = [row for row in parts if row.state not in ON_THE_WAY]
    if not sent:
        return 0
    last = max(sent, key=lambda row: row.part)
    return last.value if last.mode == "set" else sum(row.value for row in sent)


def expected(rows: Sequence[OutboxRow], formula: str) -> int:
    """Return what Stripe should say about these rows."""
    hours = by_hour(rows)
    told = [
        hour_ms
        for hour_ms in sorted(hours)
        if any(row.state not in ON_THE_WAY for row in hours[hour_ms])
    ]
    if formula == "last":
        return hour_total(hours[told[-1]]) if told else 0
    return sum(hour_total(hours[hour_ms]) for hour_ms in told)
