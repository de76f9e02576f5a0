"""What few bills and few files come to."""

from datetime import date
from decimal import Decimal

import pytest

from meterline_pricing import Amounts, Group, Groups, Period, PricingError
from meterline_pricing.errors import nearest, unknown
from meterline_pricing.models import Cell, Coupon, Credit, Matrix, PerGroup, PerUnit
from meterline_pricing.stretches import invoice_of
from meterline_pricing.toml.source import UNKNOWN_KEYS_MAX, Source
from meterline_pricing.toml.syntax import TOO_DEEP
from meterline_pricing.unpriced import set_unpriced_aside
from meterline_pricing.usage import together

NOVEMBER = Period(0, 30 * 86_400_000, "2026-11")
GETS = Groups((Group({"method": "GET"}, Decimal(3)),))
PUTS = Groups((Group({"method": "PUT"}, Decimal(2)),))


def test_nothing_and_something_are_something_of_its_own_shape() -> None:
    assert together(Decimal(0), GETS) == GETS
    assert together(GETS, Decimal(0)) == GETS


def test_usage_by_group_and_without_cannot_be_added_up() -> None:
    with pytest.raises(PricingError, match="by group and without"):
        together(Decimal(1), GETS)


def test_amounts_of_two_times_stand_side_by_side() -> None:
    one, other = Amounts((Decimal(1),)), Amounts((Decimal(2),))

    assert together(one, other) == Amounts((Decimal(1), Decimal(2)))


def test_a_period_of_no_stretch_is_no_invoice() -> None:
    with pytest.raises(PricingError, match="no stretch"):
        invoice_of([], NOVEMBER)


def test_a_credit_pays_from_its_first_day_to_its_last() -> None:
    credit = Credit(amount="5", starts=date(2026, 11, 5), expires=date(2026, 11, 9))

    assert credit.pays_on(date(2026, 11, 1), date(2026, 11, 30))
    assert not credit.pays_on(date(2026, 10, 1), date(2026, 10, 31))
    assert not credit.pays_on(date(2026, 12, 1), date(2026, 12, 31))


def test_a_coupon_is_given_for_one_period_at_least() -> None:
    with pytest.raises(PricingError, match="0 is below 1"):
        Coupon(amount="5", periods=0)


def test_a_group_without_a_price_is_set_aside_also_within_a_price_by_group() -> None:
    cell = Cell(price=PerUnit("1"), values={"method": "GET"})
    matrix = Matrix(("method",), (cell,))
    usage = Groups((*GETS.groups, *PUTS.groups))

    for price in (matrix, PerGroup(matrix, by=("method",))):
        kept, left = set_unpriced_aside(price, usage)

        assert kept == GETS
        assert left == PUTS.groups


def test_a_name_that_nobody_wrote_by_hand_is_not_looked_for() -> None:
    name = "x" * 1_000

    assert nearest(name, ["x"]) is None
    assert unknown("key", name, ["x"]).endswith("...` of 1000 characters")


def test_a_key_of_very_many_parts_is_refused_by_its_line() -> None:
    source = Source("a = 1\n" + ".".join("a" * 50) + " = 1", file="plans.toml")

    (problem,) = source.problems
    assert not source.is_toml
    assert problem.message == TOO_DEEP
    assert problem.line == 2


def test_of_many_unknown_keys_the_first_are_told_and_the_rest_counted() -> None:
    n_keys = UNKNOWN_KEYS_MAX + 5
    source = Source("".join(f"k{i} = 1\n" for i in range(n_keys)), file="f")

    source.root.close()

    assert len(source.problems) == UNKNOWN_KEYS_MAX + 1
    assert "5 more unknown keys" in str(source.problems[-1])
