"""Plans that hold one after the other in a period, as one where no price knows better."""

from collections.abc import Iterable
from typing import Any, Final

from msgspec.structs import replace

from meterline_pricing.plan import Plan, beside_prices, repeated
from meterline_pricing.terms import Coupon, Discount, Tax

_OF_ALL: Final = (
    *("currency", "rounding", "order", "prorate"),
    *("minimum_spend", "maximum_spend", "commitment"),
)
"""What belongs to a plan as a whole."""
_TERMS: Final = ("discounts", "coupons", "taxes")
"""What is for some prices, or for all. Credits are not: each pays for what is charged
while a plan has it."""


def united(before: Plan, after: Plan) -> Plan | None:
    """Return the later one of two plans with the prices and the terms of both.

    ``None``: one of them has something else for all prices, or for a price that both
    have, or another price for a meter. So an add-on that comes or goes with taxes or
    discounts of its own leaves what is charged beside it alone.
    """
    if _differ(before, after, _OF_ALL):
        return None
    if not _differ(before, after, _TERMS):
        return after
    names = {card.name for card in after.prices}
    cards = (*after.prices, *(c for c in before.prices if c.name not in names))
    if repeated(cards):
        return None
    terms: dict[str, Any] = {}
    for field in _TERMS:
        terms[field] = both = _both(before, after, field)
        if any(
            _seen(getattr(plan, field), place) != _seen(both, place)
            for plan in (before, after)
            for place in _places(plan)
        ):
            return None
    return replace(after, prices=cards, tests=(), **terms)


def _differ(before: Plan, after: Plan, fields: Iterable[str]) -> bool:
    return any(getattr(before, field) != getattr(after, field) for field in fields)


def _places(plan: Plan) -> tuple[str, ...]:
    """Return what terms of a plan may be for: its prices, and what is of none."""
    return (*(card.name for card in plan.prices), *beside_prices(plan))


def _both(before: Plan, after: Plan, field: str) -> tuple[Discount | Coupon | Tax, ...]:
    """Return the terms of both plans; one of the same name is for the prices of both."""
    if not _differ(before, after, [field]):
        return tuple(getattr(after, field))
    found: dict[str, Discount | Coupon | Tax] = {}
    for plan in (before, after):
        for term in getattr(plan, field):
            known = found.get(term.name)
            on = term.on or _places(plan)
            if known is not None:
                on = tuple(dict.fromkeys((*known.on, *on)))
            found[term.name] = replace(term, on=on)
    return tuple(found.values())


def _seen(
    terms: Iterable[Discount | Coupon | Tax], place: str
) -> list[Discount | Coupon | Tax]:
    """Return the terms that a price has, whatever else they are for."""
    return [replace(t, on=()) for t in terms if not t.on or place in t.on]
