"""Several plans that a customer has at one time, as one plan: their add-ons."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from meterline_pricing.errors import PricingError
from meterline_pricing.plan import SCOPED, Plan, RateCard, beside_prices
from meterline_pricing.terms import Coupon, Credit, Discount, Tax

SHARED: Final = (
    *("currency", "period", "rounding", "order", "prorate", "tiers_on_change"),
)
"""What an invoice has one of, and so plans must have alike to be on it."""
BETWEEN: Final = " + "
OF_THE_FIRST: Final = ("minimum_spend", "maximum_spend", "commitment")
"""What is for all prices together: only the first plan may have it."""


def combined(plans: Sequence[Plan]) -> Plan:
    """Return plans that hold at one time as one, with all their prices.

    What a plan has beside its prices is for its own prices, but for taxes that all
    have alike, and what the first one has for all of them together; what is missing
    from a minimum of it is taxed and discounted as its prices are. Of a name that two of
    them have the first one keeps it, so that what it charges is the same with others
    beside it; what the others have is told apart by the plan's name.

    Args:
        plans: the first one is what the others come on top of.

    Raises:
        PricingError: they do not fit each other; names the plans, and in what.
    """
    first, *others = plans
    if not others:
        return first
    for other in others:
        _check(first, other)
    _check_meters(plans)
    names = _firsts((plan, card.name) for plan in plans for card in plan.prices)
    texts = _firsts((plan, card.description) for plan in plans for card in plan.prices)
    renamed = [_names(plan, names) for plan in plans]
    cards = tuple(
        _told_apart(plan, card, renamed[i][card.name], texts)
        for i, plan in enumerate(plans)
        for card in plan.prices
    )
    terms: dict[str, Any] = {field: _terms(plans, field, renamed) for field in SCOPED}
    return replace(
        first,
        name=BETWEEN.join(plan.name for plan in plans),
        prices=cards,
        tests=(),
        **terms,
    )


def names_in(name: str) -> list[str]:
    """Return the names of the plans that a name of ``combined`` ones is made of."""
    return name.split(BETWEEN)


def _check(first: Plan, other: Plan) -> None:
    both = f"plans `{first.name}` and `{other.name}` cannot hold at one time"
    for field in SHARED:
        one, another = getattr(first, field), getattr(other, field)
        if one != another:
            values = f" ({one} and {another})" if isinstance(one, str) else ""
            raise PricingError(f"{both}: they differ in `{field}`{values}")
    for field in OF_THE_FIRST:
        if getattr(other, field) is not None:
            raise PricingError(
                f"{both}: `{other.name}` has a `{field}` of its own, which is for all"
                " prices together; give it to the first plan, or to a price"
            )


def _check_meters(plans: Sequence[Plan]) -> None:
    owners: dict[str, str] = {}
    for plan in plans:
        for card in plan.prices:
            if card.meter is None:
                continue
            owner = owners.setdefault(card.meter, plan.name)
            if owner != plan.name:
                raise PricingError(
                    f"plans `{owner}` and `{plan.name}` cannot hold at one time: both"
                    f" have a price for the meter `{card.meter}`"
                )


def _firsts(names: Iterable[tuple[Plan, str]]) -> Mapping[str, str]:
    """Return by name which plan is the first to have it."""
    found: dict[str, str] = {}
    for plan, name in names:
        found.setdefault(name, plan.name)
    return found


def _names(plan: Plan, firsts: Mapping[str, str]) -> Mapping[str, str]:
    """Return what the prices of a plan are called beside those of others."""
    return {
        card.name: card.name
        if firsts[card.name] == plan.name
        else f"{plan.name}: {card.name}"
        for card in plan.prices
    }


def _told_apart(
    plan: Plan, card: RateCard, name: str, firsts: Mapping[str, str]
) -> RateCard:
    text = card.description
    if firsts[text] != plan.name:
        text = f"{text} ({plan.name})"
    return replace(card, name=name, description=text)


def _terms(
    plans: Sequence[Plan], field: str, renamed: Sequence[Mapping[str, str]]
) -> tuple[Discount | Coupon | Credit | Tax, ...]:
    """Return the terms of all plans, each for the prices of its own."""
    taxes = plans[0].taxes
    if field == "taxes" and all(
        plan.taxes == taxes and not any(tax.on for tax in plan.taxes) for plan in plans
    ):
        return taxes
    # What was used of a credit is known by its name.
    firsts = _firsts(
        (plan, term.name) for plan in plans for term in getattr(plan, field)
    )
    return tuple(
        replace(
            term,
            name=term.name
            if firsts[term.name] == plan.name
            else f"{term.name} ({plan.name})",
            on=tuple(of[name] for name in term.on) or own,
        )
        for plan, of in zip(plans, renamed, strict=True)
        if (own := (*of.values(), *beside_prices(plan)))
        for term in getattr(plan, field)
    )
