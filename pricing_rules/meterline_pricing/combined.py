"""Several plans that a customer has at one time, as one plan: their add-ons."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from meterline_pricing.errors import PricingError
from meterline_pricing.plan import SCOPED, Plan, RateCard, beside_prices
from meterline_pricing.terms import Coupon, Credit, Discount, Tax
from meterline_pricing.told_apart import BETWEEN, FIELDS, Own, called

SHARED: Final = (
    *("currency", "period", "rounding", "order", "prorate", "tiers_on_change"),
)
"""What an invoice has one of, and so plans must have alike to be on it."""
OF_THE_FIRST: Final = ("minimum_spend", "maximum_spend", "commitment")
"""What is for all prices together: only the first plan may have it."""


def combined(plans: Sequence[Plan], before: Iterable[Sequence[Plan]] = ()) -> Plan:
    """Return plans that hold at one time as one, with all their prices.

    What a plan has beside its prices is for its own prices, but for taxes that all
    have alike, and what the first one has for all of them together; what is missing
    from a minimum of it is taxed and discounted as its prices are. Names that two of
    them have are told apart, and stay so: see ``called``.

    Args:
        plans: the first one is what the others come on top of.
        before: what the same customer held before, one time after the other.

    Raises:
        PricingError: they do not fit each other; names the plans, and in what.
    """
    first, *others = plans
    for other in others:
        _check(first, other)
    _check_meters(plans)
    names = called([*before, plans])
    held = [_renamed(plan, names) for plan in plans]
    if not others:
        return held[0]
    texts = _firsts((plan, card.description) for plan in plans for card in plan.prices)
    cards = tuple(
        _told_apart(plan, card, texts) for plan in held for card in plan.prices
    )
    terms: dict[str, Any] = {field: _terms(held, field) for field in SCOPED}
    terms["credits"] = tuple(_granted(terms["credits"]))
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


def _renamed(plan: Plan, names: Mapping[Own, str]) -> Plan:
    """Return a plan with its prices and terms called as they are known."""
    owns = [
        Own(field, plan.name, one.name)
        for field in FIELDS
        for one in getattr(plan, field)
    ]
    if all(names[own] == own.name for own in owns):
        return plan
    of = {own.name: names[own] for own in owns if own.field == "prices"}
    fields: dict[str, Any] = {
        field: tuple(
            replace(one, name=names.get(Own(field, plan.name, one.name), one.name))
            for one in getattr(plan, field)
        )
        for field in (*FIELDS, "taxes")
    }
    for field in SCOPED:
        fields[field] = tuple(
            replace(term, on=tuple(of.get(name, name) for name in term.on))
            for term in fields[field]
        )
    return replace(plan, **fields)


def _told_apart(plan: Plan, card: RateCard, texts: Mapping[str, str]) -> RateCard:
    text = card.description
    if texts[text] != plan.name:
        text = f"{text} ({plan.name})"
    return replace(card, description=text)


def _terms(
    plans: Sequence[Plan], field: str
) -> tuple[Discount | Coupon | Credit | Tax, ...]:
    """Return the terms of all plans, each for the prices of its own."""
    taxes = plans[0].taxes
    if field == "taxes" and all(
        plan.taxes == taxes and not any(tax.on for tax in plan.taxes) for plan in plans
    ):
        return taxes
    firsts = _firsts((plan, tax.name) for plan in plans for tax in plan.taxes)
    return tuple(
        replace(
            term,
            name=f"{term.name} ({plan.name})"
            if field == "taxes" and firsts[term.name] != plan.name
            else term.name,
            on=term.on or own,
        )
        for plan in plans
        if (own := (*(card.name for card in plan.prices), *beside_prices(plan)))
        for term in getattr(plan, field)
    )


def _granted(credits_: Iterable[Credit]) -> Iterator[Credit]:
    """Yield credits; those that are one grant, as one for the prices of both."""
    of: dict[tuple[str, str], list[Credit]] = {}
    for i, credit in enumerate(credits_):
        key = "" if credit.every == "once" else str(i)
        of.setdefault((credit.name, key), []).append(credit)
    for first, *others in of.values():
        one = first
        for other in others:
            starts, expires = (one.starts, other.starts), (one.expires, other.expires)
            one = replace(
                one,
                amount=max(one.amount, other.amount),
                on=(*one.on, *other.on),
                starts=min(day for day in starts if day) if all(starts) else None,
                expires=max(day for day in expires if day) if all(expires) else None,
            )
        yield one
