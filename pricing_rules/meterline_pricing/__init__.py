"""Turns usage into charges and invoices. Pure: no I/O, no clock, no floats.

>>> from meterline_pricing import Graduated, Tier, rate
>>> price = Graduated(
...     (Tier(up_to=50_000, unit_amount=0), Tier(unit_amount="0.001")),
... )
>>> rate(price, 120_000).amount
Decimal('70.000')
"""

from meterline_pricing.check import TestFailure, run_tests
from meterline_pricing.errors import NotFound, PricingError, Problem, nearest
from meterline_pricing.invoice import Invoice, Line, invoice
from meterline_pricing.load import load
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
from meterline_pricing.period import Calendar, Period
from meterline_pricing.plan import Catalogue, Plan, PlanTest, RateCard
from meterline_pricing.price import (
    Flat,
    Graduated,
    Package,
    PerUnit,
    Price,
    Tier,
    Volume,
)
from meterline_pricing.rating import Charge, Charges, rate
from meterline_pricing.usage import Amounts, Group, Groups, Usage, quantity_of

__all__ = [
    "CURRENCIES",
    "Amounts",
    "Calendar",
    "Catalogue",
    "Charge",
    "Charges",
    "Currency",
    "Flat",
    "Graduated",
    "Group",
    "Groups",
    "Invoice",
    "Line",
    "NotFound",
    "Package",
    "PerUnit",
    "Period",
    "Plan",
    "PlanTest",
    "Price",
    "PricingError",
    "Problem",
    "RateCard",
    "Rounding",
    "TestFailure",
    "Tier",
    "Usage",
    "Volume",
    "currency_of",
    "invoice",
    "load",
    "money_text",
    "nearest",
    "number_text",
    "quantity_of",
    "rate",
    "round_money",
    "run_tests",
    "stripe_amount",
]
