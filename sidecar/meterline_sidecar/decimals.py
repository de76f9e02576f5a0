"""Numbers that need not be whole, exactly: the sums that usage comes to.

A whole number is an ``int``. Of a meter with a ``scale`` every number is a ``Decimal`` with
just so many digits behind its point: a whole number of its smallest unit, which says
itself what that is. So numbers from before and after a change of ``scale`` add up.
"""

import re
from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final, cast

SCALE_MAX: Final = 6
"""Digits behind the point of what is billed; ``str`` writes no exponent up to here."""

_EXACT: Final = Context(prec=100)  # as pricing has it

_ENDLESS: Final = re.compile(r"([.][0-9]{8})[0-9]{13,}")
"""What no price comes to, of which products have up to 20 digits: a share, as 1/3."""

Number = int | Decimal


def number_of(amount: int | str) -> Number:
    """Return an amount as an event has it."""
    return amount if isinstance(amount, int) else Decimal(amount)


def plus(one: Number, other: Number) -> Number:
    """Return a sum, exactly."""
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    return _EXACT.add(Decimal(one), Decimal(other))


def minus(one: Number, other: Number) -> Number:
    """Return a difference, exactly."""
    if isinstance(one, int) and isinstance(other, int):
        return one - other
    return _EXACT.subtract(Decimal(one), Decimal(other))


def times(number: Number, count: int) -> Number:
    """Return the sum of so many of one number, exactly."""
    if isinstance(number, int):
        return number * count
    return _EXACT.multiply(number, count)


def added(one: Decimal, other: Decimal) -> Decimal:
    """Return the sum of two amounts of money, exactly."""
    return _EXACT.add(one, other)


def subtracted(one: Decimal, other: Decimal) -> Decimal:
    """Return the difference of two amounts of money, exactly."""
    return _EXACT.subtract(one, other)


def total_of(numbers: Iterable[Number]) -> Number:
    """Return the sum of some numbers, exactly; 0 of none."""
    numbers = list(numbers)
    if set(map(type, numbers)) == {int}:
        return sum(cast("list[int]", numbers))  # a fifth of the time
    total: Number = 0
    for number in numbers:
        total = plus(total, number)
    return total


def at_scale(number: Number, scale: int) -> Decimal:
    """Return a number with so many digits behind its point, rounded half to even."""
    smallest = Decimal((0, (1,), -scale))
    return Decimal(number).quantize(smallest, ROUND_HALF_EVEN, _EXACT)


def in_units(number: Number) -> tuple[int, int]:
    """Return a number as how many smallest units it is, and the digits behind its point."""
    if isinstance(number, int):
        return number, 0
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int), "it is finite"
    assert exponent <= 0, "it has no exponent"
    return int(_EXACT.scaleb(number, -exponent)), -exponent


def of_units(units: int, scale: int) -> Number:
    """Return the number that is so many units of the last digit behind its point."""
    return _EXACT.scaleb(Decimal(units), -scale) if scale else units


def whole(number: Number) -> int:
    """Return a number as a whole one, rounded half to even."""
    return int(at_scale(number, 0))


def share(number: Number, part: int, whole: int) -> Number:
    """Return ``part`` of ``whole`` of a number, rounded down to its smallest unit."""
    if isinstance(number, int):
        return number * part // whole
    units, scale = in_units(number)
    return _EXACT.scaleb(Decimal(units * part // whole), -scale)


def readable(words: str) -> str:
    """Return how an amount came about without the digits that nobody reads.

    ``25.83333333...`` stands for a third with all of its hundred digits.
    """
    return _ENDLESS.sub(r"\1...", words)
