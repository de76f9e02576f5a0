"""``meterline report``: tell Stripe now, or show what would be told."""

from pathlib import Path

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.commands.outbox import HINTS, tell_rows
from meterline_sidecar.cli.names import names_of
from meterline_sidecar.cli.options import daemon_options
from meterline_sidecar.cli.output import quantity, show_json, tell_problems
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.web.answers.outbox import OutboxPage, ReportAnswer
from meterline_sidecar.web.answers.status import Status

PAGE = 1_000


@click.command()
@click.option("--dry-run", is_flag=True, help="Send nothing; show what would be sent.")
@daemon_options
def command(
    config_path: Path | None, url: str | None, is_json: bool, dry_run: bool
) -> None:
    """Report to Stripe now, or show what would be sent.

    Puts closed hours into the outbox, and sends what is due without waiting.
    """
    with Client.find(url, config_path) as client:
        if dry_run:
            _tell_dry_run(client, is_json=is_json)
            return
        answer = client.post("/v1/report", ReportAnswer)
    if is_json:
        show_json(answer)
        return
    tell_problems(answer.problems)
    table = Table("outbox", ">rows")
    for state, n_rows in answer.outbox.items():
        table.add(state, quantity(n_rows))
    show(table)


def _tell_dry_run(client: Client, *, is_json: bool) -> None:
    answer = client.get("/v1/outbox", OutboxPage, state="pending", limit=PAGE)
    if is_json:
        show_json(answer)
        return
    tell_rows(answer, names_of(client))
    counts = client.get("/status", Status).outbox
    hanging = [f"{n} {state}" for state, n in counts.items() if n and state in HINTS]
    if hanging:
        click.echo(f"\nnot among these: {', '.join(hanging)}; see `meterline outbox`")
