"""Tables for people: with borders where rich draws them, else plain text."""

import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import Final

import click

from meterline_sidecar.printable import printable

GAP: Final = "  "


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

    def _set(self, row: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
        for cell, width, is_number in zip(row, widths, self.is_number, strict=True):
            yield cell.rjust(width) if is_number else cell.ljust(width)


def is_terminal() -> bool:
    """Say whether a person looks at what is printed."""
    return sys.stdout.isatty()


draw: Callable[[Sequence[str], Sequence[bool], Sequence[Sequence[str]]], None] | None
"""Draws a table with rich; ``None`` in a pipe, and where rich is not installed."""
if is_terminal() and find_spec("rich") is not None:
    # Not for a pipe, which would wait for the import and see nothing of it.
    from meterline_sidecar.cli import table_rich

    draw = table_rich.draw
else:
    draw = None


def show(table: Table) -> None:
    """Print a table."""
    if draw is not None:
        draw(table.columns, table.is_number, table.rows)
        return
    for line in table.lines():
        click.echo(line)
