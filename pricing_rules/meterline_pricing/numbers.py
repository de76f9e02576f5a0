"""What people hand in as numbers: decimals, never from floats, nothing out of bounds."""

import re
from decimal import Decimal
from typing import Final

from meterline_pricing.errors import PricingError, Problem

WHOLE_DIGITS_MAX: Final = 30  # before the point; 10^15 units at any price, and more
DECIMALS_MAX: Final = 130  # after the point; products are exact with 20 or less

Number = Decimal | int | str
"""How a number may be given: ``Decimal("0.001")``, ``5`` or ``"0.001"``."""

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
    return number or number.copy_abs()  # no -0 on an invoice


def to_signed(value: object, key: str = "") -> Decimal:
    """Return a number that may be below 0 as a ``Decimal``.

    Raises:
        PricingError: as ``to_decimal``.
    """
    if isinstance(value, str) and value.startswith("-"):
        return to_decimal(value[1:], key).copy_negate()
    if isinstance(value, Decimal | int) and value < 0:
        return to_decimal(-value, key).copy_negate()
    return to_decimal(value, key)


def check_share(share: tuple[int, int]) -> None:
    """Refuse what is no share of a whole, such as (32, 31).

    Raises:
        PricingError: it is not.
    """
    part, whole = share
    if type(part) is not int or type(whole) is not int or not 0 <= part <= whole >= 1:
        raise PricingError(f"expected a share of a whole, not {part} of {whole}")


def _is_in_bounds(number: Decimal) -> bool:
    if number.adjusted() >= WHOLE_DIGITS_MAX:
        return False
    if number == number.to_integral_value():
        return True
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -DECIMALS_MAX
