"""What may be recorded, and what happens to the rest: said once, counted always."""

import logging
import operator
import re
from collections import Counter
from numbers import Number
from typing import Any, Final

from meterline.events import (
    QUANTITIES_MAX,
    QUANTITY_MAX,
    QUANTITY_NAME_CHARS_MAX,
    ROUTE_CHARS_MAX,
    SUBJECT_CHARS_MAX,
    UNITS,
    Flag,
)

REASONS_MAX: Final = 64  # different ones that are logged and counted by themselves
OTHER_REASONS: Final = "other"

_BEYOND: Final = 2**64  # nothing that far from zero can be recorded
_NAME: Final = re.compile(r"[\w.:-]+")

log = logging.getLogger(__name__)


class Complaints:
    """Counts what was left out; each reason is logged the first time only."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, reason: str) -> None:
        """Count one of ``reason``, a text without any data of a request in it."""
        if reason not in self.counts:
            if len(self.counts) >= REASONS_MAX:
                reason = OTHER_REASONS
            log.warning("%s; further ones are only counted", reason)
        self.counts[reason] += 1


def whole_number(value: object) -> int | None:
    """Return the whole number that ``value`` is, ``None`` where it is none.

    250, 250.0, ``Decimal("250")`` and numpy's numbers are all 250. What has a
    fraction is not rounded, and a truth value or a text is no number: whoever
    recorded it meant something that cannot be known here.
    """
    if type(value) is int:
        return value
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]  # it says so if it is none
    except TypeError:
        pass
    # numpy, Decimal and Fraction are registered there; texts and arrays are not.
    if not isinstance(value, Number):
        return None
    number: Any = value
    # Asked before it is made an int: that of Decimal("1e999999") fills the memory.
    if not -_BEYOND < number < _BEYOND:
        return None
    exact = int(number)
    return exact if exact == number else None


def checked_quantity(name: object, quantity: object) -> tuple[int, str]:
    """Return ``quantity`` as it is recorded under ``name``, and why it cannot be.

    The second is empty where it can, and the first has no meaning where not. Raises
    nothing, whatever is given.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return 0, "a quantity's name must be letters, digits and _ . : -"
    if len(name) > QUANTITY_NAME_CHARS_MAX:
        return 0, f"a quantity's name is over {QUANTITY_NAME_CHARS_MAX} characters"
    try:
        exact = whole_number(quantity)
    except Exception:  # noqa: BLE001 - edge: a type of the app's, which compares as it likes
        exact = None
    if exact is None:
        kind = type(quantity).__name__
        return 0, f"a quantity must be a whole number, and one of type {kind} is not"
    if not 0 <= exact <= QUANTITY_MAX:
        return 0, f"a quantity must be from 0 to {QUANTITY_MAX}"
    return exact, ""


def add_quantity(quantities: dict[str, int], name: object, quantity: object) -> str:
    """Add ``quantity`` to what ``quantities`` has; return why not, or nothing.

    Several of one name add up. Raises nothing.
    """
    exact, problem = checked_quantity(name, quantity)
    if problem:
        return problem
    assert isinstance(name, str)
    total = quantities.get(name, 0) + exact
    if total > QUANTITY_MAX:
        return f"the sum of a quantity is over {QUANTITY_MAX}"
    if len(quantities) >= QUANTITIES_MAX and name not in quantities:
        return f"more than {QUANTITIES_MAX} quantities in one request"
    quantities[name] = total
    return ""


def bad_quantity(name: object) -> int:
    """Return the flags of an event that a quantity called ``name`` was left out of."""
    if isinstance(name, str) and name == UNITS:
        return int(Flag.BAD_QUANTITY | Flag.BAD_UNITS)
    return int(Flag.BAD_QUANTITY)


def checked_subject(subject: object) -> str:
    """Return why ``subject`` cannot be one; empty if it can."""
    return _checked_text(subject, "a subject", SUBJECT_CHARS_MAX)


def checked_route(route: object) -> str:
    """Return why ``route`` cannot be one; empty if it can."""
    return _checked_text(route, "a route", ROUTE_CHARS_MAX)


def _checked_text(text: object, what: str, chars_max: int) -> str:
    if not isinstance(text, str):
        return f"{what} must be text, not {type(text).__name__}"
    if not 0 < len(text) <= chars_max:
        return f"{what} must have 1 to {chars_max} characters"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return f"{what} must be valid Unicode"
    return ""
