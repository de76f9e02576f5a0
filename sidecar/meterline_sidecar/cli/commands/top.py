"""``meterline top``: who and what is busy right now."""

import time
from collections import Counter
from collections.abc import Iterator
from math import isnan
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.commands.events import any_time
from meterline_sidecar.cli.options import daemon_options
from meterline_sidecar.cli.output import json_line, until_interrupted
from meterline_sidecar.cli.table import Table, is_terminal, show
from meterline_sidecar.web.answers.events import EventPage, ShownEvent
from meterline_sidecar.web.answers.status import Status

SAMPLE_EVENTS: Final = 1_000  # of those that came in during an interval
ROWS: Final = 10
SERVER_ERROR: Final = 500
BAR_CHARS: Final = 20
INTERVAL_S_MIN: Final = 0.2
INTERVAL_S_MAX: Final = 3_600.0
CURSOR_HOME_AND_CLEAR: Final = "\x1b[H\x1b[J"  # over what was: no flicker


class Seconds(click.FloatRange):
    """So many seconds; ``nan`` is on no side of a bound, and no length of time."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return them, or say what is possible."""
        number = super().convert(value, param, ctx)
        if isnan(number):
            self.fail(f"{value!r} is no number.", param, ctx)
        return number


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in one interval; rates are events a second."""

    rate: float
    producers: dict[str, float]
    customers: dict[str, float]
    routes: dict[str, float]
    errors: dict[str, float]
    """By route: what was answered with a status of 500 or more."""
    is_sample: bool
    """Customers and routes are estimated from some of the events."""


@click.command()
@click.option(
    "--interval",
    type=Seconds(INTERVAL_S_MIN, INTERVAL_S_MAX),
    metavar="SECONDS",
    default=2.0,
    show_default=True,
    help="Seconds between refreshes.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help="Stop after this many refreshes; by default at Ctrl-C.",
)
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    interval: float,
    count: int | None,
) -> None:
    """Show which workers, customers and routes are busy.

    Refreshes their rates repeatedly.
    """
    with Client.find(url, config_path) as client, until_interrupted():
        for i, activity in enumerate(_watch(client, interval), start=1):
            if is_json:
                click.echo(json_line(activity))
            else:
                _tell(activity, at=client.url)
            if i == count:
                return


def _watch(client: Client, interval_s: float) -> Iterator[Activity]:
    before, before_s = client.get("/status", Status), time.monotonic()
    while True:
        time.sleep(interval_s)
        now, now_s = client.get("/status", Status), time.monotonic()
        yield _activity(client, before, now, elapsed_s=now_s - before_s)
        before, before_s = now, now_s


def _activity(
    client: Client, before: Status, now: Status, *, elapsed_s: float
) -> Activity:
    first, last = before.last_event_id, now.last_event_id
    n_events = last - first
    page = client.get(
        "/v1/events", EventPage, after=first, limit=SAMPLE_EVENTS, **any_time(now)
    )
    sample = [event for event in page.events if event.id <= last]
    # Each of the sample stands for so many a second.
    weight = n_events / len(sample) / elapsed_s if sample else 0.0

    def rates(counts: Counter[str]) -> dict[str, float]:
        return {name: n * weight for name, n in counts.most_common(ROWS)}

    recorded = {p.producer: p.recorded for p in before.producers.shown}
    producers = {
        f"{p.app} {p.pid} on {p.host}": (p.recorded - recorded.get(p.producer, 0))
        / elapsed_s
        for p in now.producers.shown
        if p.is_open
    }
    busiest = sorted(producers.items(), key=lambda item: -item[1])
    routes = [(_route(event), event.status or 0) for event in sample]
    return Activity(
        rate=n_events / elapsed_s,
        producers=dict(busiest[:ROWS]),
        customers=rates(Counter(e.customer or "(nobody)" for e in sample)),
        routes=rates(Counter(route for route, _ in routes)),
        errors=rates(Counter(r for r, status in routes if status >= SERVER_ERROR)),
        is_sample=len(sample) < n_events,
    )


def _route(event: ShownEvent) -> str:
    return " ".join(filter(None, (event.method, event.route))) or event.kind


def _tell(activity: Activity, *, at: str) -> None:
    if is_terminal():
        click.echo(CURSOR_HOME_AND_CLEAR, nl=False)
    about = " (customers and routes from a sample)" if activity.is_sample else ""
    click.echo(f"Meterline at {at}: {activity.rate:,.1f} events/s{about}\n")
    for name, rates in (
        ("worker", activity.producers),
        ("customer", activity.customers),
    ):
        table = Table(name, ">events/s", "share")
        for key, rate in rates.items():
            table.add(key, f"{rate:,.1f}", _bar(rate, activity.rate))
        show(table)
        click.echo()
    table = Table("route", ">events/s", "share", ">errors/s")
    for route, rate in activity.routes.items():
        errors = activity.errors.get(route, 0)
        table.add(route, f"{rate:,.1f}", _bar(rate, activity.rate), f"{errors:,.1f}")
    show(table)


def _bar(rate: float, whole: float) -> str:
    """Return a share as a bar of up to ``BAR_CHARS``."""
    share = min(1.0, rate / whole) if whole else 0.0
    return ("#" * round(share * BAR_CHARS)).ljust(BAR_CHARS)
