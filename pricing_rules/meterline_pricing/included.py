"""How much of a meter a plan gives before it charges by the unit."""

from decimal import Decimal

from meterline_pricing.money import exact
from meterline_pricing.plan import RateCard


def included_units(card: RateCard) -> Decimal:
    """Return how many units, as the meter counts them, cost nothing by the unit.

    Free units, and the first tiers whose unit amount is zero; 0 where nothing is
    included, or everything.
    """
    with exact():
        free = card.free_units + card.price.included_units
        return free * card.convert.per / card.convert.times
