"""Why something that was sent has not the shape that was asked for, in words.

msgspec says "Expected `str` of length >= 1 - at `$.name`" to whoever wrote the code. What
is answered says to whoever wrote the request which field it is, what is possible there,
and what was given. A whole body, one event of many, the parameters of an address and the
fields of a form are all told so.
"""

import json
import re
import types
from collections.abc import Mapping, Sequence
from functools import cache
from typing import (
    Annotated,
    Any,
    Final,
    NamedTuple,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec import inspect

from meterline_pricing.errors import unknown
from meterline_sidecar.web.strict_json import Twice

FIELD_CHARS_MAX: Final = 100
SHOWN_CHARS_MAX: Final = 50
INTEGER_SHOWN_MAX: Final = 10**12
"""A bound above it is what a column can hold, and no help to anybody who is below it."""
WIDE: Final = re.compile("-?[0-9]{13,}")
"""A number from there on, as a parameter has it."""
SPELLED: Final = {
    r"\S": "a text that is not blank",
    r"^[\w.:-]+\Z": "letters, digits and _ . : -",
    r"^[\w.:@-]+$": "letters, digits and _ . : @ -",
    r"^[a-z_][a-z0-9_]*\Z": "small letters, digits and _, without a digit in front",
    r"^\d{4}-\d{2}-\d{2}$": "a day such as 2026-11-30",
    r"^[0-9]{1,18}(\.[0-9]{1,18})?$": 'a decimal in a text, such as "1.25"',
}
"""Every pattern that something sent may have to match, in words; a test knows them all."""


class _Kind(NamedTuple):
    """One kind that something may be of."""

    info: inspect.Type
    example: Any


class Misfit(NamedTuple):
    """What is wrong with something that was sent."""

    field: str
    """Which part of it, such as ``data.status`` or ``add[0].time``; empty: all of it."""
    reason: str
    """A phrase that goes on behind the name of the field: ``is missing``."""

    def told(self, whole: str) -> str:
        """Return both as one phrase.

        Args:
            whole: what it is called if it is wrong altogether.
        """
        place = f"`{self.field[:FIELD_CHARS_MAX]}`" if self.field else whole
        return f"{place} {self.reason}"


def misfit(given: Any, kind: Any, *, strict: bool = True, said: object = "") -> Misfit:
    """Return what first keeps something from being of a kind.

    Args:
        strict: whether a number in a text is no number, as for ``msgspec.convert``.
        said: what msgspec says, for the case that nothing is found here.
    """
    found = _find(given, kind, "", strict)
    return found or Misfit("", f"cannot be read: {said}")


def _find(given: Any, kind: Any, place: str, strict: bool) -> Misfit | None:
    """Return what is wrong with a part, or ``None`` where all of it fits."""
    if isinstance(given, Twice):
        return Misfit(place, "is given twice")
    if _fits(given, kind, strict):
        return None
    options = [option for option in _options(kind) if option is not type(None)]
    for option in options:
        if isinstance(given, Mapping):
            members = cast("Mapping[str, Any]", given)
            if isinstance(option, type) and issubclass(option, msgspec.Struct):
                return _in_struct(members, option, place, strict)
            if get_origin(option) is dict:
                found = _in_dict(members, option, place, strict)
                return found or Misfit(place, _too_long(members, kind))
        elif isinstance(given, list) and get_origin(option) in (list, tuple):
            items = cast("Sequence[Any]", given)
            found = _in_list(items, option, place, strict)
            return found or Misfit(place, _too_long(items, kind))
    return Misfit(place, _reason(given, kind))


def _in_struct(
    given: Mapping[str, Any], kind: type[msgspec.Struct], place: str, strict: bool
) -> Misfit | None:
    hints = _hints(kind)
    for name, value in given.items():
        if name not in hints:
            if kind.__struct_config__.forbid_unknown_fields:
                near = unknown("field", name, hints).partition("; ")[2]
                reason = f"is an unknown field; {near}".removesuffix("; ")
                return Misfit(_inner(place, name), reason)
        elif found := _find(value, hints[name], _inner(place, name), strict):
            return found
    for field in msgspec.structs.fields(kind):
        if field.required and field.encode_name not in given:
            return Misfit(_inner(place, field.encode_name), "is missing")
    return None


def _in_dict(
    given: Mapping[str, Any], kind: Any, place: str, strict: bool
) -> Misfit | None:
    of_name, of_value = get_args(kind)
    for name, value in given.items():
        if not _fits(name, of_name, strict):
            reason = f"is called {_asked(of_name, name)}, not {_shown(name)}"
            return Misfit(_inner(place, name), reason)
        if found := _find(value, of_value, _inner(place, name), strict):
            return found
    return None


def _in_list(
    given: Sequence[Any], kind: Any, place: str, strict: bool
) -> Misfit | None:
    of_item = get_args(kind)[0]
    for i, value in enumerate(given):
        if found := _find(value, of_item, f"{place}[{i}]", strict):
            return found
    return None


def _reason(given: Any, kind: Any) -> str:
    """Return why something is not of a kind that has no parts."""
    kinds = _kinds(kind)
    if isinstance(given, str) and len(kinds) == 1:
        text = kinds[0].info
        if isinstance(text, inspect.StrType):
            if text.min_length and not given.strip():
                return "is empty"
            if text.max_length is not None and len(given) > text.max_length:
                return f"has at most {text.max_length} characters, not {len(given):,}"
    return f"must be {_asked(kind, given)}, not {_shown(given)}"


def _too_long(given: Mapping[str, Any] | Sequence[Any], kind: Any) -> str:
    """Return why an object or a list is wrong whose members are all right."""
    bounds = [getattr(one.info, "max_length", None) or 0 for one in _kinds(kind)]
    return f"has at most {max(bounds):,}, not {len(given):,}"


def _asked(kind: Any, given: Any) -> str:
    """Return what something of a kind is, in words."""
    is_wide = (isinstance(given, int) and abs(given) > INTEGER_SHOWN_MAX) or (
        isinstance(given, str) and WIDE.fullmatch(given) is not None
    )
    return _either([_worded(one, is_wide=is_wide) for one in _kinds(kind)])


def _worded(kind: _Kind, *, is_wide: bool) -> str:
    match kind.info:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType(ge=low, le=high):
            return _integer(low, high, is_wide=is_wide)
        case inspect.LiteralType(values=values):
            return _either([str(value) for value in values])
        case inspect.DecimalType():
            return "a decimal in a text"
        case inspect.FloatType():
            return "a number"
        case inspect.DateType():
            return "a day such as 2026-11-30"
        case inspect.StrType(pattern=str(pattern)):
            return SPELLED[pattern]
        case inspect.StrType(min_length=low, max_length=high):
            if kind.example is not None:
                return f'a text such as "{kind.example}"'
            return f"a text of {low} to {high} characters" if low else "a text"
        case inspect.ListType() | inspect.VarTupleType():
            return "a list"
        case _:
            return "an object"


def _integer(low: int | None, high: int | None, *, is_wide: bool) -> str:
    if low is None or (low < -INTEGER_SHOWN_MAX and not is_wide):
        return "a whole number"
    if high is None or (high > INTEGER_SHOWN_MAX and not is_wide):
        return f"a whole number from {low} on"
    return f"a whole number from {low} to {high}"


def _either(texts: Sequence[str]) -> str:
    *others, last = dict.fromkeys(texts)
    return f"{', '.join(others)} or {last}" if others else last


def _shown(given: Any) -> str:
    """Return what was given, as far as it helps."""
    if isinstance(given, Mapping):
        return "an object"
    if isinstance(given, list):
        return "a list"
    text = given if isinstance(given, str) else json.dumps(given, default=str)
    if len(text) > SHOWN_CHARS_MAX:
        text = f"{text[:SHOWN_CHARS_MAX]}..."
    return repr(text) if isinstance(given, str) else text


def _inner(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _fits(given: Any, kind: Any, strict: bool) -> bool:
    try:
        msgspec.convert(given, kind, strict=strict)
    except (msgspec.ValidationError, UnicodeEncodeError):
        return False
    return True


def _options(kind: Any) -> tuple[Any, ...]:
    """Return what a union is of, each without what only describes it."""
    if get_origin(kind) is Annotated:
        return _options(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(option for part in get_args(kind) for option in _options(part))
    return (kind,)


@cache
def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the kind of each field, by the name under which it is sent."""
    hints = get_type_hints(kind, include_extras=True)
    return {
        field.encode_name: hints[field.name] for field in msgspec.structs.fields(kind)
    }


def _kinds(kind: Any) -> list[_Kind]:
    """Return what something may be, besides null."""
    pending, found = [_Kind(inspect.type_info(kind), None)], list[_Kind]()
    while pending:
        info, example = pending.pop(0)
        if isinstance(info, inspect.Metadata):
            more = cast("dict[str, Any]", info.extra_json_schema or {})
            (example, *_) = more.get("examples", [example])
            pending.insert(0, _Kind(info.type, example))
        elif isinstance(info, inspect.UnionType):
            pending = [*(_Kind(one, example) for one in info.types), *pending]
        elif not isinstance(info, inspect.NoneType):
            found.append(_Kind(info, example))
    return found
