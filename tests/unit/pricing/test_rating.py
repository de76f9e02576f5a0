from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from meterline_pricing import (
    Flat,
    Graduated,
    Invoice,
    Package,
    PerUnit,
    Plan,
    Price,
    PricingError,
    RateCard,
    Tier,
    Volume,
    invoice,
    rate,
)

D = Decimal
STEPS = (
    Tier(up_to=D(5), unit_amount=D(2), flat_amount=D(10)),
    Tier(unit_amount=D(1), flat_amount=D(20)),
)


@pytest.mark.parametrize(
    ("price", "quantity", "amount"),
    [
        (Flat(D("49.90")), "7", "49.90"),
        (PerUnit(D("0.001")), "120000", "120"),
        (PerUnit(D("0.001")), "0", "0"),
        (Graduated(STEPS), "0", "0"),
        (Graduated(STEPS, flat_at_zero=True), "0", "10"),
        (Graduated(STEPS), "5", "20"),
        (Graduated(STEPS), "5.001", "40.001"),
        (Graduated(STEPS), "6", "41"),
        (Volume(STEPS), "0", "0"),
        (Volume(STEPS, flat_at_zero=True), "0", "10"),
        (Volume(STEPS), "5", "20"),
        (Volume(STEPS), "5.001", "25.001"),
        (Volume(STEPS), "6", "26"),
        (Package(size=D(100), amount=D(5)), "0", "0"),
        (Package(size=D(100), amount=D(5)), "100", "5"),
        (Package(size=D(100), amount=D(5)), "101", "10"),
        (Package(size=D(100), amount=D(5), round="down"), "199", "5"),
        (Package(size=D(100), amount=D(5), free_units=D(50)), "150", "5"),
        (Package(size=D(100), amount=D(5), free_units=D(50)), "151", "10"),
        (Package(size=D(100), amount=D(5), free_units=D(50)), "20", "0"),
    ],
)
def test_each_model_at_its_edges(price: Price, quantity: str, amount: str) -> None:
    charges = rate(price, quantity)

    assert charges.amount == D(amount)
    assert sum(charge.amount for charge in charges.charges) == charges.amount


def test_a_charge_explains_itself() -> None:
    charges = rate(Graduated(STEPS), 1_000_006, currency="usd")

    assert charges.explanation == (
        "5 x $2.00 + $10.00 flat + 1,000,001 x $1.00 + $20.00 flat"
    )
    assert rate(Package(size=D(100), amount=D(5)), 101).explanation == "2 x 5 per 100"


@pytest.mark.parametrize(
    "quantity",
    [1.5, True, "1e3", "abc", "", "-1", D("NaN"), D("Infinity"), None, "9" * 60],
)
def test_what_is_no_quantity_is_refused(quantity: Any) -> None:
    with pytest.raises(PricingError):
        rate(PerUnit(D(1)), quantity)


@pytest.mark.parametrize("amount", [0.1, "x", D("NaN"), -1, None, "0." + "1" * 131])
def test_what_is_no_amount_is_refused_with_its_field(amount: Any) -> None:
    with pytest.raises(PricingError) as caught:
        PerUnit(amount)

    assert caught.value.problems[0].key == "unit_amount"


def test_an_invoice_has_a_line_for_every_price_and_says_what_has_none() -> None:
    plan = Plan(
        name="pro",
        version=3,
        effective=date(2026, 1, 1),
        currency="jpy",
        prices=(
            RateCard(name="base", price=Flat(D(500)), description="Base fee"),
            RateCard(name="calls", meter="calls", price=PerUnit(D("0.35"))),
        ),
    )

    result = invoice(plan, {"calls": 3, "tokens": 9})

    assert [line.explanation for line in result.lines] == [
        "¥500 flat = ¥500",
        "3 x ¥0.35 = ¥1 (rounded from 1.05)",
    ]
    assert result.total == D(501)
    assert result.unpriced == ("tokens",)
    assert msgspec.convert(msgspec.to_builtins(result), Invoice) == result


def test_usage_that_can_not_be_rated_names_its_meter() -> None:
    plan = Plan(
        name="pro",
        version=1,
        effective=date(2026, 1, 1),
        currency="usd",
        prices=(RateCard(name="calls", meter="calls", price=PerUnit(D(1))),),
    )

    with pytest.raises(PricingError, match=r"usage\.calls: expected a number of 0"):
        invoice(plan, {"calls": -1})
