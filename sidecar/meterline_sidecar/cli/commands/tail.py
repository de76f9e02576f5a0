"""``meterline tail``: events as they arrive."""

import time
from pathlib import Path
from typing import Final

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.commands.events import any_time, event_line
from meterline_sidecar.cli.options import daemon_options, event_filters
from meterline_sidecar.cli.output import json_line, until_interrupted
from meterline_sidecar.web.answers.events import EventPage
from meterline_sidecar.web.answers.status import Status

PAGE_EVENTS: Final = 1_000
POLL_S: Final = 0.5


@click.command()
@event_filters
@click.option(
    "--count",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help="Stop after this many; by default at Ctrl-C.",
)
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    count: int | None,
    **filters: str | None,
) -> None:
    """Print events as they are stored.

    One to a line, beginning with the next one.
    """
    left = count
    with Client.find(url, config_path) as client, until_interrupted():
        status = client.get("/status", Status)
        # What comes later was learned later, whenever it happened.
        after = status.last_event_id
        span = any_time(status)
        while left is None or left > 0:
            limit = PAGE_EVENTS if left is None else min(PAGE_EVENTS, left)
            page = client.get(
                "/v1/events",
                EventPage,
                after=after,
                limit=limit,
                **span,
                **filters,
            )
            for event in page.events:
                click.echo(json_line(event) if is_json else event_line(event))
                after = event.id
            if left is not None:
                left -= len(page.events)
            if page.next_after is not None:
                after = page.next_after  # there is more; perhaps none of it ours
            elif left != 0:
                time.sleep(POLL_S)
