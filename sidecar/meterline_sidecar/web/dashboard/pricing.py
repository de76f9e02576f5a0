"""Each plan with the curve of each of its prices."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

import msgspec
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from meterline_pricing import Plan, Price, PricingError, RateCard, rate
from meterline_pricing.models import Tier
from meterline_pricing.tools import Finding, Point, currency_of, curve, findings
from meterline_sidecar.decimals import at_scale
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.view.charts import line
from meterline_sidecar.web.view.render import money, render

EXAMPLES: Final = (4, 2, 1)  # parts of the curve, where there are no tiers to list
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
    findings: tuple[Finding, ...]
    """What is odd about it, such as a cliff."""


async def pricing(request: Request) -> Response:
    """Answer the page of plans."""
    parts: Parts = request.app.state.parts
    catalogue = parts.config.catalogue
    used = {customer.plan async for customer in parts.customers.each()}
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
    points: tuple[Point, ...] = ()
    odd: tuple[Finding, ...] = ()
    if not price.is_fixed:
        try:
            points = curve(price, up_to=_shown_up_to(card))
            odd = findings(price, currency=plan.currency)
        except PricingError:
            pass  # It needs more than a quantity: dimensions, or amounts.
    return ShownPrice(
        card=card,
        model=price.model,
        tiers=price.unit_tiers,
        curve=_drawn(plan, card, points) if points else None,
        at=tuple(_examples(price, points, plan.currency)),
        findings=odd,
    )


def _shown_up_to(card: RateCard) -> int | None:
    """Return where the curve ends; ``None`` where the price's own edges say it."""
    price = card.price
    return None if price.edges or price.takes_amounts else QUANTITY_SHOWN


def _drawn(plan: Plan, card: RateCard, points: tuple[Point, ...]) -> Markup:
    highest = max(point.amount for point in points)
    return line(
        [(point.quantity, point.amount) for point in points],
        f"{card.name} of plan {plan.name}: what quantities cost",
        money(_whole(highest, plan.currency), plan.currency),
    )


def _examples(
    price: Price, points: tuple[Point, ...], currency: str
) -> Iterator[tuple[Decimal, Decimal]]:
    """Yield some quantities of the curve with what they cost."""
    for divisor in EXAMPLES if points else ():
        quantity = points[-1].quantity // divisor
        yield quantity, _whole(rate(price, quantity).amount, currency)


def _whole(amount: Decimal, currency: str) -> Decimal:
    return at_scale(amount, currency_of(currency).decimals)
