"""What a quantity costs under a price: one function for each model, one ``match``."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import assert_never

from msgspec import Struct

from meterline_pricing.money import (
    ZERO,
    Currency,
    currency_of,
    exact,
    money_text,
    number_text,
)
from meterline_pricing.price import (
    Flat,
    Graduated,
    Package,
    PerUnit,
    Price,
    Tier,
    Volume,
)
from meterline_pricing.usage import Usage, quantity_of


class Charge(Struct, frozen=True):
    """Part of what is charged, before rounding."""

    amount: Decimal
    explanation: str
    """How it came about, without the amount itself: ``70,000 x $0.001``."""
    quantity: Decimal | None = None
    """The units, packages or steps that ``unit_amount`` was taken for, if any."""
    unit_amount: Decimal | None = None
    tier: int | None = None
    """Which tier of the price this is, from 1, where it has tiers."""


class Charges(Struct, frozen=True):
    """What a quantity costs: the charges, whose sum is the amount, not yet rounded."""

    amount: Decimal
    charges: tuple[Charge, ...]

    @property
    def explanation(self) -> str:
        """The charges in words: ``50,000 x $0.00 + 70,000 x $0.001``."""
        return " + ".join(charge.explanation for charge in self.charges)


def rate(price: Price, usage: Usage, *, currency: str | None = None) -> Charges:
    """Return what ``usage`` costs under ``price``, exactly and unrounded.

    The charges stand in the order of the tiers; there is always at least one.

    Args:
        price: one of the models of ``price.py``.
        usage: a quantity of 0 or more, or one of the shapes of ``usage.py``.
        currency: only for the explanations, which have bare numbers without it.

    Raises:
        PricingError: the usage is no number, below 0, or not of the shape that this
            price needs.
    """
    symbols = None if currency is None else currency_of(currency)
    with exact():
        charges = _charges(price, usage, symbols)
        return Charges(sum((charge.amount for charge in charges), ZERO), charges)


def _charges(
    price: Price, usage: Usage, currency: Currency | None
) -> tuple[Charge, ...]:
    match price:
        case Flat(amount):
            return (_flat(amount, currency),)
        case PerUnit(unit_amount):
            return (_units(quantity_of(usage), unit_amount, currency),)
        case Graduated():
            return _graduated(price, quantity_of(usage), currency)
        case Volume():
            return _volume(price, quantity_of(usage), currency)
        case Package():
            return (_package(price, quantity_of(usage), currency),)
        case _:
            assert_never(price)


def _flat(
    amount: Decimal, currency: Currency | None, tier: int | None = None
) -> Charge:
    return Charge(amount, f"{money_text(amount, currency)} flat", tier=tier)


def _units(
    quantity: Decimal,
    unit_amount: Decimal,
    currency: Currency | None,
    tier: int | None = None,
) -> Charge:
    text = f"{number_text(quantity)} x {money_text(unit_amount, currency)}"
    return Charge(quantity * unit_amount, text, quantity, unit_amount, tier)


def _graduated(
    price: Graduated, quantity: Decimal, currency: Currency | None
) -> tuple[Charge, ...]:
    """Each unit in its own tier; a tier is entered above the bound of the last."""
    charges: list[Charge] = []
    lower = ZERO
    for i, tier in enumerate(price.tiers, start=1):
        is_entered = quantity > lower
        if not is_entered and i > 1:
            break
        upper = quantity if tier.up_to is None else min(quantity, tier.up_to)
        charges.append(_units(upper - lower, tier.unit_amount, currency, i))
        if tier.flat_amount and (is_entered or price.flat_at_zero):
            charges.append(_flat(tier.flat_amount, currency, i))
        lower = upper
        if tier.up_to is not None:
            lower = tier.up_to
    return tuple(charges)


def _volume(
    price: Volume, quantity: Decimal, currency: Currency | None
) -> tuple[Charge, ...]:
    """All units in the tier that the whole quantity reaches."""
    i, tier = _tier_reached(price.tiers, quantity)
    charges = [_units(quantity, tier.unit_amount, currency, i)]
    if tier.flat_amount and (quantity > 0 or price.flat_at_zero):
        charges.append(_flat(tier.flat_amount, currency, i))
    return tuple(charges)


def _tier_reached(tiers: tuple[Tier, ...], quantity: Decimal) -> tuple[int, Tier]:
    """Return the number, from 1, and the tier that ``quantity`` falls into."""
    for i, tier in enumerate(tiers, start=1):
        if tier.up_to is None or quantity <= tier.up_to:
            return i, tier
    raise AssertionError("the last tier has no bound")


def _package(price: Package, quantity: Decimal, currency: Currency | None) -> Charge:
    """Whole packages of what is left after the free units."""
    paid = max(quantity - price.free_units, ZERO)
    mode = ROUND_CEILING if price.round == "up" else ROUND_FLOOR
    packages = (paid / price.size).to_integral_value(mode)
    text = (
        f"{number_text(packages)} x {money_text(price.amount, currency)} "
        f"per {number_text(price.size)}"
    )
    return Charge(packages * price.amount, text, packages, price.amount)
