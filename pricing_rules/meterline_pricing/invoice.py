"""An invoice: every price of a plan applied to what was used, line by line."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from meterline_pricing.errors import PricingError
from meterline_pricing.money import ZERO, currency_of, exact, money_text, round_money
from meterline_pricing.period import Period
from meterline_pricing.plan import Plan, RateCard
from meterline_pricing.rating import Charge, rate
from meterline_pricing.usage import Usage, quantity_of

Kind = Literal["usage", "fee"]


class Line(Struct, frozen=True, kw_only=True):
    """What is billed: the sum of its charges, rounded once."""

    kind: Kind
    """``usage`` of a meter, or a ``fee`` that needs none."""
    name: str
    """The rate card's name."""
    description: str
    meter: str | None
    quantity: Decimal | None
    """The units that were used; ``None`` for a fee."""
    charges: tuple[Charge, ...]
    amount: Decimal
    explanation: str
    """``50,000 x $0.00 + 70,000 x $0.001 = $70.00``."""


class Invoice(Struct, frozen=True, kw_only=True):
    """What a customer owes for a period under one version of a plan."""

    plan: str
    version: int
    currency: str
    period: Period | None
    lines: tuple[Line, ...]
    total: Decimal
    """The sum of the lines."""
    unpriced: tuple[str, ...]
    """Meters that were used and that the plan does not charge for, sorted."""


def invoice(
    plan: Plan, usage: Mapping[str, Usage], period: Period | None = None
) -> Invoice:
    """Return the invoice of ``usage`` under ``plan``.

    A price whose meter was not used has a line too, of whatever it costs at zero.

    Args:
        plan: one version of a plan.
        usage: meter name to what was used of it.
        period: shown on the invoice.

    Raises:
        PricingError: a quantity that is no number, or below 0, or not of the shape
            that its price needs; names the meter.
    """
    with exact():
        lines = tuple(_line(plan, card, usage) for card in plan.prices)
        total = sum((line.amount for line in lines), ZERO)
    priced = {card.meter for card in plan.prices}
    return Invoice(
        plan=plan.name,
        version=plan.version,
        currency=plan.currency,
        period=period,
        lines=lines,
        total=total,
        unpriced=tuple(sorted(usage.keys() - priced)),
    )


def _line(plan: Plan, card: RateCard, usage: Mapping[str, Usage]) -> Line:
    used: Usage = ZERO if card.meter is None else usage.get(card.meter, ZERO)
    try:
        charges = rate(card.price, used, currency=plan.currency)
        quantity = None if card.meter is None else quantity_of(used)
    except PricingError as error:
        raise error.within(f"usage.{card.meter}") from error
    currency = currency_of(plan.currency)
    amount = round_money(charges.amount, currency, plan.rounding)
    text = f"{charges.explanation} = {money_text(amount, currency)}"
    if amount != charges.amount:
        text += f" (rounded from {money_text(charges.amount, None)})"
    return Line(
        kind="fee" if card.meter is None else "usage",
        name=card.name,
        description=card.description or card.name,
        meter=card.meter,
        quantity=quantity,
        charges=charges.charges,
        amount=amount,
        explanation=text,
    )
