"""``meterline late``: usage that came when its period was final."""

from pathlib import Path
from typing import Literal

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.names import check_customer
from meterline_sidecar.cli.options import ID, daemon_options, reason_option
from meterline_sidecar.cli.output import show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.web.answers.late import LatePage, ShownLate


@click.group()
def command() -> None:
    """Show late usage that is not billed by itself; accept or reject it.

    For a meter with `late = "report"`, events that arrive after their period became
    final wait for a person. All others are billed on the next invoice, as an
    adjustment.
    """


@command.command("list")
@click.option("--customer", metavar="ID", help="Only this customer's.")
@daemon_options
def list_late(
    config_path: Path | None, url: str | None, is_json: bool, customer: str | None
) -> None:
    """List late usage with its state, the newest first."""
    with Client.find(url, config_path) as client:
        found = [
            one
            for page in client.pages("/v1/late", LatePage, customer=customer)
            for one in page.late
        ]
        if not found:
            check_customer(client, customer)
    if is_json:
        show_json(LatePage(late=tuple(found), next_after=None))
        return
    if not found:
        click.echo("no late usage is waiting")
        return
    table = Table(">id", "customer", "period", ">events", "came", "state", "by", "why")
    for one in found:
        decided = (one.author or "-", one.reason or "-")
        table.add(
            *(str(one.late), one.customer, one.period, str(one.events)),
            *(one.held_back, one.state, *decided),
        )
    show(table)


@command.command()
@click.argument("late", type=ID)
@reason_option()
@daemon_options
def accept(
    config_path: Path | None, url: str | None, is_json: bool, late: int, reason: str
) -> None:
    """Bill late usage after all, as an adjustment that names its period."""
    _decide(url, config_path, late, "accept", reason, is_json=is_json)


@command.command()
@click.argument("late", type=ID)
@reason_option()
@daemon_options
def reject(
    config_path: Path | None, url: str | None, is_json: bool, late: int, reason: str
) -> None:
    """Leave late usage out of billing; it can still be accepted."""
    _decide(url, config_path, late, "reject", reason, is_json=is_json)


def _decide(
    url: str | None,
    config_path: Path | None,
    late: int,
    verb: Literal["accept", "reject"],
    reason: str,
    *,
    is_json: bool,
) -> None:
    with Client.find(url, config_path) as client:
        done = client.post(f"/v1/late/{late}/{verb}", ShownLate, reason=reason)
    if is_json:
        show_json(done)
        return
    what = f"{n_of(done.events, 'event')} of {done.customer} in {done.period}"
    click.echo(f"late usage {done.late} {done.state}: {what}")
