"""What may be recorded: every value from outside is made exact here, or refused."""

import contextlib
import numbers
import operator
import re
from decimal import Context, Decimal
from typing import Any, Final

from meterline.events import (
    DECIMALS_MAX,
    METHOD_CHARS_MAX,
    NAME_CHARS_MAX,
    QUANTITIES_MAX,
    QUANTITY_MAX,
    QUANTITY_NAME_CHARS_MAX,
    ROUTE_CHARS_MAX,
    SUBJECT_CHARS_MAX,
    UNITS,
    Flag,
)

Number = int | str | Decimal
"""How a quantity is given. A float that is whole is taken as well."""

_BEYOND: Final = 2**64  # nothing that far from zero can be recorded
_NAME: Final = r"[\w.:-]+"
_DIGITS_MAX: Final = 40  # of a text, on either side of its point
_EXACT: Final = Context(prec=2 * DECIMALS_MAX + 4)
TOO_MANY: Final = f"more than {QUANTITIES_MAX} quantities in one request"
TOO_LARGE: Final = f"the sum of a quantity is over {QUANTITY_MAX}"
GOOD_NAMES_MAX: Final = 1000
good_names: Final[set[str]] = set()
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


def exact_number(value: object) -> int | str | None:
    """Return the number that ``value`` is, ``None`` where that cannot be known.

    A whole number, of whatever type, is an ``int``: 250, 250.0, ``Decimal("250")``,
    ``"250"`` and numpy's numbers are all 250. Any other is its text: ``Decimal("1.50")``
    and ``"1.5"`` are ``1.5``. Nothing is rounded: a float that has a fraction is not
    exactly what its author meant, so it is no number here, and neither is a truth
    value, or what has more digits than ``DECIMALS_MAX`` on a side of its point.
    """
    if type(value) is int:
        return value
    if type(value) is Decimal or type(value) is str:
        return _decimal_number(value)
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]  # it says so if it is none
    except TypeError:
        pass
    if isinstance(value, (str, Decimal)):
        return _decimal_number(value)
    # numpy and Fraction are registered there; bytes and arrays are not.
    if not isinstance(value, numbers.Number):
        return None
    number: Any = value
    if not -_BEYOND < number < _BEYOND:
        return None
    exact = int(number)
    return exact if exact == number else None


def _decimal_number(value: str | Decimal) -> int | str | None:
    if isinstance(value, str):
        text = exact_text(value) or ""
        if not _is_decimal(text):
            return None
        value = Decimal(text)
    # Asked before it is made an int: that of Decimal("1e999999") fills the memory.
    if not -_BEYOND < value < _BEYOND:
        return None
    exact = int(value)
    if exact == value:
        return exact
    # What has more digits than can be told apart here is none of them.
    rounded = _EXACT.create_decimal(value)
    return _fraction(rounded) if rounded == value else None


def _is_decimal(text: str) -> bool:
    """Tell whether a text is a plain number: digits, and perhaps more behind a point."""
    whole, point, digits = text.removeprefix("-").partition(".")
    return (
        text.isascii()
        and whole.isdecimal()
        and len(whole) <= _DIGITS_MAX
        and (not point or (digits.isdecimal() and len(digits) <= _DIGITS_MAX))
    )


def _fraction(number: Decimal) -> str | None:
    """Return the text of a number that is not whole, if it is not too long."""
    text = f"{number:f}".rstrip("0")
    whole, _, digits = text.partition(".")
    return text if max(len(whole), len(digits)) <= DECIMALS_MAX else None


def summed(one: int | str, other: int | str) -> int | str | None:
    """Return the sum of two amounts as they are recorded, ``None`` if it is too large."""
    if type(one) is int and type(other) is int:
        total = one + other
        return total if total <= QUANTITY_MAX else None
    # Two of 18 digits on both sides: 37 are always enough.
    number = _EXACT.add(Decimal(one), Decimal(other))
    exact = int(number)
    if exact == number:
        return exact if exact <= QUANTITY_MAX else None
    return _fraction(number)


def with_share(
    total: int | str, *, before: int | str, after: int | str
) -> int | str | None:
    """Return a total of which one share is another now, ``None`` if it is too large."""
    if type(total) is int and type(before) is int:
        return summed(total - before, after)
    rest = _EXACT.subtract(Decimal(total), Decimal(before))
    text = exact_number(rest)
    return None if text is None else summed(text, after)


