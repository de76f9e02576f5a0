"""What commands print besides tables: JSON, amounts, and how far something has come."""

import contextlib
import sys
import time
from collections.abc import Generator, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Final, TextIO

import click
import msgspec

from meterline_pricing.tools import currency_of, money_text, number_text
from meterline_sidecar.cli.table import has_terminal, is_terminal
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.printable import printable
from meterline_sidecar.problems.problem import Found, Severity
from meterline_sidecar.web.answers.usage import ShownPeriod

BAR_CHARS: Final = 40
PROGRESS_LINE_EVERY_S: Final = 1.0
PROGRESS_BAR_EVERY_S: Final = 0.1
MARKS: Final[dict[Severity, tuple[str, str]]] = {
    "info": ("-", "cyan"),
    "warning": ("!", "yellow"),
    "error": ("!", "red"),
}
"""How a problem begins, and its colour."""


def show_json(content: object) -> None:
    """Print anything as JSON, indented; a Decimal is a text, so that none is lost."""
    # A text, not bytes: those would pass by what keeps terminals safe (`printable`).
    click.echo(msgspec.json.format(msgspec.json.encode(content), indent=2).decode())


def json_line(content: object) -> str:
    """Return anything as JSON on one line, for what never ends."""
    return msgspec.json.encode(content).decode()


def quantity(number: int | Decimal, unit: str = "") -> str:
    """Return a quantity with its thousands separated, and its unit."""
    return f"{number_text(Decimal(number))} {unit}".rstrip()


def money(amount: Decimal, currency: str) -> str:
    """Return an amount with its currency: ``$70.00``, ``70 JPY``."""
    return money_text(amount, currency_of(currency))


def tell_freshness(as_of: str | None, recounting_percent: int | None) -> None:
    """Print up to when usage is counted, and whether it is being counted again."""
    click.echo(f"\nas of {as_of or 'never: nothing is added up yet'}")
    if recounting_percent is not None:
        click.secho(
            f"recounting, {recounting_percent} %: the numbers shown are the earlier"
            " ones",
            fg="yellow",
        )


def tell_problems(problems: Iterable[Found]) -> None:
    """Print what is wrong, and what to do about each."""
    for problem in problems:
        mark, color = MARKS[problem.severity]
        text = printable(f"{mark} {problem.text} [{problem.code}]")
        click.secho(text, fg=color)
        click.echo(f"  -> {printable(problem.action)}")


@contextlib.contextmanager
def writing(path: Path) -> Generator[None]:
    """Let whoever cannot write a file that was asked for say so.

    Raises:
        MeterlineError: it cannot be written; names the file and why.
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        where = error.filename or path
        raise MeterlineError(f"{where}: {why}; choose another place") from error


@contextlib.contextmanager
def until_interrupted() -> Generator[None]:
    """Let Ctrl-C be the good end of what never ends by itself."""
    with contextlib.suppress(KeyboardInterrupt):
        yield


class Progress:
    """How far something long has come: a bar on a terminal, a line a second else.

    Args:
        stream: where that is said; by default among what is printed.
        after_s: nothing is said before so many seconds.
    """

    def __init__(
        self,
        label: str,
        total: int,
        *,
        stream: TextIO | None = None,
        after_s: float = 0,
    ) -> None:
        self._label = label
        self._total = total
        self._stream = stream
        self._is_terminal = stream.isatty() if stream else is_terminal()
        self._every_s = (
            PROGRESS_BAR_EVERY_S if self._is_terminal else PROGRESS_LINE_EVERY_S
        )
        self._next_s = time.monotonic() + after_s if after_s else 0.0
        self._is_told = after_s == 0

    def show(self, done: int) -> None:
        """Say that so many of the total are done; the last one ends the line."""
        is_last = done >= self._total
        now_s = time.monotonic()
        # First of all: it is asked for each of millions of small things.
        if now_s < self._next_s and not (is_last and self._is_told):
            return
        self._next_s, self._is_told = now_s + self._every_s, True
        text = f"{quantity(done)} of {quantity(self._total)} {self._label}"
        if self._is_terminal:
            filled = "#" * (BAR_CHARS * done // self._total)
            bar = f"\r[{filled.ljust(BAR_CHARS, '.')}] {text}"
            click.echo(bar, nl=is_last, file=self._stream)
        else:
            click.echo(text, file=self._stream)


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
            self._progress = self._begin(label, total)
        self._progress.show(done)

    def _begin(self, label: str, total: int) -> Progress:
        return Progress(label, total)


class StepsAside(Steps):
    """The same for who looks on: on standard error, if that is a terminal, of steps that
    take longer than a moment. What is printed stays the answer alone.
    """

    def __init__(self) -> None:
        super().__init__(quiet=not has_terminal(sys.stderr))

    def _begin(self, label: str, total: int) -> Progress:
        return Progress(label, total, stream=sys.stderr, after_s=PROGRESS_LINE_EVERY_S)


def shown_name(period: ShownPeriod) -> str:
    """Return a period by its name, with its days where the name says only the first."""
    is_said = period.title in ("", period.name)
    return period.name if is_said else f"{period.name} ({period.title})"
