"""Worked examples of periods that are billed in parts."""

from decimal import Decimal

import pytest

from meterline_pricing import Plan, Price, RateCard, invoice
from meterline_pricing.models import Discount, Graduated, Package, PerUnit, Tier
from meterline_pricing.tools import invoice_between, rate_between

D = Decimal

# openmeterio/openmeter, lineservice/pricegraduatedtiered_test.go.
TIERS = Graduated(
    (
        Tier(up_to=D(5), flat_amount=D(100)),
        Tier(up_to=D(10), flat_amount=D(50)),
        Tier(up_to=D(15), unit_amount=D(5)),
        Tier(unit_amount=D(1)),
    ),
    flat_at_zero=True,
)


def plan(price: Price, **limits: Decimal) -> Plan:
    card = RateCard(
        meter="feature",
        price=price,
        minimum_spend=limits.get("minimum"),
        maximum_spend=limits.get("maximum"),
    )
    return Plan(name="p", currency="usd", prices=(card,))


@pytest.mark.parametrize(
    ("before", "after", "amount"),
    [
        (7, 8, 0),  # "mid price, flat only => no lines are output"
        (0, 22, 82),  # the flat price of the first tier was billed in the first part
        (None, 22, 182),  # "single period multiple tier usage"
        (12, 22, 22),  # "mid period, multiple tier usage"
        (3, 7, 50),  # "tier callback, mid tier invocation"
    ],
)
def test_openmeter_bills_what_lies_between_two_quantities(
    before: int | None, after: int, amount: int
) -> None:
    assert rate_between(TIERS, before, after).amount == amount


def test_openmeter_bills_the_minimum_with_the_last_part() -> None:
    priced = plan(TIERS, minimum=D(1000))

    # "last line, no usage, minimum price set": 100 were billed with the first part.
    assert invoice_between(priced, {"feature": 0}, {"feature": 0}).total == 900
    # "mid line, no usage, minimum price set"
    mid = invoice_between(priced, {"feature": 2}, {"feature": 2}, is_last=False)
    assert mid.total == 0


def test_openmeter_caps_a_part_by_what_was_billed_before() -> None:
    priced = plan(TIERS, maximum=D(170))

    # "maximum spend set mid tier 2/3": 160 before, 22 more, 10 of them billed.
    part = invoice_between(priced, {"feature": 12}, {"feature": 22})
    assert part.total == 10
    # The same, where only the amount that was billed is known.
    alone = plan(PerUnit(D(1)), maximum=D(170))
    assert invoice(alone, {"feature": 22}, billed={"feature": D(160)}).total == 10


@pytest.mark.parametrize("kind", ["free_units", "discount"])
def test_openmeter_spreads_a_usage_discount_over_the_parts(kind: str) -> None:
    # openmeter.io/docs/billing/invoicing/discounts: 500 free of 300, 250 and 100.
    card = RateCard(
        meter="feature",
        price=PerUnit(D(1)),
        free_units=D(500) if kind == "free_units" else D(0),
        discounts=(Discount(units=D(500)),) if kind == "discount" else (),
    )
    priced = Plan(name="p", currency="usd", prices=(card,))

    totals = [
        invoice_between(priced, before, {"feature": after}).total
        for before, after in (
            (None, 300),
            ({"feature": 300}, 550),
            ({"feature": 550}, 650),
        )
    ]

    assert totals == [0, 50, 100]


@pytest.mark.parametrize(
    ("before", "after", "packages"), [(None, 0, 0), (0, 7, 1), (7, 10, 0), (10, 25, 2)]
)
def test_a_package_that_was_begun_is_billed_once(
    before: int | None, after: int, packages: int
) -> None:
    # openmeterio/openmeter, lineservice/pricepackage.go: packages after less before.
    assert rate_between(Package(D(10), D(15)), before, after).amount == 15 * packages
