"""What people hand in, checked: decimals never from floats, nothing out of bounds.

The ``set_`` functions are for ``__post_init__`` of the frozen structs that prices
and plans are made of.
"""

import re
from decimal import Decimal
from typing import Final, TypeVar, cast

from msgspec import Struct
from msgspec.structs import force_setattr

from meterline_pricing.errors import PricingError, Problem

WHOLE_DIGITS_MAX: Final = 30  # before the point; 10^15 units at any price, and more
DECIMALS_MAX: Final = 130  # after the point; products are exact with 20 or less

LISTS: Final = (tuple, list)
T = TypeVar("T")

_PLAIN: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?", re.ASCII)
_INT_MAX: Final = 10**WHOLE_DIGITS_MAX
_TEXT_CHARS_MAX: Final = WHOLE_DIGITS_MAX + DECIMALS_MAX + 2


def to_decimal(value: object, key: str = "") -> Decimal:
    """Return ``value`` (a ``Decimal``, an ``int``, or their text) as a ``Decimal``.

    Args:
        key: named in the error.

    Raises:
        PricingError: a float (its digits are not what was written), not a number,
            not finite, below 0, or of more digits than the limits above.
    """
    if type(value) is int and 0 <= value < _INT_MAX:
        return Decimal(value)  # what nearly every quantity is
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, int) and not isinstance(value, bool):
        number = Decimal(value)
    elif isinstance(value, float):
        raise PricingError(
            Problem(f"a float is not exact: write Decimal('{value}')", key)
        )
    elif (
        isinstance(value, str)
        and len(value) <= _TEXT_CHARS_MAX
        and _PLAIN.fullmatch(value)
    ):
        number = Decimal(value)
    else:
        raise PricingError(Problem(f"expected a number, not {value!r:.60}", key))
    if not number.is_finite():
        raise PricingError(Problem(f"expected a finite number, not {number}", key))
    if number < 0:
        raise PricingError(
            Problem(f"expected a number of 0 or more, not {number}", key)
        )
    if number and not _is_in_bounds(number):
        raise PricingError(
            Problem(
                f"{number} has more than {WHOLE_DIGITS_MAX} digits before the point "
                f"or {DECIMALS_MAX} after it",
                key,
            )
        )
    return number


def _is_in_bounds(number: Decimal) -> bool:
    if number.adjusted() >= WHOLE_DIGITS_MAX:
        return False
    if number == number.to_integral_value():
        return True
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -DECIMALS_MAX


def set_decimal(struct: Struct, field: str, *, is_optional: bool = False) -> None:
    """Replace a field of a new frozen struct by its value as a ``Decimal``.

    Raises:
        PricingError: as ``to_decimal``. ``None`` only where ``is_optional``.
    """
    value: object = getattr(struct, field)
    if value is None and is_optional:
        return
    force_setattr(struct, field, to_decimal(value, field))


def set_decimals(struct: Struct, *fields: str) -> None:
    """Replace some fields of a new frozen struct by their values as ``Decimal``.

    Raises:
        PricingError: as ``to_decimal``, with the problems of all of them.
    """
    problems: list[Problem] = []
    for field in fields:
        try:
            set_decimal(struct, field)
        except PricingError as error:
            problems.extend(error.problems)
    if problems:
        raise PricingError(problems)


def set_tuple(struct: Struct, field: str, kind: type[T]) -> tuple[T, ...]:
    """Let a list be given where the struct keeps a tuple; return the tuple.

    Raises:
        PricingError: it holds something that is no ``kind``.
    """
    value: object = getattr(struct, field)
    items = tuple(cast("list[object]", value)) if isinstance(value, LISTS) else ()
    if not isinstance(value, LISTS) or not all(isinstance(i, kind) for i in items):
        raise PricingError(Problem(f"expected a tuple of {kind.__name__}", field))
    force_setattr(struct, field, items)
    return cast("tuple[T, ...]", items)


def check_positive(struct: Struct, field: str) -> None:
    """Refuse a field that is zero.

    Raises:
        PricingError: it is.
    """
    number: Decimal = getattr(struct, field)
    if number <= 0:
        raise PricingError(Problem(f"expected more than 0, not {number}", field))


def check_whole(struct: Struct, field: str) -> None:
    """Refuse a field that counts things and is no whole number.

    Raises:
        PricingError: it is not.
    """
    number: Decimal | None = getattr(struct, field)
    if number is not None and number != number.to_integral_value():
        raise PricingError(Problem(f"expected a whole number, not {number}", field))


def check_choice(struct: Struct, field: str, choices: tuple[str, ...]) -> None:
    """Refuse a field that is none of ``choices``.

    Raises:
        PricingError: it is not.
    """
    value: object = getattr(struct, field)
    if value not in choices:
        expected = " or ".join(choices)
        raise PricingError(Problem(f"expected {expected}, not {value!r}", field))