def checked_quantity(name: object, quantity: object) -> tuple[str, int | str, str]:
    """Return the name and the quantity as they are recorded, and why they cannot be.

    The last is empty where they can; where not, the quantity has no meaning, and the
    name is empty if it is no text. Raises nothing, whatever is given.
    """
    text = name if type(name) is str else exact_text(name) or ""
    if text not in good_names and (problem := _why_no_name(text)):
        return text, 0, problem
    try:
        exact = exact_number(quantity)
    except Exception:  # noqa: BLE001 - edge: a class of the app's, which does as it likes
        exact = None
    if exact is None:
        return text, 0, _why_no_number(quantity)
    is_in_bounds = exact[0] != "-" if isinstance(exact, str) else _is_in_bounds(exact)
    if not is_in_bounds:
        return text, 0, f"a quantity must be from 0 to {QUANTITY_MAX}"
    return text, exact, ""


def _why_no_name(text: str) -> str:
    """Return why no quantity can be called so; empty if one can, which is remembered."""
    if not re.fullmatch(_NAME, text):
        return "a quantity's name must be letters, digits and _ . : -"
    if len(text) > QUANTITY_NAME_CHARS_MAX:
        return f"a quantity's name is over {QUANTITY_NAME_CHARS_MAX} characters"
    if len(good_names) < GOOD_NAMES_MAX:
        good_names.add(text)
    return ""


def _is_in_bounds(whole: int) -> bool:
    return 0 <= whole <= QUANTITY_MAX


def _why_no_number(quantity: object) -> str:
    if issubclass(type(quantity), float):  # whatever its class says of itself
        return (
            "a quantity must be exact, and a float that is not whole is not: give it as"
            ' text, such as f"{seconds:.3f}", or as a Decimal'
        )
    return (
        f"a quantity must be an exact number of at most {DECIMALS_MAX} digits on either"
        f" side of its point, and one of type {class_name(quantity)} is not"
    )


def add_quantity(
    quantities: dict[str, int | str], name: object, quantity: object
) -> str:
    """Add ``quantity`` to what ``quantities`` has; return why not, or nothing.

    Several of one name add up. Raises nothing.
    """
    exact: int | str
    if type(name) is str and name in good_names and type(quantity) is int:
        text, exact = name, quantity  # what is nearly always so, without a call
        if exact < 0 or exact > QUANTITY_MAX:
            return checked_quantity(name, quantity)[2]
    else:
        text, exact, problem = checked_quantity(name, quantity)
        if problem:
            return problem
    if quantities:
        before = quantities.get(text)
        if before is None:
            if len(quantities) >= QUANTITIES_MAX:
                return TOO_MANY
        elif (total := summed(before, exact)) is None:
            return TOO_LARGE
        else:
            exact = total
    quantities[text] = exact
    return ""


def bad_quantity(name: object) -> int:
    """Return the flags of an event that a quantity called ``name`` was left out of."""
    if checked_quantity(name, 0)[0] == UNITS:
        return int(Flag.BAD_QUANTITY | Flag.BAD_UNITS)
    return Flag.BAD_QUANTITY


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


def checked_name(given: object, source: object) -> tuple[str | None, str | None, str]:
    """Return an id and its source as they are recorded, and why they cannot be.

    Where one of them cannot, there is neither: a part of a name is another name.
    """
    if given is None:
        return None, None, "a source needs an id"
    exact, problem = _checked_id(given)
    if problem or source is None:
        return None if problem else exact, None, problem
    text, problem = _checked_text(source, "the source of an id", NAME_CHARS_MAX)
    return (None, None, problem) if problem else (exact, text, "")


def checked_key(given: str) -> tuple[str | None, str]:
    """Return a client's key as it is recorded, and why it cannot be; nothing is none."""
    if not given:
        return None, ""
    text, problem = _checked_text(given, "a client's key", NAME_CHARS_MAX)
    return text or None, problem


def _checked_id(given: object) -> tuple[str, str]:
    """Return an id as it is recorded, and why it cannot be; a number is its digits."""
    # What is no number is a text, or is refused; its class does as it likes.
    with contextlib.suppress(Exception):
        if type(given) is not str and not isinstance(given, bool):
            number = operator.index(given)  # type: ignore[arg-type]  # it says so if it is none
            given = str(number) if abs(number) < _BEYOND else ""
    return _checked_text(given, "an id", NAME_CHARS_MAX)


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
