"""A statement's columns and its parameters, made from one list of names."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

from meterline_sidecar.store.dialects import either
from meterline_sidecar.store.port import Value

T = TypeVar("T")

MARKS_MAX: Final = 500  # rows looked up by one statement; SQLite takes 32,766 marks
FEW_SUBJECTS: Final = 100
"""So many are marks of a statement: events of others are told by one look then."""
LISTED: Final = either(
    sqlite="(SELECT value FROM json_each(?))",
    postgres="(SELECT CAST(value AS BIGINT)"
    " FROM json_array_elements_text(CAST(? AS JSON)))",
)
"""The numbers of one parameter, as JSON: however many there are, it is one statement."""


def pieces(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield values piece by piece, each short enough for one statement's marks."""
    for start in range(0, len(values), MARKS_MAX):
        yield values[start : start + MARKS_MAX]


def marks(count: int) -> str:
    """Return so many marks for parameters, such as ``?, ?, ?``."""
    return ", ".join("?" * count)


def listed(numbers: Iterable[int]) -> str:
    """Return numbers as one parameter; see ``LISTED``."""
    return f"[{','.join(map(str, numbers))}]"


def number_rows(width: int, count: int) -> str:
    """Return marks for so many rows of numbers, for ``VALUES``.

    The first row says that they are numbers, which PostgreSQL would not guess.
    """
    first = f"({', '.join(['CAST(? AS BIGINT)'] * width)})"
    return ", ".join([first] + [f"({marks(width)})"] * (count - 1))


def text_rows(count: int) -> str:
    """Return marks for so many rows of a text each, likewise."""
    return ", ".join(["(CAST(? AS TEXT))"] + ["(?)"] * (count - 1))


class Columns:
    """Some columns of a table, in an order; a row's fields have the same names.

    A column that is put in between moves in the statement and in its parameters
    alike, so that no value can end up in its neighbour's place.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self.listed = ", ".join(self.names)
        self.marks = marks(len(self.names))

    def without(self, *names: str) -> "Columns":
        """Return the same columns but these."""
        assert set(names) <= set(self.names), names
        return Columns(name for name in self.names if name not in names)

    def of(self, row: object) -> tuple[Value, ...]:
        """Return the fields of a row in the order of the columns."""
        return tuple(getattr(row, name) for name in self.names)
