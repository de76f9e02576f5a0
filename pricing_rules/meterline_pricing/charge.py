"""What rating gives: charges that explain themselves, and how they are worded."""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from meterline_pricing.money import Currency, money_text, number_text

_PERCENT: Final = re.compile(r"([\d.,]+)% of [^\d-]?([\d.,]+)( [A-Z]{3})?")


class Charge(Struct, frozen=True):
    """Part of what is charged, before rounding."""

    amount: Decimal
    explanation: str
    """How it came about, without the amount itself: ``70,000 x $0.001``."""
    quantity: Decimal | None = None
    """The units, packages, blocks or events that were counted, if any."""
    unit_amount: Decimal | None = None
    """What each of them costs, if they all cost the same."""
    tier: int | None = None
    """Which tier of the price this is, from 1, where it has tiers."""


class Charges(Struct, frozen=True):
    """What usage costs: the charges, and their sum, not yet rounded."""

    amount: Decimal
    charges: tuple[Charge, ...]

    @property
    def explanation(self) -> str:
        """The charges in words: ``50,000 x $0.00 + 70,000 x $0.001``."""
        return explained(self.charges)


def taken_back(charges: Charges) -> tuple[Charge, ...]:
    """Return what takes charges back that something else was charged by before."""
    return tuple(
        replace(
            charge,
            amount=-charge.amount,
            explanation=f"- {charge.explanation} before",
        )
        for charge in charges.charges
    )


def explained(charges: Iterable[Charge]) -> str:
    """Return some charges in words, joined by their signs."""
    text = " + ".join(charge.explanation for charge in charges)
    return text.replace(" + - ", " - ")


def flat_charge(
    amount: Decimal, currency: Currency | None, tier: int | None = None
) -> Charge:
    """Return the charge of an amount that is due whatever was used."""
    return Charge(amount, f"{money_text(amount, currency)} flat", tier=tier)


def units_charge(
    quantity: Decimal,
    unit_amount: Decimal,
    currency: Currency | None,
    tier: int | None = None,
) -> Charge:
    """Return the charge of units at one price each."""
    text = f"{number_text(quantity)} x {money_text(unit_amount, currency)}"
    return Charge(quantity * unit_amount, text, quantity, unit_amount, tier)


def blocks_charge(
    blocks: Decimal,
    size: Decimal,
    amount: Decimal,
    currency: Currency | None,
    tier: int | None = None,
) -> Charge:
    """Return the charge of whole blocks of ``size`` units at ``amount`` each."""
    text = f"{number_text(blocks)} x {money_text(amount, currency)}"
    text += f" per {number_text(size)}"
    return Charge(blocks * amount, text, blocks, amount, tier)


def percent_charge(
    amount: Decimal, rate: Decimal, currency: Currency | None, tier: int | None = None
) -> Charge:
    """Return the charge of ``rate`` percent of an amount."""
    text = f"{number_text(rate)}% of {money_text(amount, currency)}"
    return Charge(amount * rate / 100, text, tier=tier)


def rate_and_base(charge: Charge) -> tuple[Decimal, Decimal] | None:
    """Return the percentage of a charge, and the amount it is of, as it says itself.

    ``None``: it is none of ``percent_charge``.
    """
    found = _PERCENT.fullmatch(charge.explanation)
    if found is None:
        return None
    percent, amount = (Decimal(text.replace(",", "")) for text in found.group(1, 2))
    return percent, amount
