"""The options that several commands share."""

import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Final, TypeVar

import click

from meterline.events import Kind
from meterline_pricing import PricingError
from meterline_sidecar.clock import parse_time_ms
from meterline_sidecar.terms.period_names import period_name

F = TypeVar("F", bound=Callable[..., object])

SETTINGS_FILE: Final = click.Path(path_type=Path, dir_okay=False, readable=False)
"""A file of the configuration; whoever reads it says what is wrong with it, with 78."""
CONFIG: Final = click.option(
    "--config",
    "config_path",
    type=SETTINGS_FILE,
    envvar="METERLINE_CONFIG",
    metavar="FILE",
    help="The configuration file; by default meterline.toml in this directory.",
)
URL: Final = click.option(
    "--url",
    envvar="METERLINE_URL",
    metavar="URL",
    help="The sidecar's address, such as http://127.0.0.1:8270 or unix:PATH; by "
    "default the configured one.",
)
JSON: Final = click.option("--json", "is_json", is_flag=True, help="Print JSON.")
ID_FORM: Final = re.compile("0*[1-9][0-9]{0,17}")
DAY_FORM: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Day(click.ParamType[date]):
    """A day of a calendar."""

    name = "day"

    def convert(
        self,
        value: str | date,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> date:
        """Return it, or say how one is written."""
        if isinstance(value, date):
            return value
        text = value.strip()
        try:
            # Or it would take a week, too, and digits without anything between them.
            return date.fromisoformat(text if DAY_FORM.fullmatch(text) else "")
        except ValueError:
            self.fail(
                f"no day is called `{value:.40}`; write one such as 2026-11-23",
                param,
                ctx,
            )


class Id(click.ParamType[int]):
    """The number by which the sidecar knows something."""

    name = "id"

    def convert(
        self,
        value: str | int,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        """Return it, or say what is possible."""
        text = str(value).strip()
        if not ID_FORM.fullmatch(text):
            self.fail(
                f"`{text:.40}` is no id: these are whole numbers from 1", param, ctx
            )
        return int(text)


class Reason(click.ParamType[str]):
    """Why somebody decides something."""

    name = "text"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return it, or say that it is missing."""
        if not value.strip():
            self.fail("it is empty; say why", param, ctx)
        return value


class Time(click.ParamType[str]):
    """A moment."""

    name = "time"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return it as the sidecar takes it, or say how one is written."""
        text = value.strip()
        try:
            parse_time_ms(text)
        except (ValueError, OverflowError):
            self.fail(
                f"`{value:.40}` is not a time; write one such as 2026-11-22T08:00:00Z",
                param,
                ctx,
            )
        return text


AFTER: Final = click.IntRange(min=0)
"""What comes after an id, and after 0 all there is."""
DAY: Final = Day()
ID: Final = Id()
TIME: Final = Time()


def reason_option(
    help_text: str = "Why; it is kept.", *, required: bool = True
) -> Callable[[F], F]:
    """Return ``--reason`` with what it says of itself."""
    return click.option("--reason", type=Reason(), required=required, help=help_text)


def is_given(value: object) -> bool:
    """Say whether somebody gave the option whose value this is."""
    return value is not None and value is not False and value != ()


def not_with(option: str, **others: object) -> None:
    """Refuse options that another one leaves no place for, instead of ignoring them.

    Args:
        option: the one that is given.
        others: what the others are, by the names of their parameters.

    Raises:
        UsageError: one of them is given as well; names both.
    """
    for name, value in others.items():
        if is_given(value):
            raise click.UsageError(
                f"--{option} cannot be combined with --{name.replace('_', '-')}"
            )


class PeriodName(click.ParamType[str]):
    """The name of a billing period, or a word for it."""

    name = "period"

    def __init__(self, *, takes_year: bool = False) -> None:
        self._takes_year = takes_year

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return it as the sidecar takes it, or say what is possible."""
        try:
            return period_name(value, takes_year=self._takes_year)
        except PricingError as error:
            self.fail(str(error), param, ctx)


def period_option(help_text: str, *, takes_year: bool = False) -> Callable[[F], F]:
    """Return ``--period`` with what it says of itself."""
    kind = PeriodName(takes_year=takes_year)
    return click.option("--period", type=kind, metavar="PERIOD", help=help_text)


PERIOD: Final = period_option(
    "A billing period: a month such as 2026-11, the first day of another one, such as"
    " 2026-11-23, or `last`; by default the current one."
)


def limit_option(what: str, *, default: int = 100) -> Callable[[F], F]:
    """Return the option that says how much of one page of an answer is shown."""
    return click.option(
        "--limit",
        type=click.IntRange(1, 1_000),
        metavar="NUMBER",
        default=default,
        show_default=True,
        help=f"Show at most this many {what}.",
    )


def clock_option(help_text: str) -> Callable[[F], F]:
    """Return ``--clock``: a file with the time that a command goes by."""
    return click.option(
        "--clock",
        "clock_path",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="METERLINE_CLOCK",
        metavar="FILE",
        help=help_text,
    )


CLOCK: Final = clock_option(
    "Use the time in this file instead of this machine's, as `meterline run --clock`"
    " does; by default that of a running sidecar, if it rehearses."
)


def span_options(command: F) -> F:
    """Add ``--period``, or ``--start`` and ``--end``, to a command."""
    for name, other, edge in (
        ("--end", "--start", "before"),
        ("--start", "--end", "from"),
    ):
        command = click.option(
            name,
            type=TIME,
            metavar="TIME",
            help=f"Only {edge} this time, such as 2026-11-22T08:00:00Z; UTC if it names"
            f" no zone. Needs {other}.",
        )(command)
    return PERIOD(command)


def event_filters(command: F) -> F:
    """Add what raw events can be filtered by to a command."""
    kinds = click.Choice([kind.name.lower() for kind in Kind])
    for name, help_text in (
        ("--where", "Only with this property, such as model=large."),
        ("--kind", "Only this kind; `use` is what was recorded outside a request."),
        ("--status", "Only these HTTP statuses, such as 404, 5xx or 400-499."),
        ("--method", "Only this HTTP method."),
        ("--route", "Only this route template."),
        ("--subject", "Only this subject."),
        ("--customer", "Only this customer."),
    ):
        kind = kinds if name == "--kind" else None
        metavar = None if kind else "TEXT"
        command = click.option(name, type=kind, metavar=metavar, help=help_text)(
            command
        )
    return command


def daemon_options(command: F) -> F:
    """Add what every command has that asks a running sidecar."""
    return CONFIG(URL(JSON(command)))
