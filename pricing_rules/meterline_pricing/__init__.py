"""Turns usage into charges and invoices. Pure: no I/O, no clock, no floats.

>>> from meterline_pricing import Graduated, Tier, rate
>>> price = Graduated(
...     (Tier(up_to=50_000, unit_amount=0), Tier(unit_amount="0.001")),
... )
>>> rate(price, 120_000).amount
Decimal('70.000')
"""

from meterline_pricing.charge import (
    Charge,
    Charges,
)
from meterline_pricing.check import (
    TestFailure,
    run_tests,
)
from meterline_pricing.compare import (
    Difference,
    LineDifference,
    compare,
    difference_of,
    ranked,
)
from meterline_pricing.curve import (
    Finding,
    Point,
    curve,
    findings,
)
from meterline_pricing.delta import (
    invoice_between,
    rate_between,
)
from meterline_pricing.draw import (
    draw_svg,
    draw_text,
)
from meterline_pricing.errors import (
    NotFound,
    PricingError,
    Problem,
    nearest,
)
from meterline_pricing.invoice import (
    Invoice,
    Line,
    invoice,
)
from meterline_pricing.marginal import (
    next_unit,
)
from meterline_pricing.money import (
    CURRENCIES,
    Currency,
    Rounding,
    currency_of,
    money_text,
    number_text,
    round_money,
    stripe_amount,
)
from meterline_pricing.order import (
    ORDERS,
    Order,
)
from meterline_pricing.period import (
    Calendar,
    Period,
)
from meterline_pricing.plan import (
    Catalogue,
    Override,
    Plan,
    PlanTest,
    RateCard,
)
from meterline_pricing.price import (
    BlockTiers,
    Capacity,
    Cell,
    Dynamic,
    Flat,
    Graduated,
    GraduatedPercentage,
    Matrix,
    Package,
    Percentage,
    PerGroup,
    PerUnit,
    Price,
    Stairstep,
    Volume,
)
from meterline_pricing.proration import (
    PlanChange,
    Stretch,
    change_fee,
    invoice_stretches,
    prorate,
    share_of,
)
from meterline_pricing.quantities import (
    Change,
    latest_incremental,
    time_weighted_sum,
)
from meterline_pricing.rating import (
    rate,
)
from meterline_pricing.terms import (
    Commitment,
    Conversion,
    Coupon,
    Credit,
    Discount,
    Tax,
)
from meterline_pricing.tiers import (
    BlockTier,
    PercentTier,
    Step,
    Tier,
)
from meterline_pricing.toml.load import (
    json_schema,
    load,
)
from meterline_pricing.usage import (
    Amounts,
    Group,
    Groups,
    Usage,
    quantity_of,
)

__all__ = [
    "CURRENCIES",
    "ORDERS",
    "Amounts",
    "BlockTier",
    "BlockTiers",
    "Calendar",
    "Capacity",
    "Catalogue",
    "Cell",
    "Change",
    "Charge",
    "Charges",
    "Commitment",
    "Conversion",
    "Coupon",
    "Credit",
    "Currency",
    "Difference",
    "Discount",
    "Dynamic",
    "Finding",
    "Flat",
    "Graduated",
    "GraduatedPercentage",
    "Group",
    "Groups",
    "Invoice",
    "Line",
    "LineDifference",
    "Matrix",
    "NotFound",
    "Order",
    "Override",
    "Package",
    "PerGroup",
    "PerUnit",
    "PercentTier",
    "Percentage",
    "Period",
    "Plan",
    "PlanChange",
    "PlanTest",
    "Point",
    "Price",
    "PricingError",
    "Problem",
    "RateCard",
    "Rounding",
    "Stairstep",
    "Step",
    "Stretch",
    "Tax",
    "TestFailure",
    "Tier",
    "Usage",
    "Volume",
    "change_fee",
    "compare",
    "currency_of",
    "curve",
    "difference_of",
    "draw_svg",
    "draw_text",
    "findings",
    "invoice",
    "invoice_between",
    "invoice_stretches",
    "json_schema",
    "latest_incremental",
    "load",
    "money_text",
    "nearest",
    "next_unit",
    "number_text",
    "prorate",
    "quantity_of",
    "ranked",
    "rate",
    "rate_between",
    "round_money",
    "run_tests",
    "share_of",
    "stripe_amount",
    "time_weighted_sum",
]
