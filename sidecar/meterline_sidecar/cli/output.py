"""What commands print: tables for people, JSON for programs."""

import contextlib
import importlib
import sys
import time
from collections.abc import Generator, Iterable, Sequence
from decimal import Decimal
from importlib.util import find_spec
from typing import Any, Final

import click
import msgspec

from meterline_pricing.tools import currency_of, money_text, number_text

GAP: Final = "  "
BAR_CHARS: Final = 40
PROGRESS_LINE_EVERY_S: Final = 1.0


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
        self.rows.append(list(cells))

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


def show(table: Table) -> None:
    """Print a table: with rich on a terminal where that is installed, else plain."""
    if is_terminal() and find_spec("rich") is not None:
        # Only here, where rich was found: it is no dependency.
        importlib.import_module("meterline_sidecar.cli.table_rich").show(table)
        return
    for line in table.lines():
        click.echo(line)


def show_json(content: Any) -> None:
    """Print anything as JSON, indented; a Decimal is a text, so that none is lost."""
    click.echo(msgspec.json.format(msgspec.json.encode(content), indent=2))


def json_line(content: Any) -> str:
    """Return anything as JSON on one line, for what never ends."""
    return msgspec.json.encode(content).decode()


def quantity(number: int | Decimal) -> str:
    """Return a quantity with its thousands separated."""
    return number_text(Decimal(number))


def money(amount: Decimal, currency: str) -> str:
    """Return an amount with its currency: ``$70.00``, ``70 JPY``."""
    return money_text(amount, currency_of(currency))


@contextlib.contextmanager
def until_interrupted() -> Generator[None]:
    """Let Ctrl-C be the good end of what never ends by itself."""
    with contextlib.suppress(KeyboardInterrupt):
        yield


class Progress:
    """How far something long has come: a bar on a terminal, a line a second else."""

    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = total
        self._is_terminal = is_terminal()
        self._told_at_s = -PROGRESS_LINE_EVERY_S

    def show(self, done: int) -> None:
        """Say that so many of the total are done; the last one ends the line."""
        is_last = done >= self._total
        text = f"{quantity(done)} of {quantity(self._total)} {self._label}"
        if self._is_terminal:
            filled = "#" * (BAR_CHARS * done // self._total)
            bar = f"\r[{filled.ljust(BAR_CHARS, '.')}] {text}"
            click.echo(bar, nl=is_last)
        elif is_last or time.monotonic() - self._told_at_s >= PROGRESS_LINE_EVERY_S:
            self._told_at_s = time.monotonic()
            click.echo(text)


class Steps:
    """The progress of several long steps, one after the other."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._label = ""
        self._progress: Progress | None = None

    def show(self, label: str, done: int, total: int) -> None:
        """Say how far the step called ``label`` has come."""
        if self._quiet:
            return
        if self._progress is None or label != self._label:
            self._label = label
            self._progress = Progress(label, total)
        self._progress.show(done)
