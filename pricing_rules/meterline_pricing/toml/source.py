"""Read a TOML file and tell everything that is wrong with it, line by line.

Usage, for any file with a known shape::

    source = Source(text, file="meterline.toml")
    sidecar = source.root.table("sidecar")
    database = sidecar.need("database", TEXT)
    port = sidecar.take("port", integer(minimum=1, maximum=65535), 8080)
    for meter in source.root.tables("meter"):
        name = meter.need("name", TEXT)
        ...
        meter.close()          # reports every key that nobody asked for
    sidecar.close()
    source.root.close()
    source.check(ConfigError)  # raises with all problems, or does nothing

A wrong or missing value is noted and a harmless one returned in its place, so that
reading goes on to the next error. What was read counts only after ``check``.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, Generic, TypeVar, cast, overload

from msgspec import Struct

from meterline_pricing.errors import PricingError, Problem, unknown
from meterline_pricing.toml.lines import KeyPath, line_index
from meterline_pricing.toml.syntax import TOO_DEEP, syntax_problem
from meterline_pricing.toml.values import JsonDate, TomlFloat, as_toml

T = TypeVar("T")
Choice = TypeVar("Choice", bound=str)

UNKNOWN_KEYS_MAX: Final = 20  # told one by one, of one table
_TOO_DEEP: Final = re.compile(
    r"""(?<![\w.-])(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
    r"""(?:[ \t]*+\.[ \t]*+(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')){32}"""
)
"""A key of so many parts is nobody's."""
_DECIMAL: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)


class Unfit(ValueError):
    """A value is not of the kind that was expected."""


class Kind(Struct, Generic[T], frozen=True):
    """What a value must be: how it is called, checked, and stood in for."""

    expected: str
    """In words, with an article: ``a text``."""
    check: Callable[[Any], T]
    """Return the value to use. Raises ``Unfit`` for a value that is not of this kind,
    with a text where ``expected`` does not say it all; any ``ValueError`` will do."""
    blank: T
    """What a reader gets when the value is missing or wrong."""
    schema: Mapping[str, Any] = {}
    """What a JSON Schema says of the value."""


