"""Statements and texts, as PostgreSQL takes them.

A statement is written once, for both databases. Here its ``?`` become ``$1``, ``$2`` ...;
where PostgreSQL has other words for something, the statement brings its own text (see
``dialects``).
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from meterline_sidecar.store.dialects import text_for_postgres

STATEMENTS_MAX: Final = 2_000  # there are some hundred, and some with many marks
_AS_THEY_ARE: Final = frozenset({int, bytes, float, type(None)})
_PARTS: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\?")

# PostgreSQL stores no NUL in a text, and a path that a client asked for may hold one.
# These two stand for it and for themselves; no text that people write holds the first.
ESCAPE: Final = "\x1a"
NUL: Final = ESCAPE + "0"
ESCAPED: Final = ESCAPE + "1"

_APPEND: Final = re.compile(
    r"INSERT INTO (?P<table>\w+) \((?P<columns>[\w, ]+)\)"
    r"\s+VALUES \([?, ]+\)(?:, \([?, ]+\))*"
    r"(?P<conflict>(?: ON CONFLICT(?: \((?P<key>[\w, ]+)\))?"
    r" DO (?:NOTHING|(?P<changes>UPDATE) SET [^?]+))?)\s*"
)
_GATHERED: Final = re.compile(
    r"VALUES \((?P<first>CAST\(\? AS (?:BIGINT|TEXT)\)(?:, CAST\(\? AS BIGINT\))*)\)"
    r"(?:, \([?, ]+\))+|(?P<but>\bNOT )?\bIN \(\?(?:, \?)+\)"
)
"""Rows of numbers or of a text, and lists of marks: however many, it is one statement."""
_OF_NONE: Final = re.compile(r"(?P<but>\bNOT )?\bIN \(\)")
"""A list of nothing, which SQLite alone has in these words."""


class Statement(NamedTuple):
    """A statement as PostgreSQL takes it, and which parameters it takes as arrays."""

    sql: str
    """With ``$1``, ``$2`` ... in the place of its marks."""
    gathered: tuple[tuple[int, int, int], ...] = ()
    """The place of the first, how many arrays they make, and where others follow."""

    def of(self, parameters: Sequence[Any]) -> Sequence[Any]:
        """Return what it takes in the place of parameters."""
        if not self.gathered:
            return parameters
        found: list[Any] = []
        done = 0
        for first, width, end in self.gathered:
            found += parameters[done:first]
            part = in_array(parameters[first:end])
            found += [part[i::width] for i in range(width)]
            done = end
        return [*found, *parameters[done:]]


@lru_cache(maxsize=STATEMENTS_MAX)
def statement(sql: str) -> Statement:
    """Return a statement as PostgreSQL takes it, whose long lists are arrays.

    Of hundreds of marks it would read, type and plan each anew, in ten times the time
    that it takes to look up what they are for.
    """
    sql = _text(sql)
    gathered: list[tuple[int, int, int]] = []

    def gather(part: re.Match[str]) -> str:
        first = _n_marks(sql[: part.start()])
        gathered.append(
            (first, part["first"].count("?") if part["first"] else 1,
             first + part[0].count("?"))
        )  # fmt: skip
        if part["first"]:
            arrays = (
                part["first"].replace("BIGINT", "BIGINT[]").replace("TEXT", "TEXT[]")
            )
            return f"SELECT * FROM unnest({arrays})"  # noqa: S608 - only marks
        return "<> ALL(?)" if part["but"] else "= ANY(?)"

    arrays = _GATHERED.sub(gather, sql)
    return Statement(_numbered(arrays), tuple(gathered))


@lru_cache(maxsize=STATEMENTS_MAX)
def numbered(sql: str) -> str:
    """Return a statement with ``$1``, ``$2`` ... in the place of its marks, of each."""
    return _numbered(_text(sql))


def _text(sql: str) -> str:
    """Return a statement in the words of PostgreSQL, with its marks."""
    return _OF_NONE.sub(
        lambda part: "<> ALL('{}')" if part["but"] else "= ANY('{}')",
        text_for_postgres(sql),
    )


def _numbered(sql: str) -> str:
    count = 0

    def number(part: re.Match[str]) -> str:
        nonlocal count
        if part[0] != "?":
            return part[0]  # within quotes it is what it says
        count += 1
        return f"${count}"

    return _PARTS.sub(number, sql)


def _n_marks(sql: str) -> int:
    return sum(part[0] == "?" for part in _PARTS.finditer(sql))


class Append(NamedTuple):
    """A statement that adds rows of plain values, in parts."""

    table: str
    columns: tuple[str, ...]
    conflict: str
    key: tuple[int, ...]
    """The places of the columns by which a row may be there, where it is changed then."""

    @property
    def of_one(self) -> str:
        """A statement that adds one row."""
        values = ", ".join(f"${i}" for i in range(1, len(self.columns) + 1))
        return f"INSERT INTO {self.table} ({self._listed}) VALUES ({values})"  # noqa: S608 - names of ours

    @property
    def _listed(self) -> str:
        return ", ".join(self.columns)

    def of_arrays(
        self, types: Sequence[str], same: Sequence[bool], *, numbers_rows: bool
    ) -> str:
        """Return a statement that adds many rows: a parameter is a column's values.

        Args:
            types: of the columns.
            same: which of them have one value in all rows, and are that; not all have.
            numbers_rows: whether they get the next ids, which the server would find anew
                for each of them.
        """
        values = [
            f"${i}::{kind}" if is_same else f"r.{name}"
            for i, (name, kind, is_same) in enumerate(
                zip(self.columns, types, same, strict=True), start=1
            )
        ]
        arrays = [
            (name, f"${i}::{kind}[]")
            for i, (name, kind, is_same) in enumerate(
                zip(self.columns, types, same, strict=True), start=1
            )
            if not is_same
        ]
        names = ", ".join(name for name, _ in arrays)
        rows = f"unnest({', '.join(array for _, array in arrays)})"
        listed = self._listed
        if numbers_rows:
            listed = f"id, {listed}"
            values.insert(0, f"(SELECT next_id('{self.table}')) - 1 + r.ordinality")
            rows += " WITH ORDINALITY"
        return (
            f"INSERT INTO {self.table} ({listed}) SELECT {', '.join(values)}"  # noqa: S608 - names of ours
            f" FROM {rows} AS r ({names}){self.conflict}"
        )

    def changes_twice(self, columns: Sequence[Sequence[Any]]) -> bool:
        """Say whether some rows are one row, which a statement changes only once."""
        if not self.key:
            return False
        keys = set(zip(*(columns[i] for i in self.key), strict=True))
        return len(keys) < len(columns[0])


@lru_cache(maxsize=STATEMENTS_MAX)
def append(sql: str) -> Append | None:
    """Return the parts of a statement that adds rows of plain values, if it is one."""
    found = _APPEND.fullmatch(text_for_postgres(sql))
    if found is None:
        return None
    columns = tuple(found["columns"].split(", "))
    key = found["key"].split(", ") if found["changes"] else ()
    return Append(
        found["table"], columns, found["conflict"], tuple(map(columns.index, key))
    )


def in_array(values: Sequence[Any]) -> Sequence[Any]:
    """Return values as they stand in an array.

    There a text does not pass through its own form, and flags are arrays themselves.
    """
    if _AS_THEY_ARE.issuperset(map(type, values)):
        return values
    return [
        stored(value)
        if isinstance(value, str)
        else int(value)
        if isinstance(value, int)
        else value
        for value in values
    ]


def stored(text: str) -> str:
    """Return a text in a form that PostgreSQL can store."""
    if ESCAPE in text:
        text = text.replace(ESCAPE, ESCAPED)
    return text.replace("\0", NUL) if "\0" in text else text


def read(text: str) -> str:
    """Return the text that was stored as this one."""
    if ESCAPE not in text:
        return text
    return text.replace(NUL, "\0").replace(ESCAPED, ESCAPE)


def changed_rows(status: str) -> int:
    """Return how many rows a statement changed, by what the server says at its end."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdecimal() else 0
