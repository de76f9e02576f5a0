from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_sidecar.decimals import (
    SCALE_MAX,
    Number,
    at_scale,
    in_units,
    minus,
    number_of,
    of_units,
    plus,
    readable,
    share,
    times,
    total_of,
)

NUMBERS: st.SearchStrategy[Number] = st.one_of(
    st.integers(0, 2**70), st.decimals(0, 10**25, places=SCALE_MAX)
)


@given(st.lists(NUMBERS))
def test_a_sum_is_exact_whatever_the_caller_s_context(numbers: list[Number]) -> None:
    with localcontext(prec=3):
        total = total_of(numbers)

    assert Fraction(total) == sum(map(Fraction, numbers))


@given(NUMBERS, st.integers(1, 50))
def test_so_many_of_one_are_their_sum(number: Number, count: int) -> None:
    with localcontext(prec=3):
        assert str(times(number, count)) == str(total_of([number] * count))


@given(NUMBERS, NUMBERS)
def test_a_difference_takes_back_what_a_sum_added(one: Number, other: Number) -> None:
    assert minus(plus(one, other), other) == one


@pytest.mark.parametrize(
    ("number", "scaled"),
    [
        ("0.0005", "0.000"),
        ("0.0015", "0.002"),
        ("0.00051", "0.001"),
        ("2.5", "2.500"),
        ("0", "0.000"),
    ],
)
def test_a_scale_rounds_half_to_even(number: str, scaled: str) -> None:
    assert str(at_scale(Decimal(number), 3)) == scaled


def test_no_scale_is_written_with_an_exponent() -> None:
    for scale in range(1, SCALE_MAX + 1):
        smallest = Decimal(1).scaleb(-scale)
        assert str(at_scale(smallest, scale)) == f"0.{'1':0>{scale}}"
        assert str(at_scale(0, scale)) == f"0.{'0' * scale}"


def test_a_share_is_of_whole_smallest_units() -> None:
    assert share(7, 1, 2) == 3
    assert str(share(Decimal("0.007"), 1, 2)) == "0.003"
    assert str(share(Decimal("2.000"), 3, 2)) == "3.000"


def test_amounts_of_events_are_read_exactly() -> None:
    assert number_of(3) == 3
    assert number_of("1.5") == Decimal("1.5")


@given(NUMBERS)
def test_a_number_is_so_many_of_its_smallest_units(number: Number) -> None:
    with localcontext(prec=3):
        again = of_units(*in_units(number))

    assert (again, str(again)) == (number, str(number))


def test_units_say_where_the_point_is() -> None:
    assert in_units(7) == (7, 0)
    assert in_units(Decimal("-1.230")) == (-1230, 3)
    assert str(of_units(-1230, 3)) == "-1.230"
    assert str(of_units(0, SCALE_MAX)) == "0.000000"


def test_a_third_is_told_without_its_hundred_digits() -> None:
    with localcontext(prec=100):
        endless = Decimal(10) / 3
    exact = "$31.00 flat x 1/3, 7 x $0.12345678901234567891"

    assert readable(f"$10.00 flat x 1/3 = $3.33 (rounded from {endless})") == (
        "$10.00 flat x 1/3 = $3.33 (rounded from 3.33333333...)"
    )
    assert readable(exact) == exact
