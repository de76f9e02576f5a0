"""``meterline meters``: count again what a meter measured, on purpose."""

import time
from datetime import date
from pathlib import Path
from typing import Final
from urllib.parse import quote

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.consequences import tell_consequences
from meterline_sidecar.cli.options import DAY, daemon_options
from meterline_sidecar.cli.output import Steps, quantity, show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.decimals import minus
from meterline_sidecar.web.answers.edges import EdgeList
from meterline_sidecar.web.answers.meters import (
    RecountBegun,
    RecountGivenUp,
    RecountPreview,
)
from meterline_sidecar.web.answers.status import Status

LOOK_S: Final = 0.5


@click.group()
def command() -> None:
    """Count again what a meter measured.

    A new or changed meter applies from then on, and earlier counts stay. This command
    changes them on purpose.
    """


@command.command()
@click.argument("meter")
@click.option(
    "--from",
    "since",
    type=DAY,
    metavar="DAY",
    help="Count again from this day in UTC, such as 2026-11-01; by default from the"
    " beginning.",
)
@click.option(
    "--into-final",
    "reason",
    metavar="REASON",
    default="",
    help="Also change the amounts of final periods. The differences are billed on the"
    " next invoices, and the ledger keeps the reason.",
)
@click.option(
    "--apply", is_flag=True, help="Do it, instead of showing what would change."
)
@click.option(
    "--no-wait", is_flag=True, help="With --apply: do not wait until it is counted."
)
@click.option(
    "--discard", metavar="REASON", help="Abandon recounts that are not complete."
)
@daemon_options
def rebuild(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    meter: str,
    since: date | None,
    reason: str,
    apply: bool,
    no_wait: bool,
    discard: str | None,
) -> None:
    """Count all events again by METER's current definition.

    Without --apply, only shows whose usage would change, and the new amounts of their
    periods. With it, a second count starts; until it has caught up, everything,
    including invoices, uses the first one. The sidecar continues by itself if this
    command is interrupted, and after a restart.
    """
    if discard is not None and (apply or since or reason):
        raise click.UsageError("--discard cannot be combined with other options")
    path = f"/v1/meters/{quote(meter, safe='')}/recount"
    first = None if since is None else str(since)
    with Client.find(url, config_path) as client:
        if discard is not None:
            given_up = client.post(f"{path}/discard", RecountGivenUp, reason=discard)
            _tell_given_up(given_up, is_json=is_json)
            return
        if not apply:
            found = client.get_work(path, RecountPreview, since=first)
            tell(found, is_json=is_json)
            return
        begun = client.post(path, RecountBegun, since=first, into_final=reason or None)
        if is_json:
            show_json(begun)
        else:
            _tell_begun(begun)
        if begun.recounting_percent is not None and not no_wait:
            wait_until_read(client, is_json=is_json)


def wait_until_read(client: Client, *, is_json: bool) -> None:
    """Show how far it is until it is complete, and which edges it waits for."""
    steps = Steps(quiet=is_json)
    told: list[str] = []
    while True:
        percent = client.get("/status", Status).aggregation.recounting_percent
        steps.show("percent counted again", 100 if percent is None else percent, 100)
        if percent is None:
            return
        waits = [
            f"{edge.name} ({edge.state})"
            for edge in client.get("/v1/edges", EdgeList).edges
            if edge.counts_again and edge.state != "retired"
        ]
        if waits and waits != told:
            click.echo(
                f"waits for edges that also count again: {', '.join(waits)}; it"
                " continues by itself, even if this command is interrupted",
                err=True,
            )
            told = waits
        time.sleep(LOOK_S)


def _tell_given_up(given_up: RecountGivenUp, *, is_json: bool) -> None:
    if is_json:
        show_json(given_up)
    else:
        meters = ", ".join(given_up.meters)
        click.echo(f"{meters}: not counted again; usage stays as it was counted")


def tell(found: RecountPreview, *, is_json: bool) -> None:
    """Print what counting again would change."""
    if is_json:
        show_json(found)
        return
    if not found.changes:
        click.echo(f"{found.meter}: nothing would change from {found.since} on")
        return
    table = Table("customer", "month (UTC)", ">now", ">counted again", ">difference")
    for one in found.changes:
        table.add(
            one.customer or "(nobody)",
            one.month,
            quantity(one.before),
            quantity(one.after),
            quantity(minus(one.after, one.before)),
        )
    show(table)
    tell_consequences(found.money)
    for text in found.refused:
        click.secho(text, fg="yellow")
    click.echo("\nnothing is changed yet; do it with --apply")


def _tell_begun(begun: RecountBegun) -> None:
    for text in begun.agreed:
        click.echo(text)
    if begun.recounting_percent is None:
        click.echo(
            "nothing has been counted since then, so there is nothing to count again"
        )
    else:
        click.echo(f"recounting, {begun.recounting_percent} %; see `meterline status`")
