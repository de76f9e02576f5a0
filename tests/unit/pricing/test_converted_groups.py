"""Usage by group is converted, and free, by the groups that its price tells apart."""

from decimal import Decimal

import pytest

from meterline_pricing import Amounts, Group, Groups, Plan, RateCard, invoice
from meterline_pricing.models import (
    Cell,
    Conversion,
    Dynamic,
    Graduated,
    Matrix,
    PerGroup,
    PerUnit,
    Tier,
)
from meterline_pricing.price import Price

USED = Groups(
    tuple(
        Group({"region": region, "size": size}, Decimal(quantity))
        for region, size, quantity in (
            *(("eu", "xs", 101), ("us", "xs", 99), ("eu", "xl", 101)),
        )
    )
)
TENS = Conversion(per=10, round="up")
REGIONS = tuple(
    Cell(values={"region": name}, price=PerUnit(1)) for name in ("eu", "us")
)
SIZES = Matrix(
    dimensions=("size",),
    cells=(Cell(values={"size": "xl"}, price=PerUnit(1)),),
    default=PerUnit(1),
)


@pytest.mark.parametrize(
    ("price", "total"),
    [
        (PerUnit(1), 31),  # 301 / 10
        (PerGroup(PerUnit(1), by=("region",)), 21 + 10),
        (Matrix(dimensions=("region",), cells=REGIONS), 21 + 10),
        (PerGroup(PerUnit(1), by=("region", "size")), 11 + 10 + 11),
        (PerGroup(PerUnit(1)), 11 + 10 + 11),
        (PerGroup(SIZES, by=("region",)), 11 + 10 + 11),
        (PerGroup(PerGroup(PerUnit(1)), by=("region",)), 11 + 10 + 11),
    ],
)
def test_groups_are_those_of_the_price_not_of_the_meter(
    price: Price, total: int
) -> None:
    priced = Plan(
        name="p",
        currency="usd",
        prices=(RateCard(meter="hours", price=price, convert=TENS),),
    )

    assert invoice(priced, {"hours": USED}).total == total


def test_free_units_are_used_up_group_by_group_of_the_price() -> None:
    tiers = Graduated((Tier(up_to=100, unit_amount=1), Tier(unit_amount=2)))
    card = RateCard(
        meter="hours", price=PerGroup(tiers, by=("region",)), free_units=150
    )
    priced = Plan(name="p", currency="usd", prices=(card,))

    # Of eu 52 of 202 are left, and all 99 of us.
    assert invoice(priced, {"hours": USED}).total == 52 + 99


def test_amounts_of_one_group_of_the_price_stay_amounts() -> None:
    used = Groups(
        tuple(
            Group({"region": "eu", "size": size}, Amounts((Decimal(amount),)))
            for size, amount in (("xs", 14), ("xl", 15))
        )
    )
    price = PerGroup(Dynamic(), by=("region",))
    card = RateCard(meter="hours", price=price, convert=TENS)
    priced = Plan(name="p", currency="usd", prices=(card,))

    # Each event's amount is converted by itself.
    assert invoice(priced, {"hours": used}).total == 2 + 2
