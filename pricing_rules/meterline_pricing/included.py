"""How much of a meter a plan gives before it charges by the unit."""

from collections.abc import Sequence
from decimal import Decimal

from meterline_pricing.money import exact
from meterline_pricing.plan import RateCard
from meterline_pricing.price import Capacity, Graduated, Package, Volume
from meterline_pricing.tiers import Tier


def included_units(card: RateCard) -> Decimal:
    """Return how many units, as the meter counts them, cost nothing by the unit.

    Free units, and the first tiers whose unit amount is zero; 0 where nothing is
    included, or everything.
    """
    free = card.free_units
    with exact():
        match card.price:
            case Graduated(tiers=tiers) | Volume(tiers=tiers):
                free += _first_bound(tiers)
            case Package(free_units=units):
                free += units
            case Capacity(included=units):
                free += units
            case _:
                pass
        return free * card.convert.per / card.convert.times


def _first_bound(tiers: Sequence[Tier]) -> Decimal:
    """Return up to where the tiers cost nothing by the unit."""
    bound = Decimal(0)
    for tier in tiers:
        if tier.unit_amount:
            return bound
        if tier.up_to is None:
            break
        bound = tier.up_to
    return Decimal(0)
