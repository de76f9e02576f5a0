"""What plans are made of: the price models, their tiers, and the terms around them.

How to add a price model: ``CONTRIBUTING.md``.
"""

from meterline_pricing.money import Rounding
from meterline_pricing.order import ORDERS, Order
from meterline_pricing.plan import PlanTest
from meterline_pricing.price import (
    Cell,
    Dynamic,
    GraduatedPercentage,
    Matrix,
    Percentage,
    PerGroup,
)
from meterline_pricing.price_model import PriceModel
from meterline_pricing.terms import (
    Commitment,
    Conversion,
    Coupon,
    Credit,
    Discount,
    Tax,
)
from meterline_pricing.tiers import BlockTier, PercentTier, Step, Tier
from meterline_pricing.unit_price import (
    BlockTiers,
    Capacity,
    Flat,
    Graduated,
    Package,
    PerUnit,
    Stairstep,
    Volume,
)

__all__ = [
    "ORDERS",
    "BlockTier",
    "BlockTiers",
    "Capacity",
    "Cell",
    "Commitment",
    "Conversion",
    "Coupon",
    "Credit",
    "Discount",
    "Dynamic",
    "Flat",
    "Graduated",
    "GraduatedPercentage",
    "Matrix",
    "Order",
    "Package",
    "PerGroup",
    "PerUnit",
    "PercentTier",
    "Percentage",
    "PlanTest",
    "PriceModel",
    "Rounding",
    "Stairstep",
    "Step",
    "Tax",
    "Tier",
    "Volume",
]
