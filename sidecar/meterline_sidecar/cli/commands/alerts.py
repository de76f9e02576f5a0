"""``meterline alerts``: which alerts stand, since when, and what to do."""

from pathlib import Path
from typing import Final

import click

from meterline_sidecar.cli.client import PAGE, Client
from meterline_sidecar.cli.names import check_customer
from meterline_sidecar.cli.options import daemon_options
from meterline_sidecar.cli.output import show_json
from meterline_sidecar.printable import printable
from meterline_sidecar.web.answers.alerts import AlertPage, ShownAlert

TOLD: Final = {
    "delivered": "told {delivered}",
    "shown": "no webhook is told",
    "pending": "the webhook is told next",
    "failed": "the webhook was not told: {error}",
}


@click.command()
@click.option("--customer", metavar="ID", help="Only this customer's.")
@click.option(
    "--all",
    "is_all",
    is_flag=True,
    help="Include those that are over, the newest first.",
)
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    customer: str | None,
    is_all: bool,
) -> None:
    """List active alerts, since when they are active, and what to do about each.

    A limit is active until the end of its billing period, a jump or a silence until the
    end of the day. [[alert]] in meterline.toml defines the alerts.
    """
    with Client.find(url, config_path) as client:
        found = _read(client, customer, is_all=is_all)
        if not found:
            check_customer(client, customer)
    if is_json:
        show_json(found)
        return
    for alert in found:
        _tell(alert)
    if not found:
        of = "" if customer is None else f" of {customer}"
        more = "" if is_all else "; --all also shows those that are over"
        click.echo(f"no alert{of} {'was raised' if is_all else 'stands'}{more}")


def _read(client: Client, customer: str | None, *, is_all: bool) -> list[ShownAlert]:
    found: list[ShownAlert] = []
    before: int | None = None
    while True:
        page = client.get(
            "/v1/alerts",
            AlertPage,
            customer=customer,
            is_open=None if is_all else "true",
            before=before,
            limit=PAGE,
        )
        found += page.alerts
        before = page.next_before
        if before is None:
            return found


def _tell(alert: ShownAlert) -> None:
    """Print an alert: what, for how long, and what to do while it stands."""
    color = "yellow" if alert.is_open else None
    mark = "!" if alert.is_open else "-"
    click.secho(printable(f"{mark} {alert.message} [{alert.rule}]"), fg=color)
    until = "" if alert.until is None else f", until {alert.until}"
    click.echo(printable(f"  raised {alert.raised}{until}; {_told(alert)}"))
    if alert.is_open:
        click.echo(printable(f"  -> {alert.action}"))


def _told(alert: ShownAlert) -> str:
    if alert.state == "pending" and alert.error is not None:
        return f"the webhook is told again {alert.next_attempt}: {alert.error}"
    said = TOLD[alert.state]
    return said.format(delivered=alert.delivered, error=alert.error)
