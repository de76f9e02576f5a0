"""Says a price in Stripe's words, or why those have none for it. Pure."""

import hashlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from meterline_pricing import Plan, Price, PricingError, RateCard
from meterline_pricing.models import (
    Conversion,
    Flat,
    Graduated,
    Package,
    PerUnit,
    Tier,
    Volume,
)
from meterline_pricing.tools import stripe_amount

PLACES_MAX: Final = 12
"""Source: x-maxDecimals of unit_amount_decimal in Stripe's OpenAPI, read 2026-05-05."""


INTERVALS: Final[Mapping[str, Mapping[str, object]]] = {
    "day": {"interval": "day"},
    "week": {"interval": "week"},
    "month": {"interval": "month"},
    "quarter": {"interval": "month", "interval_count": 3},
    "year": {"interval": "year"},
}
"""A plan's period, as Stripe says it.

Source: docs.stripe.com/api/prices/create, read 2026-11-26."""
TRIAL_DAYS_MAX: Final = 730
"""Of a trial at Stripe. Source: as above."""
CARD_TERMS: Final = ("discounts", "minimum_spend", "maximum_spend", "commitment")


class NotSayable(Exception):
    """Stripe's prices have no words for this; the text says for what."""


def price_fields(card: RateCard, currency: str) -> dict[str, Any]:
    """Return the fields of a Stripe price that charges what ``card`` does.

    Without what names it: product, lookup key, meter.

    Raises:
        NotSayable: Stripe would charge something else.
    """
    if (extra := _extra(card)) is not None:
        raise NotSayable(extra)
    fields = _model_fields(card, currency)
    return {"currency": currency, **fields}


def recurring_fields(plan: Plan) -> dict[str, Any]:
    """Return how often a plan's prices are due, and what trial comes before.

    Empty for each month without one: what a digest said of such prices stays.

    Raises:
        NotSayable: the trial is longer than Stripe's.
    """
    recurring = dict(INTERVALS[plan.period])
    if plan.trial_days is not None:
        if plan.trial_days > TRIAL_DAYS_MAX:
            raise NotSayable(f"`trial_days` above {TRIAL_DAYS_MAX}")
        if plan.trial_days:
            recurring["trial_period_days"] = plan.trial_days
    return {} if recurring == INTERVALS["month"] else {"recurring": recurring}


def _extra(card: RateCard) -> str | None:
    """Return what a price has beside its model, ``None`` if it has nothing."""
    for name in CARD_TERMS:
        # Not by its truth: a maximum of 0 bills nothing, and Stripe would.
        if getattr(card, name) not in (None, ()):
            return f"`{name}` of a price"
    return None


def content_hash(fields: dict[str, Any], event_name: str | None) -> str:
    """Return a digest of what a price charges; the same for the same charge."""
    text = msgspec.json.encode([fields, event_name], order="deterministic")
    return hashlib.sha256(text).hexdigest()[:32]


def known_fields(price: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return these fields of a price at Stripe, as ``price_fields`` would say them."""
    found = {name: price[name] for name in names if price.get(name) is not None}
    if "tiers" in found:
        found["tiers"] = [_said_tier(tier) for tier in found["tiers"]]
    return found


def _said_tier(tier: dict[str, Any]) -> dict[str, Any]:
    said = {"up_to": tier.get("up_to") or "inf"}
    for name in ("unit_amount_decimal", "flat_amount"):
        if tier.get(name):
            said[name] = tier[name]
    return said


def _model_fields(card: RateCard, currency: str) -> dict[str, Any]:
    price: Price = card.price
    free = card.free_units
    match price:
        case Flat():
            return {"unit_amount": _whole(price.amount, currency)}
        case PerUnit() if free:
            _need_plain(card.convert)
            last = Tier(unit_amount=price.unit_amount)
            return _tiered("graduated", (Tier(up_to=free), last), currency)
        case PerUnit():
            return _per_unit(price, card.convert, currency)
        case Graduated() | Volume():
            _need_plain(card.convert)
            if free:
                raise NotSayable("`free_units` before tiers")
            if price.flat_at_zero:
                raise NotSayable("`flat_at_zero`")
            if price.also_reads is not None:
                raise NotSayable("`tier_by`")
            if any(tier.maximum is not None for tier in price.tiers):
                raise NotSayable("`maximum` of a tier")
            mode = "graduated" if isinstance(price, Graduated) else "volume"
            return _tiered(mode, price.tiers, currency)
        case Package():
            _need_plain(card.convert)
            if free or price.free_units:
                raise NotSayable("`free_units` before packages")
            return {
                "billing_scheme": "per_unit",
                "unit_amount_decimal": _minor(price.amount, currency),
                "transform_quantity": {
                    "divide_by": _integer(price.size, "the size of a package"),
                    "round": price.round,
                },
            }
        case _:
            raise NotSayable(f"the model `{price.model}`")


def _per_unit(price: PerUnit, convert: Conversion, currency: str) -> dict[str, Any]:
    amount = price.unit_amount
    fields: dict[str, Any] = {"billing_scheme": "per_unit"}
    if convert.times != 1 or convert.precision:
        raise NotSayable("`convert` with `times` or `precision`")
    if convert.per != 1 and convert.round in ("up", "down"):
        fields["transform_quantity"] = {
            "divide_by": _integer(convert.per, "`convert.per`"),
            "round": convert.round,
        }
    elif convert.per != 1 and convert.round == "none":
        amount = amount / convert.per
        if amount * convert.per != price.unit_amount:
            raise NotSayable("`convert.per` that leaves an endless fraction")
    elif convert.round != "none":
        raise NotSayable(f"`convert.round = {convert.round}`")
    return {**fields, "unit_amount_decimal": _minor(amount, currency)}


def _tiered(mode: str, tiers: tuple[Tier, ...], currency: str) -> dict[str, Any]:
    said: list[dict[str, Any]] = []
    for tier in tiers:
        entry: dict[str, Any] = {
            "up_to": "inf"
            if tier.up_to is None
            else _integer(tier.up_to, "the bound of a tier"),
            "unit_amount_decimal": _minor(tier.unit_amount, currency),
        }
        if tier.flat_amount:
            entry["flat_amount"] = _whole(tier.flat_amount, currency)
        said.append(entry)
    return {"billing_scheme": "tiered", "tiers_mode": mode, "tiers": said}


def _need_plain(convert: Conversion) -> None:
    if convert != Conversion():
        raise NotSayable("`convert` with this model")


def _minor(amount: Decimal, currency: str) -> str:
    """Return an amount in minor units, as plain decimal text."""
    minor = amount * stripe_amount(Decimal(1), currency)
    text = format(minor, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    if len(text.partition(".")[2]) > PLACES_MAX:
        raise NotSayable(
            f"{amount} {currency}: more than 12 decimals of the minor unit"
        )
    return text


def _whole(amount: Decimal, currency: str) -> int:
    try:
        return stripe_amount(amount, currency)
    except PricingError as error:
        raise NotSayable(f"{amount} {currency}: no whole minor unit") from error


def _integer(number: Decimal, what: str) -> int:
    if number != int(number):
        raise NotSayable(f"{what} that is no integer ({number})")
    return int(number)
