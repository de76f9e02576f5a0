"""What may be recorded: every value from outside is made exact here, or refused."""

import operator
import re
from numbers import Number
from typing import Any, Final

from meterline.events import (
    METHOD_CHARS_MAX,
    QUANTITIES_MAX,
    QUANTITY_MAX,
    QUANTITY_NAME_CHARS_MAX,
    ROUTE_CHARS_MAX,
    SUBJECT_CHARS_MAX,
    UNITS,
    Flag,
)

_BEYOND: Final = 2**64  # nothing that far from zero can be recorded
_NAME: Final = re.compile(r"[\w.:-]+")
GOOD_NAMES_MAX: Final = 1000
_good_names: Final[set[str]] = set()
"""Names that were checked before. An app has few; whoever makes them up fills it, and
then each is checked anew."""


def exact_text(value: object) -> str | None:
    """Return ``value`` as a plain ``str`` if it is a text, ``None`` if it is not.

    ``Markup``, ``SafeString``, ``numpy.str_`` and the members of a ``StrEnum`` are
    texts, and so is what only stands for one (a lazy translation, a proxy); the
    encoder takes none of them. Raises nothing, whatever is given.
    """
    if type(value) is str:
        return value
    try:
        if not isinstance(value, str):
            return None
        try:
            return str.__str__(value)  # the text itself, whatever its class makes of it
        except TypeError:  # it only says that it is one
            return str.__str__(str(value))
    except Exception:  # noqa: BLE001 - edge: a class of the app's, which does as it likes
        return None


def exact_method(method: object) -> str | None:
    """Return an HTTP method as it is recorded, ``None`` if it cannot be."""
    text, problem = _checked_text(method, "a method", METHOD_CHARS_MAX)
    return None if problem else text


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


def checked_quantity(name: object, quantity: object) -> tuple[str, int, str]:
    """Return the name and the quantity as they are recorded, and why they cannot be.

    The last is empty where they can; where not, the quantity has no meaning, and the
    name is empty if it is no text. Raises nothing, whatever is given.
    """
    text = name if type(name) is str else exact_text(name) or ""
    if not _NAME.fullmatch(text):
        return text, 0, "a quantity's name must be letters, digits and _ . : -"
    if len(text) > QUANTITY_NAME_CHARS_MAX:
        limit = QUANTITY_NAME_CHARS_MAX
        return text, 0, f"a quantity's name is over {limit} characters"
    try:
        exact = whole_number(quantity)
    except Exception:  # noqa: BLE001 - edge: a class of the app's, which does as it likes
        exact = None
    if exact is None:
        kind = class_name(quantity)
        problem = f"a quantity must be a whole number, and one of type {kind} is not"
        return text, 0, problem
    if not 0 <= exact <= QUANTITY_MAX:
        return text, 0, f"a quantity must be from 0 to {QUANTITY_MAX}"
    return text, exact, ""


def add_quantity(quantities: dict[str, int], name: object, quantity: object) -> str:
    """Add ``quantity`` to what ``quantities`` has; return why not, or nothing.

    Several of one name add up. Raises nothing.
    """
    if type(name) is str and name in _good_names and type(quantity) is int:
        text, exact = name, quantity  # what is nearly always so, without a call
        if exact < 0 or exact > QUANTITY_MAX:
            return checked_quantity(name, quantity)[2]
    else:
        text, exact, problem = checked_quantity(name, quantity)
        if problem:
            return problem
        if len(_good_names) < GOOD_NAMES_MAX:
            _good_names.add(text)
    if quantities:
        exact += quantities.get(text, 0)
        if exact > QUANTITY_MAX:
            return f"the sum of a quantity is over {QUANTITY_MAX}"
        if len(quantities) >= QUANTITIES_MAX and text not in quantities:
            return f"more than {QUANTITIES_MAX} quantities in one request"
    quantities[text] = exact
    return ""


def bad_quantity(name: object) -> int:
    """Return the flags of an event that a quantity called ``name`` was left out of."""
    if checked_quantity(name, 0)[0] == UNITS:
        return int(Flag.BAD_QUANTITY | Flag.BAD_UNITS)
    return int(Flag.BAD_QUANTITY)


def checked_subject(subject: object) -> tuple[str, str]:
    """Return ``subject`` as it is recorded, and why it cannot be; empty if it can.

    Raises nothing, whatever is given.
    """
    if (
        type(subject) is str
        and 0 < len(subject) <= SUBJECT_CHARS_MAX
        and subject.isascii()
    ):
        return subject, ""  # what is nearly always so, without a call
    return _checked_text(subject, "a subject", SUBJECT_CHARS_MAX)


def checked_route(route: object) -> tuple[str, str]:
    """Return ``route`` as it is recorded, and why it cannot be; empty if it can.

    Raises nothing, whatever is given.
    """
    return _checked_text(route, "a route", ROUTE_CHARS_MAX)


def _checked_text(value: object, what: str, chars_max: int) -> tuple[str, str]:
    text = value if type(value) is str else exact_text(value)
    if text is None:
        return "", f"{what} must be text, not {class_name(value)}"
    if not 0 < len(text) <= chars_max:
        return "", f"{what} must have 1 to {chars_max} characters"
    if not is_unicode(text):
        return "", f"{what} must be valid Unicode"
    return text, ""


def is_unicode(text: str) -> bool:
    """Tell whether ``text`` can be encoded: no half of a surrogate pair is in it."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return True


def class_name(value: object) -> str:
    """Return the name of its class as type itself has it, whatever a metaclass says."""
    name: str = type.__dict__["__name__"].__get__(type(value))
    return name
