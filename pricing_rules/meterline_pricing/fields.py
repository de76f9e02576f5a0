"""Structs that are what their annotations say, or cannot be built."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from types import NoneType
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    Literal,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from msgspec import Struct
from msgspec.structs import force_setattr

from meterline_pricing.errors import PricingError, Problem, unknown
from meterline_pricing.numbers import Number, to_decimal

Held = TypeVar("Held", covariant=True)
Given = TypeVar("Given", contravariant=True)

if TYPE_CHECKING:

    class Field(Generic[Held, Given]):
        """A field that is given as one type and held as another.

        A type checker takes the type that ``__set__`` takes for the constructor's.
        """

        def __get__(self, struct: object, owner: object) -> Held: ...
        def __set__(self, struct: object, value: Given) -> None: ...

else:

    class Field:
        """The type that the field is held as: ``Field[Decimal, str]`` is ``Decimal``."""

        def __class_getitem__(cls, types: tuple[Any, Any]) -> Any:
            return types[0]


Exact = Field[Decimal, Number]
"""A ``Decimal``, given as one, as an ``int`` or as a text."""
ExactOrNone = Field[Decimal | None, Number | None]


def default(value: object) -> Any:
    """Return ``value``, as the default of a field that is held as another type."""
    return value


class Checked(Struct, frozen=True):
    """Plain data that checks itself against its annotations when it is built.

    A decimal may be given as a ``Decimal``, an ``int`` or a text, and a tuple as a
    list; afterwards every field is of the type that its annotation names.
    """

    def __post_init__(self) -> None:
        """Convert every field to its type.

        Raises:
            PricingError: with the problems of all fields, each under its field.
        """
        problems: list[Problem] = []
        for field, convert in _converters(type(self)).items():
            try:
                force_setattr(self, field, convert(getattr(self, field)))
            except PricingError as error:
                problems.extend(error.within(field).problems)
        if problems:
            raise PricingError(problems)


def check_positive(struct: Struct, field: str) -> None:
    """Refuse a field that is zero.

    Raises:
        PricingError: it is.
    """
    if not getattr(struct, field):
        raise PricingError(Problem("expected more than 0, not 0", field))


def check_whole(struct: Struct, field: str) -> None:
    """Refuse a field that counts things and is no whole number.

    Raises:
        PricingError: it is not.
    """
    number: Decimal | None = getattr(struct, field)
    if number is not None and number != number.to_integral_value():
        raise PricingError(Problem(f"expected a whole number, not {number}", field))


def check_range(struct: Struct, field: str, least: int, most: int) -> None:
    """Refuse a field that is not from ``least`` to ``most``.

    Raises:
        PricingError: it is not.
    """
    number: int = getattr(struct, field)
    if not least <= number <= most:
        message = f"expected {least} to {most}, not {number}"
        raise PricingError(Problem(message, field))


Convert = Callable[[object], object]
"""Returns a value as what a field holds. Raises ``PricingError`` if it cannot be."""

_WORDS: Final[Mapping[object, str]] = {
    bool: "True or False",
    date: "a date",
    int: "an integer",
    str: "a text",
}
_NOT: Final[Mapping[object, type]] = {int: bool, date: datetime}
"""Subclasses that do not count as what they are a subclass of."""


@cache
def _converters(kind: type[Checked]) -> Mapping[str, Convert]:
    """Return how each field is converted; late, as a type may be defined below."""
    return {field: _converter(hint) for field, hint in get_type_hints(kind).items()}


def _converter(hint: Any) -> Convert:
    """Return what converts to a type, of those that fields of this package have."""
    parts = get_args(hint)
    if hint is Decimal:
        return to_decimal
    if get_origin(hint) is Literal:
        return lambda value: _choice(value, parts)
    if get_origin(hint) is tuple:
        element = _converter(parts[0])
        return lambda value: _tuple(value, element)
    if get_origin(hint) is dict:
        item = _converter(parts[1])
        return lambda value: _dict(value, item)
    if NoneType in parts:
        some = _one_of(tuple(part for part in parts if part is not NoneType))
        return lambda value: None if value is None else some(value)
    if parts:
        return _one_of(parts)
    return lambda value: _instance(value, hint)


def _one_of(kinds: tuple[Any, ...]) -> Convert:
    """Return what converts to a union; what is none of its structs must be a number."""
    if len(kinds) == 1:
        return _converter(kinds[0])
    if Decimal not in kinds:
        return lambda value: _instance(value, kinds)
    structs = tuple(kind for kind in kinds if kind is not Decimal)
    return lambda value: value if isinstance(value, structs) else to_decimal(value)


def _choice(value: object, choices: tuple[str, ...]) -> object:
    if value not in choices:
        raise PricingError(unknown("choice", str(value), choices))
    return value


def _tuple(value: object, convert: Convert) -> tuple[object, ...]:
    if not isinstance(value, tuple | list):
        raise PricingError(f"expected a tuple, not {value!r:.60}")
    items = cast("Sequence[object]", value)
    return tuple(_within(f"[{i}]", convert, item) for i, item in enumerate(items))


def _dict(value: object, convert: Convert) -> dict[object, object]:
    if not isinstance(value, Mapping):
        raise PricingError(f"expected a dict, not {value!r:.60}")
    items = cast("Mapping[object, object]", value).items()
    return {
        _instance(key, str): _within(f"{key}", convert, item) for key, item in items
    }


def _within(key: str, convert: Convert, value: object) -> object:
    """Convert a part of a value; errors name the part by ``key``."""
    try:
        return convert(value)
    except PricingError as error:
        raise error.within(key) from error


def _instance(value: object, kind: type | tuple[type, ...]) -> object:
    """Return ``value``, which must be of this type, or of one of these."""
    if isinstance(value, kind) and not isinstance(value, _NOT.get(kind, ())):
        return value
    # The only union without numbers is that of the prices.
    name = "a price" if isinstance(kind, tuple) else f"a {kind.__name__}"
    raise PricingError(f"expected {_WORDS.get(kind, name)}, not {value!r:.60}")
