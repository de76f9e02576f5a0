"""Numbers as people type them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_sidecar.typed import NotTyped, number_typed


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("120000", "120000"), ("120_000", "120000"), ("1_000.5", "1000.5")),
        *((" 5 ", "5"), ("007", "7"), ("0.125", "0.125"), ("1.1250", "1.125")),
    ],
)
def test_digits_and_a_point_are_a_number(text: str, number: str) -> None:
    assert number_typed(text) == Decimal(number)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("120.000", "can be read as 120000 and as 120: write the one that is meant"),
        ("120,000", "can be read as 120000 and as 120: write the one that is meant"),
        ("1,125", "as 1125 and as 1.1250"),
        ("+1.000", "as 1000 and as 1:"),
        *(("1.234.567,89", "write 1234567.89"), ("1,234.5", "write 1234.5")),
        *(("12,5", "write 12.5"), (",5", "write 0.5"), ("5.", "write 5")),
        *(("1e5", "write 100000"), ("1E-3", "write 0.001"), ("+5", "write 5")),
        *(("120 000", "write 120000"), ("120\u202f000", "write 120000")),
        *(("\uff11\uff12", "write 12"), ("12_00", "write 1200")),
        *(("\u22125", "below 0"), ("\u2013 5", "below 0"), ("-$5", "below 0")),
        *(
            ("\u20ac1.234,5", "write 1234.5"),
            ("5 $", "write 5"),
            ("\u200e5", "write 5"),
        ),
        *(("-5", "below 0"), ("\u00bd", "at most one point"), ("NaN", "one point")),
        *(
            ("1e999", "one point"),
            ("1e50", "one point"),
            ("9" * 51, "one point"),
            ("", "one point"),
        ),
        *((".", "one point"), ("1.2.3", "one point"), ("5 USD", "one point")),
    ],
)
def test_what_is_not_clear_is_told_what_to_write(text: str, said: str) -> None:
    with pytest.raises(NotTyped) as refused:
        number_typed(text)

    assert said in str(refused.value)


def test_an_amount_of_a_currency_with_thousandths_has_three_digits() -> None:
    assert number_typed("1.250", takes_thousandths=True) == Decimal("1.25")


@given(st.text(alphabet="0123456789.,_' +-e$\u00a0\u2212", max_size=12))
def test_whatever_is_proposed_can_be_typed(text: str) -> None:
    try:
        number_typed(text)
    except NotTyped as error:
        said = str(error).rpartition("`")[2]
        words = said.replace(":", " ").split()
        for proposed in [word for word in words if word[0].isdigit()]:
            number_typed(proposed)
