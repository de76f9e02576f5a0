"""``meterline demo``: serves and bills a worked example, end to end, in seconds."""

import time
from collections.abc import Callable
from typing import Final

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.commands.events import events_table
from meterline_sidecar.cli.commands.invoice import tell_invoice
from meterline_sidecar.cli.commands.outbox import tell_rows
from meterline_sidecar.cli.commands.status import tell_status
from meterline_sidecar.cli.commands.usage import read_usage, tell_usage
from meterline_sidecar.cli.exits import NoSidecar
from meterline_sidecar.cli.names import names_of
from meterline_sidecar.cli.output import Progress, quantity, until_interrupted
from meterline_sidecar.cli.table import show
from meterline_sidecar.demo.stage import Failed, Stage, stage
from meterline_sidecar.web.answers.events import EventPage
from meterline_sidecar.web.answers.invoices import ShownInvoice
from meterline_sidecar.web.answers.outbox import OutboxPage, ReportAnswer
from meterline_sidecar.web.answers.status import Status

REQUESTS: Final = {"acme": 120_000, "globex": 18_000, "initech": 6_000}
WORKERS: Final = 2
CLOSED_AFTER_H: Final = 2
POLL_S: Final = 0.1
TIMEOUT_S: Final = 300.0  # a machine that needs longer shall say so


@click.command()
@click.option(
    "--keep",
    is_flag=True,
    help="Keep it running until Ctrl-C, so that you can look around.",
)
def command(keep: bool) -> None:
    """Run a worked example, from requests to an invoice.

    144,000 requests from three customers.

    Starts a sidecar and two worker processes of a small API in a temporary directory,
    shows what was counted, what it costs and what Stripe would be told, and ends.
    Nothing is sent anywhere.
    """
    with stage() as demo:
        click.echo("starting the sidecar, with a clock that can be set ahead ...")
        demo.start_sidecar()
        with Client(f"http://{demo.http}") as client:
            _until(demo, lambda: _is_ready(client))
            _serve(demo, client)
            _tell(client)
            _tell_stripe(demo, client)
            if keep:
                _keep(demo)
    if not keep:
        click.echo("\nwith `demo --keep` it stays, with its dashboard, until Ctrl-C")


def _serve(demo: Stage, client: Client) -> None:
    """Let the workers serve, and wait until every request is stored and added up."""
    total = sum(REQUESTS.values())
    click.echo(f"{WORKERS} workers serve {quantity(total)} requests ...")
    for i in range(1, WORKERS + 1):
        demo.start_worker(
            f"worker {i}", {name: n // WORKERS for name, n in REQUESTS.items()}
        )
    progress = Progress("requests stored", total)

    def is_counted() -> bool:
        status = client.get("/status", Status)
        n_stored = status.events.ingested
        if n_stored < total or status.aggregation.behind_events:
            progress.show(min(n_stored, total - 1))
            return False
        progress.show(total)
        return True

    _until(demo, is_counted)


def _tell(client: Client) -> None:
    """Print what a look at the sidecar shows, command by command."""
    _heading("meterline status")
    tell_status(client.get("/status", Status), at=client.url)
    _heading("meterline usage")
    tell_usage(read_usage(client))
    _heading("meterline events --customer acme --limit 3")
    page = client.get("/v1/events", EventPage, customer="acme", limit=3)
    show(events_table(page.events))
    for customer in REQUESTS:
        _heading(f"meterline invoice {customer}")
        tell_invoice(client.get(f"/v1/customers/{customer}/invoice", ShownInvoice))


def _tell_stripe(demo: Stage, client: Client) -> None:
    """Print what Stripe would be told once the hour is over."""
    demo.turn_clock(hours=CLOSED_AFTER_H)
    client.post("/v1/report", ReportAnswer)
    click.echo(
        f"\nthe sidecar's clock was set {CLOSED_AFTER_H} hours ahead, to end the hour"
    )
    _heading("meterline outbox")
    tell_rows(client.get("/v1/outbox", OutboxPage), names_of(client))


def _keep(demo: Stage) -> None:
    """Serve some visitors, with the right time, until somebody ends it."""
    demo.turn_clock(hours=0)
    demo.start_visitors()
    click.echo("\nstill running, with a few requests a second, until Ctrl-C")
    click.echo(f"  dashboard      http://{demo.http}/")
    click.echo(f"  HTTP API       http://{demo.http}/openapi.json")
    click.echo(f"  socket         {demo.socket}")
    click.echo(f"  configuration  {demo.config}")
    click.echo(f"  commands       meterline top --url http://{demo.http}")
    with until_interrupted():
        while True:
            demo.check()
            time.sleep(POLL_S)


def _heading(text: str) -> None:
    click.echo()
    click.secho(f"$ {text}", bold=True)


def _until(demo: Stage, condition: Callable[[], bool]) -> None:
    """Wait for the demo's processes.

    Raises:
        Failed: one of them ended badly, or it takes too long.
    """
    end_s = time.monotonic() + TIMEOUT_S
    while not condition():
        demo.check()
        if time.monotonic() > end_s:
            raise Failed(f"the demo takes longer than {TIMEOUT_S:.0f} s")
        time.sleep(POLL_S)


def _is_ready(client: Client) -> bool:
    try:
        return client.get("/status", Status).ready
    except NoSidecar:
        return False
