"""``meterline meters``: count what a meter measured again, on purpose."""

from pathlib import Path
from urllib.parse import quote

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.consequences import tell_consequences
from meterline_sidecar.cli.options import daemon_options
from meterline_sidecar.cli.output import quantity, show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.decimals import minus
from meterline_sidecar.web.answers.meters import RecountBegun, RecountPreview


@click.group()
def command() -> None:
    """Count what a meter measured again.

    A meter that is changed counts so from then on, and what was counted stays as it
    was counted. These commands change that on purpose.
    """


@command.command()
@click.argument("meter")
@click.option(
    "--from",
    "since",
    metavar="DAY",
    help="Count again from this day in UTC on, such as 2026-11-01. Default: from the"
    " beginning.",
)
@click.option(
    "--into-final",
    "reason",
    metavar="REASON",
    default="",
    help="Also change what periods come to that are final. The difference is billed on"
    " the next invoices, and the ledger keeps the reason.",
)
@click.option(
    "--apply", is_flag=True, help="Do it. Without it, show what would change."
)
@daemon_options
def recount(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    meter: str,
    since: str | None,
    reason: str,
    apply: bool,
) -> None:
    """Count all events again by what METER measures now.

    Without --apply it only shows whose usage would change, and what their periods
    would come to. With it, a second count begins beside the first, which is read until
    the second has caught up.
    """
    path = f"/v1/meters/{quote(meter, safe='')}/recount"
    with Client.find(url, config_path) as client:
        if not apply:
            found = client.get_work(path, RecountPreview, since=since)
            tell(found, is_json=is_json)
            return
        begun = client.post(path, RecountBegun, since=since, into_final=reason or None)
    if is_json:
        show_json(begun)
    else:
        _tell_begun(begun)


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
        click.echo("nothing was counted since then: there is nothing to count again")
    else:
        click.echo(f"recounting, {begun.recounting_percent} %; see `meterline status`")
