"""Decimals from what people hand in: never from floats, never out of bounds."""

import re
from decimal import Decimal
from typing import Final

from msgspec import Struct
from msgspec.structs import force_setattr

from meterline_pricing.errors import PricingError, Problem

WHOLE_DIGITS_MAX: Final = 30  # before the point; 10^15 units at any price, and more
DECIMALS_MAX: Final = 20  # after the point; the field's finest unit price has 15

_PLAIN: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?", re.ASCII)
_TEXT_CHARS_MAX: Final = WHOLE_DIGITS_MAX + DECIMALS_MAX + 2


def to_decimal(value: object, key: str = "", *, minimum: int | None = 0) -> Decimal:
    """Return ``value`` (a ``Decimal``, an ``int``, or their text) as a ``Decimal``.

    Args:
        key: named in the error.
        minimum: the smallest that is allowed; ``None`` for no such limit.

    Raises:
        PricingError: a float (its digits are not what was written), not a number,
            not finite, below ``minimum``, or of more digits than the limits above.
    """
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
    if minimum is not None and number < minimum:
        raise PricingError(
            Problem(f"expected a number of {minimum} or more, not {number}", key)
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
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return number.adjusted() < WHOLE_DIGITS_MAX and exponent >= -DECIMALS_MAX


def set_decimal(
    struct: Struct, field: str, *, minimum: int | None = 0, is_optional: bool = False
) -> None:
    """Replace a field of a new frozen struct by its value as a ``Decimal``.

    Raises:
        PricingError: as ``to_decimal``. ``None`` only where ``is_optional``.
    """
    value: object = getattr(struct, field)
    if value is None and is_optional:
        return
    force_setattr(struct, field, to_decimal(value, field, minimum=minimum))
