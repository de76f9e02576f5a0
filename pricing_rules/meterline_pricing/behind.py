"""What is charged for usage whose tiers go on behind what was used before it."""

from typing import NamedTuple

from meterline_pricing.charge import Charge, Charges, taken_back
from meterline_pricing.money import ZERO, currency_of, exact, money_text
from meterline_pricing.price import Price
from meterline_pricing.rating import rate
from meterline_pricing.usage import Group, Groups, Usage, parts_of, shaped


class Counted(NamedTuple):
    """What a price charges for, in the units that it prices, and what came before."""

    here: Usage
    """What is charged for; in which units does not matter where there is more before."""
    total: Usage
    """With what was used before it in the period."""
    before: Usage = ZERO


def rate_behind(
    price: Price,
    counted: Counted,
    *,
    currency: str | None = None,
    tier_usage: Usage | None = None,
) -> Charges:
    """Return what usage costs behind what was used before it.

    As if this price had charged for that. What is due at no usage at all, such as the
    amount of a ``capacity``, is no usage of before, and due here in full.

    Raises:
        PricingError: as ``rate``.
    """
    now = rate(price, counted.total, currency=currency, tier_usage=tier_usage)
    if not counted.before:
        return now
    past = rate(price, counted.before, currency=currency)
    with exact():
        here, before, total = (
            rate(price, _unused(usage)).amount
            for usage in (counted.here, counted.before, counted.total)
        )
        due = here + before - total  # of groups that are in both
        charges = now.charges + taken_back(past)
        if due:
            symbols = None if currency is None else currency_of(currency)
            charges += (Charge(due, f"{money_text(due, symbols)} due here as well"),)
        return Charges(now.amount - past.amount + due, charges)


def by_part(counted: Counted, by: tuple[str, ...]) -> list[Counted]:
    """Return what is charged for in parts, each with what was used before of it."""
    if not counted.before:
        parts = parts_of(counted.total, by)
        return [Counted(part.usage, part.usage) for part in parts]
    total, before = (
        {_key(part.values): part.usage for part in parts_of(usage, by)}
        for usage in (counted.total, counted.before)
    )
    return [
        Counted(part.usage, total[key], before.get(key, ZERO))
        for part in parts_of(counted.here, by)
        if (key := _key(part.values)) in total
    ]


def _key(values: dict[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(values.items())


def _unused(usage: Usage) -> Usage:
    """Return the groups of usage, with nothing used in any of them."""
    match shaped(usage):
        case Groups(groups):
            return Groups(tuple(Group(group.values, ZERO) for group in groups))
        case _:
            return ZERO
