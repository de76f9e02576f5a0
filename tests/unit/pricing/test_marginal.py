from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_pricing import PricingError, RateCard, rate
from meterline_pricing.models import (
    Cell,
    Conversion,
    Graduated,
    Matrix,
    Package,
    Percentage,
    PerUnit,
    Tier,
    Volume,
)
from meterline_pricing.tools import next_unit

D = Decimal
TIERS = (Tier(up_to=10, unit_amount="0.5"), Tier(unit_amount="0.2"))


@pytest.mark.parametrize(
    ("card", "used", "expected"),
    [
        (RateCard(meter="m", price=PerUnit("0.001")), 0, "0.001"),
        (RateCard(meter="m", price=PerUnit("0.001"), free_units=5), 4, "0"),
        (RateCard(meter="m", price=PerUnit("0.001"), free_units=5), 5, "0.001"),
        (RateCard(meter="m", price=Graduated(TIERS)), 9, "0.5"),
        (RateCard(meter="m", price=Graduated(TIERS)), 10, "0.2"),
        (RateCard(meter="m", price=Volume(TIERS)), 10, "-2.8"),
        (RateCard(meter="m", price=Package(D(100), D(7))), 99, "0"),
        (RateCard(meter="m", price=Package(D(100), D(7))), 100, "7"),
        (
            RateCard(
                meter="m", price=PerUnit("3"), convert=Conversion(per=1_000, round="up")
            ),
            1_000,
            "3",
        ),
        (
            RateCard(
                meter="m", price=PerUnit("3"), convert=Conversion(per=1_000, round="up")
            ),
            1_001,
            "0",
        ),
    ],
)
def test_the_next_unit_costs_what_the_invoice_would_grow_by(
    card: RateCard, used: int, expected: str
) -> None:
    assert next_unit(card, used) == D(expected)


EU = Cell(values={"region": "eu"}, price=PerUnit(1))


@pytest.mark.parametrize(
    "price", [Percentage(rate=3, fixed=1), Matrix(("region",), (EU,))]
)
def test_a_price_of_more_than_a_quantity_has_no_next_unit(
    price: Percentage | Matrix,
) -> None:
    with pytest.raises(PricingError):
        next_unit(RateCard(meter="m", price=price), 5)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40))
def test_the_units_one_by_one_add_up_to_the_whole(amounts: list[int]) -> None:
    price = Graduated(
        (
            *(
                Tier(up_to=i, unit_amount=amount)
                for i, amount in enumerate(amounts, start=1)
            ),
            Tier(unit_amount=1),
        )
    )
    card = RateCard(meter="m", price=price)
    n_units = len(amounts) + 3

    total = sum(next_unit(card, used) for used in range(n_units))

    assert total == rate(price, n_units).amount