class Source:
    """One TOML text: its tables, the line of every key, and what is wrong so far."""

    def __init__(self, text: str, *, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.is_toml = True
        self._text = ""
        data: dict[str, Any] = {}
        try:
            if deep := _TOO_DEEP.search(text):
                line = text.count("\n", 0, deep.start()) + 1
                self.problems.append(Problem(TOO_DEEP, line=line, file=file))
                self.is_toml = False
                text = ""  # the time that it takes to read grows with its square
            data = tomllib.loads(text, parse_float=TomlFloat)
            self._text = text
        except (ValueError, RecursionError) as error:
            self.is_toml = False
            self.problems.append(syntax_problem(error, text, file=file))
        self.root = Table(self, (), data)

    @classmethod
    def of(cls, data: Mapping[str, Any], *, file: str) -> "Source":
        """Return tables that came as JSON, with floats refused as in TOML."""
        source = cls("", file=file)
        source.root = Table(source, (), {k: as_toml(v) for k, v in data.items()})
        return source

    @cached_property
    def _lines(self) -> dict[KeyPath, int]:
        try:  # once somebody asks: it takes longer than to read the text itself
            return line_index(self._text)
        except RecursionError:  # just not too deep for tomllib
            return {}

    def line(self, path: KeyPath) -> int | None:
        """Return the line of ``path``, or of the nearest table around it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path)

    def report(self, path: KeyPath, message: str) -> None:
        """Note that the value at ``path`` is wrong."""
        self.problems.append(
            Problem(message, key_text(path), self.line(path), self.file)
        )

    def check(self, error: type[PricingError] = PricingError) -> None:
        """Raise ``error`` with every problem, in the order of the lines, if any."""
        if self.problems:
            raise error(sorted(self.problems, key=lambda problem: problem.line or 0))


class Table:
    """One table of a source; remembers which keys were asked for."""

    def __init__(self, source: Source, path: KeyPath, data: Mapping[str, Any]) -> None:
        self.source = source
        self.path = path
        self.data = data
        self._asked: set[str] = set()

    def asks(self, key: str) -> bool:
        """Return whether ``key`` is written in the file, and that it may be."""
        self._asked.add(key)
        return key in self.data

    def __contains__(self, key: str) -> bool:
        """Return whether ``key`` is written in the file."""
        return key in self.data

    def need(self, key: str, kind: Kind[T]) -> T:
        """Return the value of ``key``, which must be there."""
        self._asked.add(key)
        if key not in self.data:
            self.report(key, f"missing: expected {kind.expected}")
            return kind.blank
        return self._read((*self.path, key), self.data[key], kind)

    @overload
    def take(self, key: str, kind: Kind[T], default: T) -> T: ...
    @overload
    def take(self, key: str, kind: Kind[T], default: None) -> T | None: ...
    def take(self, key: str, kind: Kind[T], default: T | None) -> T | None:
        """Return the value of ``key``, or ``default`` where it is not written."""
        self._asked.add(key)
        if key not in self.data:
            return default
        return self._read((*self.path, key), self.data[key], kind)

    def items(self, key: str, kind: Kind[T]) -> tuple[T, ...]:
        """Return the elements of the array ``key``; none where it is not written."""
        return tuple(
            self._read((*self.path, key, i), value, kind)
            for i, value in enumerate(self._array(key, f"an array: {kind.expected}"))
        )

    def mapping(self, key: str, kind: Kind[T]) -> dict[str, T]:
        """Return the table ``key``, whose keys are free, as a dict."""
        table = self.table(key)
        table._asked.update(table.data)
        return {
            name: self._read((*table.path, name), value, kind)
            for name, value in table.data.items()
        }

    def table(self, key: str) -> "Table":
        """Return the table ``key``; an empty one where it is not written."""
        self._asked.add(key)
        path = (*self.path, key)
        return self._as_table(path, self.data.get(key, {}))

    def tables(self, key: str) -> list["Table"]:
        """Return the tables of the array ``key``; none where it is not written."""
        found: list[Table] = []
        for i, value in enumerate(self._array(key, f"an array of tables [[{key}]]")):
            table = self._as_table((*self.path, key, i), value)
            if isinstance(value, dict):
                found.append(table)
        return found

    def report(self, key: str | None, message: str) -> None:
        """Note that ``key`` (the whole table for ``None``) is wrong."""
        self.source.report(self.path if key is None else (*self.path, key), message)

    def report_all(
        self, error: PricingError, names: Mapping[str, str] | None = None
    ) -> None:
        """Note the problems of ``error``, whose keys are relative to this table.

        ``names`` translates the first part of a key to how the file calls it. Left
        out are those of a field that something is known to be wrong with already: what
        could not be read stands in as a blank, which makes no sense either.
        """
        known = {_field(problem.key) for problem in self._noted()}
        for problem in error.problems:
            if _field(problem.key) not in known:
                first, *rest = key_path(problem.key) or ("",)
                first = (names or {}).get(str(first), first)
                path = (*self.path, first, *rest) if first else self.path
                self.source.report(path, problem.message)

    def is_sound(self, key: str) -> bool:
        """Return whether nothing is known to be wrong with ``key``, or below it."""
        here = key_text((*self.path, key))
        return not any(
            problem.key == here or problem.key.startswith((f"{here}.", f"{here}["))
            for problem in self._noted()
        )

    def _noted(self) -> Iterator[Problem]:
        """Yield what was noted of this table, which is read in one go, the last first."""
        here = key_text(self.path)
        for problem in reversed(self.source.problems):
            if not problem.key.startswith(here):
                return
            yield problem

    def close(self, others: Iterable[str] = ()) -> None:
        """Note every key that nobody asked for, with the nearest one that exists.

        ``others`` may be there too, though they were not asked for.
        """
        known = self._asked.union(others)
        odd = [key for key in self.data if key not in known]
        for key in odd[:UNKNOWN_KEYS_MAX]:
            self.report(key, unknown("key", key, known))
        if len(odd) > UNKNOWN_KEYS_MAX:
            self.report(None, f"{len(odd) - UNKNOWN_KEYS_MAX} more unknown keys")

    def _array(self, key: str, expected: str) -> list[object]:
        self._asked.add(key)
        value: object = self.data.get(key, [])
        if not isinstance(value, list):
            self.report(key, f"expected {expected}, not {described(value)}")
            return []
        return cast("list[object]", value)

    def _as_table(self, path: KeyPath, value: object) -> "Table":
        if isinstance(value, dict):
            return Table(self.source, path, cast("dict[str, Any]", value))
        self.source.report(path, f"expected a table, not {described(value)}")
        return Table(self.source, path, {})

    def _read(self, path: KeyPath, value: object, kind: Kind[T]) -> T:
        try:
            return kind.check(value)
        except ValueError as error:
            message = str(error)
            if not message:
                message = f"expected {kind.expected}, not {described(value)}"
            self.source.report(path, message)
            return kind.blank


def _check_text(value: object) -> str:
    if isinstance(value, JsonDate):
        return str(value)
    if type(value) is not str or not value:
        raise Unfit
    return value


def _check_boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise Unfit
    return value


def _check_date(value: object) -> date:
    if isinstance(value, JsonDate):
        return date.fromisoformat(value)
    if not isinstance(value, date) or isinstance(value, datetime):
        raise Unfit
    return value


def _check_decimal(value: object) -> Decimal:
    if isinstance(value, TomlFloat):
        raise Unfit(
            f"a float is not exact: write {quoted_form(value)} instead of {value}"
        )
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Decimal(value)
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return Decimal(value)
    raise Unfit


TEXT: Final = Kind("a text", _check_text, "", {"type": "string", "minLength": 1})
BOOLEAN: Final = Kind("true or false", _check_boolean, False, {"type": "boolean"})
DATE: Final = Kind(
    "a date such as 2026-01-31",
    _check_date,
    date.min,
    {"type": "string", "format": "date"},
)
DECIMAL: Final = Kind(
    'an integer of 0 or more, or a quoted decimal such as "0.001"',
    _check_decimal,
    Decimal(0),
    {"type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+([.][0-9]+)?$"},
)


def integer(*, minimum: int, maximum: int) -> Kind[int]:
    """Return the kind of an integer from ``minimum`` to ``maximum``."""

    def check(value: object) -> int:
        if type(value) is not int or not minimum <= value <= maximum:
            raise Unfit
        return value

    schema = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return Kind(f"an integer from {minimum} to {maximum}", check, minimum, schema)


def one_of(what: str, choices: Iterable[Choice]) -> Kind[Choice]:
    """Return the kind of a text that is one of ``choices``; ``what`` is its name."""
    known = tuple(choices)

    def check(value: object) -> Choice:
        text = _check_text(value)
        for choice in known:
            if choice == text:
                return choice
        raise Unfit(unknown(what, text, known))

    schema = {"enum": list(known)}
    return Kind(f"one of {', '.join(known)}", check, known[0], schema)


def described(value: object) -> str:
    """Return what a TOML value is, in words, for an error message."""
    match value:
        case bool():
            return str(value).lower()
        case TomlFloat():
            return f"the float {value}"
        case str():
            return f'the text "{value:.40}"' if value else "an empty text"
        case int():
            return f"the integer {value}"
        case dict():
            return "a table"
        case list():
            return "an array"
        case _:
            return f"the {type(value).__name__} {value}"


def quoted_form(literal: str) -> str:
    """Return how to write a float's digits so that they are exact: ``"0.001"``."""
    plain = literal.replace("_", "").lower()
    if "inf" in plain or "nan" in plain:
        return "a number"
    number = Decimal(plain)
    if abs(number.adjusted()) > 30:
        return "the number in full, in quotes,"
    return f'"{number:f}"'


def key_text(path: KeyPath) -> str:
    """Return a path the way people write it: ``plan[0].price[1].tiers[2].up_to``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def key_path(text: str) -> KeyPath:
    """Return the path that ``key_text`` wrote, for keys without dots and brackets."""
    parts = re.findall(r"\[(\d+)\]|([^.\[\]]+)", text)
    return tuple(name or int(index) for index, name in parts)


def _field(key: str) -> str:
    return key.rpartition(".")[2]
