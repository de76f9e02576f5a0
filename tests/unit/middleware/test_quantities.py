from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from numbers import Real
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline.events import QUANTITY_MAX, Flag
from meterline.quantities import add_quantity, bad_quantity, checked_quantity


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
        Decimal("0.1"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("-Infinity"),
        Decimal("1E+999999999"),
        Fraction(1, 3),
        Single(0.5),
        2**63,
        2.0**63,
        1j,
        "250",
        b"250",
        [250],
        None,
        Angry(),
        Half(1.0),
    ],
    ids=lambda quantity: f"{type(quantity).__name__} {quantity!r}",
)
def test_what_is_no_whole_number_in_bounds_is_refused(quantity: object) -> None:
    assert checked_quantity("units", quantity)[2].startswith("a quantity must be ")


@given(st.floats(0, 2.0**62))
def test_a_float_is_taken_as_it_is_or_not_at_all(quantity: float) -> None:
    _, exact, problem = checked_quantity("n", quantity)

    assert (exact == quantity) == (not problem) == quantity.is_integer()


def test_the_limit_itself_is_taken() -> None:
    assert checked_quantity("n", QUANTITY_MAX) == ("n", QUANTITY_MAX, "")
    assert checked_quantity("n", Decimal(QUANTITY_MAX)) == ("n", QUANTITY_MAX, "")


def test_whole_numbers_of_any_type_add_up() -> None:
    quantities: dict[str, int] = {}

    for quantity in (1, 2.0, Decimal(3)):
        assert add_quantity(quantities, "n", quantity) == ""

    assert quantities == {"n": 6}


def test_units_that_could_not_be_taken_are_flagged_by_themselves() -> None:
    assert bad_quantity("units") == Flag.BAD_QUANTITY | Flag.BAD_UNITS
    assert bad_quantity("tokens") == bad_quantity(7) == Flag.BAD_QUANTITY
