"""Cost against quantity: the points of a price, and what is odd about them.

A pricing mistake is easier to see than to read. ``draw.py`` draws the points.
"""

from decimal import Decimal
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from meterline_pricing.convert import billable, counted
from meterline_pricing.errors import PricingError
from meterline_pricing.money import (
    currency_of,
    exact,
    money_text,
    number_text,
)
from meterline_pricing.numbers import Number, to_decimal
from meterline_pricing.plan import RateCard
from meterline_pricing.price import (
    Price,
)
from meterline_pricing.rating import rate

POINTS_MAX: Final = 2_000
QUANTITY_DRAWN: Final = Decimal(100)  # where the price itself names none


class Point(Struct, frozen=True):
    """What a quantity costs."""

    quantity: Decimal
    amount: Decimal


class Finding(Struct, frozen=True):
    """Something about a price that its author may not have meant."""

    kind: str
    """``cliff``: one more unit makes the total less. ``dead tier``: it costs what
    the tier before it costs."""
    quantity: Decimal
    """Where it begins."""
    message: str


def curve(
    price: Price | RateCard, *, up_to: Number | None = None, points: int = 60
) -> tuple[Point, ...]:
    """Return points of cost against quantity, from 0 to ``up_to``.

    Evenly spaced, and on both sides of every edge at which the price can jump.

    Args:
        price: one that a bare quantity can be rated under. The quantity of a rate
            card is what its meter counts, before conversion and free units; its
            discounts in money and its limits are left out.
        up_to: a quarter beyond the last edge where it is ``None``; never beyond the
            end of a price that has one.
        points: how many evenly spaced ones, 2 to 2,000.

    Raises:
        PricingError: this price needs more than a quantity, or the limits above.
    """
    if not 2 <= points <= POINTS_MAX:
        raise PricingError(f"expected 2 to {POINTS_MAX} points, not {points}")
    with exact():
        edges = _edges(price)
        last = _end(price)
        end = edges[-1] * 5 / 4 if up_to is None else to_decimal(up_to, "up_to")
        end = end if last is None else min(end, last)
        if not end:
            raise PricingError("expected a curve up to more than 0")
        at = {end * i / (points - 1) for i in range(points)}
        for edge in edges[:POINTS_MAX]:
            at.update(quantity for quantity in (edge, edge + 1) if quantity <= end)
        return tuple(Point(quantity, _cost(price, quantity)) for quantity in sorted(at))


def findings(
    price: Price | RateCard, *, currency: str | None = None
) -> tuple[Finding, ...]:
    """Return what is odd about a price, by quantity: cliffs and dead tiers.

    Args:
        price: as for ``curve``.
        currency: only for the messages, which have bare numbers without it.

    Raises:
        PricingError: this price needs more than a quantity.
    """
    symbols = None if currency is None else currency_of(currency)
    with exact():
        found = _dead_tiers(price)
        last = _end(price)
        for edge in _edges(price):
            if edge == last:
                break
            less = _cost(price, edge) - _cost(price, edge + 1)
            if less > 0:
                message = (
                    f"a cliff at {number_text(edge)}: one more unit costs "
                    f"{money_text(less, symbols)} less"
                )
                found.append(Finding("cliff", edge, message))
    return tuple(sorted(found, key=lambda finding: finding.quantity))


def _cost(price: Price | RateCard, quantity: Decimal) -> Decimal:
    if isinstance(price, RateCard):
        usage, _ = billable(price, quantity)
        return rate(price.price, usage).amount
    return rate(price, quantity).amount


def _edges(price: Price | RateCard) -> list[Decimal]:
    """Return the quantities after which the price can jump, rising; at least one."""
    if isinstance(price, RateCard):
        return [counted(edge, price) for edge in _edges(price.price)]
    return [edge for edge in price.edges if edge] or [QUANTITY_DRAWN]


def _end(price: Price | RateCard) -> Decimal | None:
    """Return the last quantity that the price has an answer for, if there is one."""
    if not isinstance(price, RateCard):
        return price.end
    end = price.price.end
    return None if end is None else counted(end, price)


def _dead_tiers(price: Price | RateCard) -> list[Finding]:
    """Return the tiers that change nothing."""
    if isinstance(price, RateCard):
        return [
            replace(finding, quantity=counted(finding.quantity, price))
            for finding in _dead_tiers(price.price)
        ]
    bounds = price.edges
    return [
        Finding(
            "dead tier",
            bounds[i - 1],
            f"tier {i + 1} costs what tier {i} costs: leave one out",
        )
        for i in price.repeated_tiers
    ]
