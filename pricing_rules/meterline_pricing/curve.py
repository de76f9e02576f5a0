"""Cost against quantity: the points of a price, and what is odd about them.

A pricing mistake is easier to see than to read. ``draw.py`` draws the points.
"""

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from meterline_pricing.convert import billable, counted
from meterline_pricing.errors import PricingError
from meterline_pricing.money import (
    ZERO,
    currency_of,
    exact,
    money_text,
    number_text,
)
from meterline_pricing.numbers import Number, to_decimal
from meterline_pricing.plan import RateCard
from meterline_pricing.price import (
    BlockTiers,
    Capacity,
    Graduated,
    GraduatedPercentage,
    Package,
    Percentage,
    PerGroup,
    Price,
    Stairstep,
    Volume,
)
from meterline_pricing.rating import rate
from meterline_pricing.tiers import PercentTier, Step, Tier

POINTS_MAX: Final = 2_000
_PACKAGES: Final = 8  # how many steps of a package price are worth seeing


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
    match price:
        case RateCard(price=inner):
            edges = [counted(edge, price) for edge in _edges(inner)]
        case (
            Graduated(tiers)
            | Volume(tiers)
            | GraduatedPercentage(tiers)
            | Stairstep(tiers)
        ):
            edges = _bounds(tiers)
        case Package(size, _, _, free):
            edges = [free + size * i for i in range(_PACKAGES + 1)]
        case BlockTiers(tiers):
            edges = [ZERO]
            for tier in tiers:
                blocks = tier.max_blocks or Decimal(_PACKAGES)
                edges.append(edges[-1] + blocks * tier.block_size)
        case Capacity(included):
            edges = [included]
        case Percentage(free_amount=free):
            edges = [free]
        case PerGroup(inner):
            return _edges(inner)
        case _:
            edges = []
    return [edge for edge in edges if edge] or [Decimal(100)]


def _bounds(tiers: Sequence[Tier | PercentTier | Step]) -> list[Decimal]:
    return [tier.up_to for tier in tiers if tier.up_to is not None]


def _end(price: Price | RateCard) -> Decimal | None:
    """Return the last quantity that the price has an answer for, if there is one."""
    match price:
        case RateCard(price=inner):
            end = _end(inner)
            return None if end is None else counted(end, price)
        case Stairstep(on_exceed="error", tiers=tiers):
            return tiers[-1].up_to
        case BlockTiers(on_exceed="error", tiers=tiers) if tiers[-1].max_blocks:
            return _edges(price)[-1]
        case _:
            return None


def _dead_tiers(price: Price | RateCard) -> list[Finding]:
    """Return the tiers that change nothing."""
    if isinstance(price, RateCard):
        return [
            replace(finding, quantity=counted(finding.quantity, price))
            for finding in _dead_tiers(price.price)
        ]
    found: list[Finding] = []
    if not isinstance(price, Graduated | Volume | GraduatedPercentage):
        return found
    tiers: Sequence[Tier | PercentTier] = price.tiers
    for i, (before, tier) in enumerate(pairwise(tiers), start=1):
        same_flat = tier.flat_amount == (
            before.flat_amount if isinstance(price, Volume) else ZERO
        )
        if before.up_to is not None and same_flat and _each(before) == _each(tier):
            message = f"tier {i + 1} costs what tier {i} costs: leave one out"
            found.append(Finding("dead tier", before.up_to, message))
    return found


def _each(tier: Tier | PercentTier) -> Decimal:
    return tier.unit_amount if isinstance(tier, Tier) else tier.rate
