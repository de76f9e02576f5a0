"""Turns usage into charges and invoices. Pure: no I/O, no clock, no floats.

>>> from meterline_pricing import rate
>>> from meterline_pricing.models import Graduated, Tier
>>> price = Graduated(
...     (Tier(up_to=50_000, unit_amount=0), Tier(unit_amount="0.001")),
... )
>>> rate(price, 120_000).amount
Decimal('70.000')

It has three faces. Here is what most callers need: reading a price list, rating and
invoicing. What a plan is made of is in ``meterline_pricing.models``: the price models
and the terms. What looks at prices, compares them, bills parts of a period or words
money is in ``meterline_pricing.tools``. What none of the three exports may change
without notice.
"""

from meterline_pricing.catalogue import Catalogue, Override
from meterline_pricing.charge import Charge, Charges
from meterline_pricing.check import TestFailure, run_tests
from meterline_pricing.errors import NotFound, PricingError, Problem
from meterline_pricing.invoice import Invoice, Line, invoice
from meterline_pricing.period import Calendar, Period
from meterline_pricing.plan import Plan, RateCard
from meterline_pricing.price import Price
from meterline_pricing.rating import rate
from meterline_pricing.toml.load import json_schema, load
from meterline_pricing.usage import Amounts, Group, Groups, Usage

__all__ = [
    "Amounts",
    "Calendar",
    "Catalogue",
    "Charge",
    "Charges",
    "Group",
    "Groups",
    "Invoice",
    "Line",
    "NotFound",
    "Override",
    "Period",
    "Plan",
    "Price",
    "PricingError",
    "Problem",
    "RateCard",
    "TestFailure",
    "Usage",
    "invoice",
    "json_schema",
    "load",
    "rate",
    "run_tests",
]
