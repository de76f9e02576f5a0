"""Parts of a period: proration, and a plan that changes in the middle."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Final, Literal

from msgspec import Struct

from meterline_pricing.errors import PricingError
from meterline_pricing.invoice import Invoice, invoice
from meterline_pricing.money import Rounding, currency_of, exact, round_money
from meterline_pricing.numbers import Number, check_share, to_decimal
from meterline_pricing.period import Calendar, Period
from meterline_pricing.plan import Plan
from meterline_pricing.usage import Usage

By = Literal["day", "second", "none"]
DAY_MS: Final = 86_400_000


class PlanChange(Struct, frozen=True):
    """What a change of a fee in the middle of a period comes to."""

    credit: Decimal
    """Given back for the old fee's unused time: zero or negative, rounded."""
    charge: Decimal
    """Due for the new fee's time, rounded."""
    net: Decimal
    """Their sum: what is to be paid now, or to be given back where it is negative."""


class Stretch(Struct, frozen=True):
    """A part of a period in which one plan held, and what was used in it."""

    plan: Plan
    period: Period
    usage: dict[str, Usage]
    since: Mapping[int, Mapping[str, Usage]] = {}
    """By when an earlier stretch began, UTC ms: what was used from then to the end of
    this one, of meters whose usage of two times is not that of each added up, such as
    a highest value. Usage that is not here is added up. ``unbroken`` says from when."""
    levels: frozenset[str] = frozenset()
    """Those meters: their tiers always begin anew with a new price."""


def share_of(
    part: Period, whole: Period, *, by: By = "day", time_zone: str = "UTC"
) -> tuple[int, int] | None:
    """Return how much of ``whole`` lies in ``part``: ``(10, 31)`` days, or seconds.

    By day, the day on which a part begins belongs to it, and the day on which it
    ends to the next one, so that the parts of a period add up to all its days. A day
    that the zone skipped is none, nor is the end of the day before a period's first.

    Returns:
        ``None`` for all of it: nothing is prorated, as with ``by = "none"``.

    Raises:
        PricingError: ``part`` does not lie in ``whole``.
    """
    if not whole.start <= part.start < part.end <= whole.end:
        raise PricingError(f"{part} does not lie in {whole}")
    if by == "none" or (part.start, part.end) == (whole.start, whole.end):
        return None
    if by == "second":
        return part.end - part.start, whole.end - whole.start
    calendar = Calendar(time_zone=time_zone)
    start, end, last = (
        calendar.start_of(calendar.day(time_ms))
        for time_ms in (part.start, part.end, whole.end)
    )
    first = calendar.start_of(_first_day(whole, calendar))
    return _days(max(start, first), max(end, first)), _days(first, last)


def _first_day(whole: Period, calendar: Calendar) -> date:
    """Return the first day of a period: that of its name, if it begins the evening before.

    So it does where another zone held until then: in Los Angeles, a December that begins
    as November ends in UTC.
    """
    day = calendar.day(whole.start)
    following = day + timedelta(days=1)
    names = [f"{following}"]
    if following.day == 1:
        names.append(f"{following:%Y-%m}")
    is_evening = whole.start > calendar.start_of(day)
    return following if is_evening and whole.name in names else day


def _days(start: int, end: int) -> int:
    """Return how many days begin between two that begin; one that was skipped does not.

    Some have an hour more or less, or three.
    """
    return (end - start + DAY_MS // 2) // DAY_MS


def prorate(
    amount: Number,
    share: tuple[int, int],
    *,
    currency: str,
    rounding: Rounding = "half_up",
) -> Decimal:
    """Return the part of an amount that belongs to ``share`` of a period, rounded.

    Raises:
        PricingError: no share of a whole, such as (32, 31).
    """
    check_share(share)
    part, whole = share
    with exact():
        result = to_decimal(amount, "amount") * part / whole
        return round_money(result, currency_of(currency), rounding)


def change_fee(
    old: Number,
    new: Number,
    remaining: tuple[int, int],
    *,
    currency: str,
    rounding: Rounding = "half_up",
) -> PlanChange:
    """Return what it comes to when a fee that was paid in advance changes.

    The unused time of the old fee is given back and the same time of the new one
    charged; each side is rounded by itself, and then they are netted.

    Args:
        old: the fee for the whole period that was paid.
        new: the fee for a whole period from now on.
        remaining: what is left of the period, such as (10, 31) days.
        currency: of both fees.
        rounding: of each side.

    Raises:
        PricingError: an amount that is none, or no share of a whole.
    """
    given = prorate(old, remaining, currency=currency, rounding=rounding)
    due = prorate(new, remaining, currency=currency, rounding=rounding)
    with exact():
        return PlanChange(given.copy_negate() if given else given, due, due - given)


def invoice_stretches(
    stretches: Sequence[Stretch], period: Period, *, time_zone: str = "UTC"
) -> tuple[Invoice, ...]:
    """Return an invoice for each plan that held in a part of ``period``, in order.

    What was used in a stretch is charged at the plan that held then. Fees, limits
    and commitments are cut to the stretch's share of the period, as each plan says
    by ``prorate``; tiers and free units are not. The invoices' totals sum to what
    the customer owes for the period.

    Args:
        stretches: in the order of time, and together the whole period.
        period: the billing period.
        time_zone: where its days begin, for proration by day.

    Raises:
        PricingError: the stretches leave a gap, overlap, differ in currency, or hold
            usage that cannot be rated.
    """
    edges = [period.start]
    for stretch in stretches:
        if stretch.period.start != edges[-1]:
            raise PricingError(f"a gap or an overlap at {stretch.period.start} ms")
        edges.append(stretch.period.end)
    if edges[-1] != period.end:
        raise PricingError(f"the stretches end at {edges[-1]} ms, not {period.end} ms")
    if len({stretch.plan.currency for stretch in stretches}) > 1:
        raise PricingError("the plans differ in currency")
    return tuple(
        invoice(
            stretch.plan,
            stretch.usage,
            stretch.period,
            share=share_of(
                stretch.period,
                period,
                by=stretch.plan.prorate,
                time_zone=time_zone,
            ),
        )
        for stretch in stretches
    )
