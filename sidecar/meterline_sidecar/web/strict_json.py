"""JSON from anybody: what is strange in it is an error, and nothing in it costs much."""

import json
from collections import Counter, deque
from collections.abc import Sequence
from decimal import Decimal, DecimalException
from typing import Any, Final, NoReturn, cast


class NotReadable(ValueError):
    """This is no JSON, or none that can be read; the text says why."""


class Twice:
    """Stands for what an object has twice: nobody can say which one was meant."""


def read_json(body: bytes) -> Any:
    """Return what a JSON text says.

    Numbers that are whole are integers, however they are written; others are floats.

    Raises:
        NotReadable: it is no JSON, or not in UTF-8.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise NotReadable(f"the body is not UTF-8: byte {error.start}") from error
    if text.startswith("\ufeff"):
        raise NotReadable("the body begins with a byte order mark; send it without")
    try:
        return _decoder.decode(text)
    except RecursionError as error:
        raise NotReadable("the body is nested too deeply") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        why = f"{error.msg[:1].lower()}{error.msg[1:]}"
        raise NotReadable(f"the body is no JSON: {place}: {why}") from error
    except NotReadable as error:
        raise NotReadable(f"the body is no JSON: {error}") from error
    except ValueError as error:  # what Python says of it is advice for us
        raise NotReadable("a number in the body has too many digits") from error


def read_one_json(body: bytes) -> Any:
    """Return what a JSON text says that is taken as a whole, or not at all.

    Raises:
        NotReadable: as ``read_json``; or something stands there twice, or half a letter.
    """
    given = read_json(body)
    if twice := _twice_in(given):
        raise NotReadable(f"`{twice}` stands in the body more than once")
    try:
        json.dumps(given, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise NotReadable("half of a surrogate pair is no Unicode") from error
    return given


def _twice_in(given: Any) -> str | None:
    """Return the place of the first member that an object has twice, or ``None``."""
    pending: deque[tuple[str, Any]] = deque([("", given)])
    while pending:
        place, value = pending.popleft()
        if isinstance(value, Twice):
            return place
        if isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            pending += [
                (f"{place}.{name}" if place else name, one)
                for name, one in members.items()
            ]
        elif isinstance(value, list):
            items = cast("Sequence[Any]", value)
            pending += [(f"{place}[{i}]", one) for i, one in enumerate(items)]
    return None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        times = Counter(name for name, _ in pairs)
        found |= {name: Twice() for name, n_times in times.items() if n_times > 1}
    return found


def _number(text: str) -> float:
    """Return a number that is written with a point or an exponent."""
    number = float(text)
    try:
        is_exact = number.is_integer() and int(number) == Decimal(text)
    except DecimalException:  # an exponent of twenty digits
        return number
    return int(number) if is_exact else number


def _constant(text: str) -> NoReturn:
    raise NotReadable(f"{text} is no number")


_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_number, parse_constant=_constant
)
