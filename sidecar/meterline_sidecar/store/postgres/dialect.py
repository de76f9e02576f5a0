"""Statements and texts, as PostgreSQL takes them.

A statement is written once, for both databases. Here its ``?`` become ``$1``, ``$2`` ...;
where PostgreSQL has other words for something, the statement brings its own text (see
``dialects``).
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from meterline_sidecar.store.dialects import text_for_postgres

STATEMENTS_MAX: Final = 2_000  # there are some hundred, and some with many marks
_PARTS: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\?")

# PostgreSQL stores no NUL in a text, and a path that a client asked for may hold one.
# These two stand for it and for themselves; no text that people write holds the first.
ESCAPE: Final = "\x1a"
NUL: Final = ESCAPE + "0"
ESCAPED: Final = ESCAPE + "1"

_APPEND: Final = re.compile(
    r"INSERT INTO (?P<table>\w+) \((?P<columns>[\w, ]+)\)\s+VALUES \([?, ]+\)"
    r"(?P<conflict>(?: ON CONFLICT(?: \([\w, ]+\))? DO NOTHING)?)\s*"
)


@lru_cache(maxsize=STATEMENTS_MAX)
def numbered(sql: str) -> str:
    """Return a statement with ``$1``, ``$2`` ... in the place of its marks."""
    count = 0

    def number(part: re.Match[str]) -> str:
        nonlocal count
        if part[0] != "?":
            return part[0]  # within quotes it is what it says
        count += 1
        return f"${count}"

    return _PARTS.sub(number, text_for_postgres(sql))


class Append(NamedTuple):
    """A statement that adds a row of plain values, in parts."""

    table: str
    columns: tuple[str, ...]
    conflict: str

    def of_arrays(self, types: tuple[str, ...]) -> str:
        """Return a statement that adds many rows: a parameter is a column's values."""
        arrays = ", ".join(f"${i}::{name}[]" for i, name in enumerate(types, start=1))
        return (
            f"INSERT INTO {self.table} ({', '.join(self.columns)})"  # noqa: S608 - names of ours
            f" SELECT * FROM unnest({arrays}){self.conflict}"
        )


@lru_cache(maxsize=STATEMENTS_MAX)
def append(sql: str) -> Append | None:
    """Return the parts of a statement that adds a row of plain values, if it is one."""
    found = _APPEND.fullmatch(text_for_postgres(sql))
    if found is None:
        return None
    columns = tuple(found["columns"].split(", "))
    return Append(found["table"], columns, found["conflict"])


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
