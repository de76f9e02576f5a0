"""Each plan with the curve of each of its prices."""

from decimal import Decimal
from typing import Final

import msgspec
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from meterline_pricing import (
    Flat,
    Graduated,
    Package,
    Plan,
    PricingError,
    RateCard,
    Tier,
    Volume,
    currency_of,
    rate,
)
from meterline_sidecar.parts import Parts
from meterline_sidecar.web.dashboard.charts import curve
from meterline_sidecar.web.dashboard.render import money, render

POINTS: Final = 48
QUANTITY_SHOWN: Final = 10_000  # where the price itself names none


class ShownPrice(msgspec.Struct, frozen=True, kw_only=True):
    """A price and what it looks like."""

    card: RateCard
    model: str
    tiers: tuple[Tier, ...]
    curve: Markup | None
    """``None`` where the quantity alone does not say what it costs."""
    at: tuple[tuple[Decimal, Decimal], ...]
    """Some quantities with what they cost."""


async def pricing(request: Request) -> Response:
    """Answer the page of plans."""
    parts: Parts = request.app.state.parts
    catalogue = parts.config.catalogue
    used = {customer.plan for customer in parts.customers.all}
    plans = [plan for name in catalogue.names for plan in catalogue.versions(name)]
    return render(
        request,
        "pricing.html",
        {
            "plans": [
                (plan, [shown(plan, card) for card in plan.prices]) for plan in plans
            ],
            "used": used,
            "file": parts.config.sidecar.pricing,
        },
    )


def shown(plan: Plan, card: RateCard) -> ShownPrice:
    """Return a price with its curve; pure."""
    price = card.price
    points = _points(card, plan.currency)
    label = f"{card.name} of plan {plan.name}: what quantities cost"
    return ShownPrice(
        card=card,
        model=str(price.__struct_config__.tag),
        tiers=price.tiers if isinstance(price, Graduated | Volume) else (),
        curve=curve(points, label, money(max(y for _, y in points), plan.currency))
        if points
        else None,
        at=tuple(points[i] for i in (POINTS // 4, POINTS // 2, POINTS) if points),
    )


def _points(card: RateCard, currency: str) -> list[tuple[Decimal, Decimal]]:
    """Return ``(quantity, amount)`` from zero on; nothing for a fee."""
    if isinstance(card.price, Flat):
        return []
    top = _top(card)
    quantities = [Decimal(int(top * i / POINTS)) for i in range(POINTS + 1)]
    minor = currency_of(currency).minor_unit
    try:
        return [(q, rate(card.price, q).amount.quantize(minor)) for q in quantities]
    except PricingError:
        return []  # It needs more than a quantity: dimensions, or amounts.


def _top(card: RateCard) -> int:
    """Return how far the curve goes: past everything that the price names."""
    price = card.price
    if isinstance(price, Graduated | Volume):
        bounds = [int(tier.up_to) for tier in price.tiers if tier.up_to is not None]
        return max(POINTS, max(bounds) * 3 // 2) if bounds else QUANTITY_SHOWN
    if isinstance(price, Package):
        return max(POINTS, int(price.free_units * 2 + price.size * 10))
    return QUANTITY_SHOWN
