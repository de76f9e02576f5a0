"""What one unit more would cost."""

from decimal import Decimal

from meterline_pricing.convert import billable
from meterline_pricing.money import exact
from meterline_pricing.numbers import Number, to_decimal
from meterline_pricing.plan import RateCard
from meterline_pricing.rating import rate


def next_unit(card: RateCard, used: Number) -> Decimal:
    """Return what one unit more of a meter would add to its line, before rounding.

    Conversion and free units are applied as on an invoice. So it is zero inside free
    units or a package that is paid for, and the whole of the next package at its edge;
    below zero where a volume price falls as a whole.

    Args:
        used: how much there is already, as the meter counts it.

    Raises:
        PricingError: the price needs more than a quantity: dimensions, or amounts.
    """
    quantity = to_decimal(used)
    with exact():
        now, more = (
            rate(card.price, billable(card, units)[0]).amount
            for units in (quantity, quantity + 1)
        )
        return more - now
