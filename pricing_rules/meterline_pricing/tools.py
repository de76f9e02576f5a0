"""What is done with prices and invoices beside making them.

Looking at a price (curves, what is included), comparing prices, billing a period in
parts, prorating, quantities that need division, and money in words.
"""

from meterline_pricing.charge import rate_and_base
from meterline_pricing.compare import (
    Difference,
    LineDifference,
    compare,
    difference_of,
    ranked,
)
from meterline_pricing.curve import Finding, Point, curve, findings
from meterline_pricing.delta import invoice_between, rate_between
from meterline_pricing.draw import draw_svg, draw_text
from meterline_pricing.errors import nearest
from meterline_pricing.included import included_units
from meterline_pricing.marginal import next_unit
from meterline_pricing.money import (
    CURRENCIES,
    Currency,
    currency_of,
    money_text,
    number_text,
    round_money,
    stripe_amount,
)
from meterline_pricing.proration import (
    PlanChange,
    Stretch,
    change_fee,
    invoice_stretches,
    prorate,
    share_of,
)
from meterline_pricing.quantities import Change, latest_incremental, time_weighted_sum
from meterline_pricing.stretches import invoice_of, unbroken
from meterline_pricing.unpriced import UnpricedGroup
from meterline_pricing.usage import quantity_of

__all__ = [
    "CURRENCIES",
    "Change",
    "Currency",
    "Difference",
    "Finding",
    "LineDifference",
    "PlanChange",
    "Point",
    "Stretch",
    "UnpricedGroup",
    "change_fee",
    "compare",
    "currency_of",
    "curve",
    "difference_of",
    "draw_svg",
    "draw_text",
    "findings",
    "included_units",
    "invoice_between",
    "invoice_of",
    "invoice_stretches",
    "latest_incremental",
    "money_text",
    "nearest",
    "next_unit",
    "number_text",
    "prorate",
    "quantity_of",
    "ranked",
    "rate_and_base",
    "rate_between",
    "round_money",
    "share_of",
    "stripe_amount",
    "time_weighted_sum",
    "unbroken",
]
