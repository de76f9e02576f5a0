import re
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from numbers import Real
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.msgpack import decode, encode

from meterline.events import QUANTITY_MAX, Flag
from meterline.quantities import (
    _is_decimal,  # pyright: ignore[reportPrivateUsage]
    add_quantity,
    bad_quantity,
    checked_quantity,
)
from meterline.usage_event import UsageEvent


class Size(IntEnum):
    LARGE = 250


class OfAnArray:
    """An integer of another library."""

    def __repr__(self) -> str:
        return "an array's integer"

    def __index__(self) -> int:
        return 250


class Angry:
    """A number that cannot be looked at."""

    def __repr__(self) -> str:
        return "angry"

    def __index__(self) -> int:
        raise RuntimeError


class Half(float):
    """A float that is compared as nobody expects."""

    def __gt__(self, _other: object) -> bool:
        raise RuntimeError

    __lt__ = __gt__


class Single:
    """A float of another library: registered as a number, as numpy's are."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"single {self.value}"

    def __int__(self) -> int:
        return int(self.value)

    def __eq__(self, other: object) -> bool:
        return self.value == other

    def __gt__(self, other: Any) -> bool:
        return bool(self.value > other)

    def __lt__(self, other: Any) -> bool:
        return bool(self.value < other)

    __hash__ = None  # type: ignore[assignment]  # as numbers that can change


Real.register(Single)


@pytest.mark.parametrize(
    "quantity",
    [
        250,
        250.0,
        Decimal(250),
        Decimal("250.000"),
        Decimal("2.5E+2"),
        "250",
        "250.000",
        Fraction(500, 2),
        Size.LARGE,
        OfAnArray(),
        Single(250.0),
    ],
    ids=repr,
)
def test_what_is_a_whole_number_is_that_number(quantity: object) -> None:
    name, exact, problem = checked_quantity("units", quantity)

    assert name == "units"
    assert (exact, type(exact), problem) == (250, int, "")


@pytest.mark.parametrize(
    "quantity",
    [
        True,
        250.5,
        -1.0,
        float("nan"),
        float("inf"),
        1e300,
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("-Infinity"),
        Decimal("1E+999999999"),
        Fraction(1, 3),
        Single(0.5),
        2**63,
        2.0**63,
        1j,
        "-1.5",
        "1e3",
        " 1",
        "1_000",
        "٣",
        "1.0000000000000000001",
        "1234567890123456789.5",
        Decimal("1E-19"),
        Fraction(1, 4),
        b"250",
        [250],
        None,
        Angry(),
        Half(1.0),
    ],
    ids=lambda quantity: f"{type(quantity).__name__} {quantity!r}",
)
def test_what_is_no_exact_number_in_bounds_is_refused(quantity: object) -> None:
    assert checked_quantity("units", quantity)[2].startswith("a quantity must be ")


@given(st.floats(0, 2.0**62))
def test_a_float_is_taken_as_it_is_or_not_at_all(quantity: float) -> None:
    _, exact, problem = checked_quantity("n", quantity)

    assert (exact == quantity) == (not problem) == quantity.is_integer()


def test_the_limit_itself_is_taken() -> None:
    assert checked_quantity("n", QUANTITY_MAX) == ("n", QUANTITY_MAX, "")
    assert checked_quantity("n", Decimal(QUANTITY_MAX)) == ("n", QUANTITY_MAX, "")


def test_whole_numbers_of_any_type_add_up() -> None:
    quantities: dict[str, int | str] = {}

    for quantity in (1, 2.0, Decimal(3), "4"):
        assert add_quantity(quantities, "n", quantity) == ""

    assert quantities == {"n": 10}


@pytest.mark.parametrize(
    ("quantity", "recorded"),
    [
        ("1.50", "1.5"),
        (Decimal("1.50"), "1.5"),
        (Decimal("15E-1"), "1.5"),
        ("00.5", "0.5"),
        ("0.000000000000000001", "0.000000000000000001"),
        (Decimal("1E-18"), "0.000000000000000001"),
        ("9" * 18 + "." + "9" * 18, "9" * 18 + "." + "9" * 18),
    ],
)
def test_a_number_that_is_not_whole_has_one_text(
    quantity: object, recorded: str
) -> None:
    assert checked_quantity("n", quantity) == ("n", recorded, "")
    assert_can_be_sent({"n": recorded})


def assert_can_be_sent(quantities: dict[str, int | str]) -> None:
    payload = encode((1, 0, None, None, None, 0, 0, 0, 0, 0, quantities))
    assert decode(payload, type=UsageEvent).quantities == quantities


@pytest.mark.parametrize(
    "text", ["1.50", "01.5", "1", "1.", ".5", "-1.5", "1e5", "0.0", "0.5\n", "٣.٣"]
)
def test_no_other_text_of_a_number_is_taken_from_the_wire(text: str) -> None:
    payload = encode((1, 0, None, None, None, 0, 0, 0, 0, 0, {"n": text}))

    with pytest.raises(msgspec.ValidationError):
        decode(payload, type=UsageEvent)


def test_a_float_with_a_fraction_is_told_what_to_do() -> None:
    assert "as text" in checked_quantity("n", 0.1 + 0.2)[2]
    assert "as text" in checked_quantity("n", Half(0.5))[2]


NUMBERS = st.one_of(
    st.integers(0, QUANTITY_MAX),
    st.decimals(0, 10**18 - 1, places=3),
    st.decimals(0, 1, places=18),
)


@given(st.lists(NUMBERS, min_size=1, max_size=8))
def test_what_is_recorded_adds_up_to_the_last_digit(numbers: list[Any]) -> None:
    quantities: dict[str, int | str] = {}
    true = Fraction(0)

    for number in numbers:
        if add_quantity(quantities, "n", number):
            assert true + Fraction(number) >= 10**18  # the only reason
            break
        true += Fraction(number)

    if quantities:
        assert Fraction(quantities["n"]) == true
        assert_can_be_sent(quantities)


def test_units_that_could_not_be_taken_are_flagged_by_themselves() -> None:
    assert bad_quantity("units") == Flag.BAD_QUANTITY | Flag.BAD_UNITS
    assert bad_quantity("tokens") == bad_quantity(7) == Flag.BAD_QUANTITY


@given(st.text("-.0123456789e+ \n\u0663\u00b2", max_size=90))
def test_only_plain_digits_are_a_number(text: str) -> None:
    plain = re.fullmatch(r"-?[0-9]{1,40}(\.[0-9]{1,40})?", text)

    assert _is_decimal(text) == (plain is not None)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("1" * 40 + "." + "2" * 40, True),
        ("-1.5", True),
        ("1" * 41, False),
        ("0." + "1" * 41, False),
        ("--1", False),
        ("1.", False),
        (".5", False),
        ("1.2.3", False),
        ("1\n", False),
        ("\u0663", False),
    ],
)
def test_a_number_as_text_is_plain_and_not_endless(text: str, is_one: bool) -> None:
    assert _is_decimal(text) == is_one
