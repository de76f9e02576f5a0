from decimal import Decimal, localcontext

import pytest

from meterline_pricing import RateCard
from meterline_pricing.models import (
    Capacity,
    Conversion,
    Graduated,
    Package,
    PerUnit,
    Tier,
    Volume,
)
from meterline_pricing.tools import included_units

ONE = Decimal(1)
FREE = Tier(up_to=Decimal(2), unit_amount=Decimal(0))
FEE = Tier(up_to=Decimal(5), unit_amount=Decimal(0), flat_amount=Decimal(3))


@pytest.mark.parametrize(
    ("card", "included"),
    [
        (RateCard(price=PerUnit(ONE), meter="m"), 0),
        (RateCard(price=PerUnit(ONE), meter="m", free_units=Decimal(7)), 7),
        (RateCard(price=Package(ONE, ONE, free_units=Decimal(5)), meter="m"), 5),
        (RateCard(price=Capacity(Decimal(9), ONE, ONE), meter="m"), 9),
        (
            RateCard(price=Graduated((FREE, FEE, Tier(unit_amount=ONE))), meter="m"),
            5,
        ),
        (RateCard(price=Volume((FREE, Tier(unit_amount=ONE))), meter="m"), 2),
        (
            RateCard(
                price=PerUnit(ONE),
                meter="m",
                free_units=Decimal(2),
                convert=Conversion(per=Decimal(1_000)),
            ),
            2_000,
        ),
    ],
)
def test_what_is_included_is_counted_as_the_meter_counts(
    card: RateCard, included: int
) -> None:
    assert included_units(card) == included


def test_what_is_included_is_exact_whatever_the_decimal_context() -> None:
    convert = Conversion(per=Decimal("1.001"))
    card = RateCard(price=PerUnit(ONE), meter="m", free_units="10001", convert=convert)

    with localcontext(prec=3):
        assert included_units(card) == Decimal("10011.001")


def test_where_everything_is_free_nothing_is_a_limit() -> None:
    card = RateCard(price=Graduated((Tier(unit_amount=Decimal(0)),)), meter="m")

    assert included_units(card) == 0
