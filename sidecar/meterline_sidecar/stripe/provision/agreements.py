"""Names what is agreed beside prices, and Stripe would not know of. Pure.

Stripe bills a subscription to prices, and to nothing else of ours: whatever a plan or a
customer has beside them changes our invoice and not Stripe's.
"""

from collections.abc import Container, Iterable, Iterator
from typing import Any, Final

from meterline_pricing import Plan, RateCard
from meterline_sidecar.stripe.provision.prices import NotSayable, price_fields

PLAN_TERMS: Final = (
    *("minimum_spend", "maximum_spend", "commitment"),
    *("discounts", "coupons", "credits", "taxes"),
)
WRITTEN: Final = {
    "discounts": "[[plan.discount]]",
    "coupons": "[[plan.coupon]]",
    "credits": "[[plan.credit]]",
    "taxes": "[[plan.tax]]",
}
"""How ``pricing.toml`` writes what the plan has under another name."""
LOOKUP_KEY_CHARS_MAX: Final = 200
"""Source: stripe-python 16.1.0, Price.lookup_key, read 2026-11-28."""
ROUNDING: Final = "half_up"
"""How Stripe rounds the amount of an invoice line.

Source: docs.stripe.com/billing/subscriptions/usage-based/pricing-models, read 2026-05-05.
"""


def plan_problems(plan: Plan) -> Iterator[str]:
    """Yield what a plan has beside its prices, by the name that it is written with."""
    for name in PLAN_TERMS:
        # Not by its truth: a maximum of 0 bills nothing, and Stripe would.
        if getattr(plan, name) not in (None, ()):
            yield (
                f"plan {plan.name}: Stripe's prices have no `{WRITTEN.get(name, name)}`"
                " of a plan"
            )
    if plan.rounding != ROUNDING:
        yield f"plan {plan.name}: Stripe's prices have no `rounding = {plan.rounding}`"


def override_problems(
    plan: Plan, own: Plan, *, customer: str, meters: Container[str]
) -> Iterator[str]:
    """Yield in what ``own``, the plan as a customer has it, costs something else.

    Args:
        meters: those that Stripe prices.
    """
    of = f"plan {plan.name}, customer {customer}: Stripe's prices have no"
    for name in (*PLAN_TERMS, "trial_days"):
        if getattr(own, name) != getattr(plan, name):
            yield f"{of} `{name}` in an [[override]]"
    cards = {card.name: card for card in plan.prices}
    for card in own.prices:
        is_priced = card.meter is None or card.meter in meters
        former = cards.get(card.name)
        if is_priced and not (former and _is_same(former, card, plan.currency)):
            yield f"{of} other price `{card.name}` in an [[override]]"


def repeated_keys(keys: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the prices that would share a lookup key with another one.

    Args:
        keys: the lookup key of each price, and what we call the price.
    """
    seen: dict[str, str] = {}
    for key, what in keys:
        if key in seen:
            yield (
                f"{what}: its lookup key {key} is that of {seen[key]}: rename one of"
                " the two"
            )
        seen.setdefault(key, what)


def long_keys(keys: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the prices whose lookup key is longer than Stripe takes, as above."""
    for key, what in keys:
        if len(key) > LOOKUP_KEY_CHARS_MAX:
            yield (
                f"{what}: its lookup key {key[:40]}... has {len(key)} characters, and"
                f" Stripe takes {LOOKUP_KEY_CHARS_MAX}: give the plan or the price a"
                " shorter name"
            )


def _is_same(former: RateCard, card: RateCard, currency: str) -> bool:
    """Say whether Stripe would charge the same for both."""
    if former.meter != card.meter:
        return False
    return _said(former, currency) == _said(card, currency)


def _said(card: RateCard, currency: str) -> dict[str, Any] | RateCard:
    """Return the price in Stripe's words, or itself where those have none."""
    try:
        return price_fields(card, currency)
    except NotSayable:
        return card
