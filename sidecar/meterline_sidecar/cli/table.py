"""Tables for people: with borders where rich draws them, else plain text.

On a terminal that is too narrow for a table its rows are printed one below the other:
no amount is ever cut.
"""

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import Final, TextIO

import click

from meterline_sidecar.printable import printable

GAP: Final = "  "
BORDER: Final = 3  # characters beside a cell where there are borders
WORD_MAX: Final = 20  # as long a piece of a text stays in one


class Table:
    """Rows of text under headings.

    Args:
        columns: the headings; one that begins with ``>`` has numbers below it, which
            are set flush right.
    """

    def __init__(self, *columns: str) -> None:
        self.columns = [name.removeprefix(">") for name in columns]
        self.is_number = [name.startswith(">") for name in columns]
        self.rows: list[list[str]] = []

    def add(self, *cells: str) -> None:
        """Add a row."""
        assert len(cells) == len(self.columns)
        self.rows.append([printable(cell) for cell in cells])

    def lines(self) -> Iterable[str]:
        """Yield the table as plain text."""
        rows = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        rule = ["-" * width for width in widths]
        for row in (self.columns, rule, *self.rows):
            yield GAP.join(self._set(row, widths)).rstrip()

    def width_min(self) -> int:
        """Return how wide a terminal is on which no number is cut, and no short word."""
        rows = [self.columns, *self.rows]
        columns = zip(*rows, strict=True)
        widest = (
            max(map(len if is_number else _longest_word, column))
            for column, is_number in zip(columns, self.is_number, strict=True)
        )
        return sum(width + BORDER for width in widest) + 1

    def records(self) -> Iterable[str]:
        """Yield the rows one below the other, each cell beside its heading."""
        width = max(map(len, self.columns))
        for row in self.rows:
            for name, cell in zip(self.columns, row, strict=True):
                if cell:
                    yield f"{name.ljust(width)}{GAP}{cell.strip()}"
            yield ""

    def _set(self, row: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
        for cell, width, is_number in zip(row, widths, self.is_number, strict=True):
            yield cell.rjust(width) if is_number else cell.ljust(width)


def _longest_word(text: str) -> int:
    return min(WORD_MAX, max(map(len, text.split()), default=0))


def is_terminal() -> bool:
    """Say whether a person looks at what is printed."""
    return has_terminal(sys.stdout)


def has_terminal(stream: TextIO | None) -> bool:
    """Say whether a person looks at a stream; ``None`` is one that was closed."""
    return stream is not None and stream.isatty()


draw: Callable[[Sequence[str], Sequence[bool], Sequence[Sequence[str]]], None] | None
"""Draws a table with rich; ``None`` in a pipe, and where rich is not installed."""
if is_terminal() and find_spec("rich") is not None:
    # Not for a pipe, which would wait for the import and see nothing of it.
    from meterline_sidecar.cli import table_rich

    draw = table_rich.draw
else:
    draw = None


def show(table: Table, *, none: str = "") -> None:
    """Print a table.

    Args:
        none: what is printed instead of one without a row.
    """
    if none and not table.rows:
        click.echo(none)
        return
    lines = list(table.lines())
    if is_terminal():
        width = shutil.get_terminal_size().columns
        if draw is not None and table.width_min() <= width:
            draw(table.columns, table.is_number, table.rows)
            return
        if max(map(len, lines)) > width and table.width_min() > width:
            lines = list(table.records()) or lines
    for line in lines:
        click.echo(line)
