"""``meterline outbox``: what Stripe is told, what hangs, and what to do about it."""

from pathlib import Path

import click
import msgspec

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.options import daemon_options
from meterline_sidecar.cli.output import quantity, show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.store.outbox import STATES
from meterline_sidecar.stripe.states import ROW_STATES
from meterline_sidecar.web.answers.outbox import OutboxPage, ShownRow

HINTS = {
    str(name): f"{state.means}; {state.advice}"
    for name, state in ROW_STATES.items()
    if state.advice is not None
}


class ListsByDefault(click.Group):
    """``meterline outbox --state dead`` is ``meterline outbox list --state dead``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments, as those of ``list`` where no command is named."""
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=ListsByDefault)
def command() -> None:
    """Show what Stripe is told; retry or drop what is stuck."""


@command.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only rows in this state.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=100, help="Rows.")
@click.option("--after", type=int, default=0, help="Only rows behind this number.")
@daemon_options
def list_rows(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    state: str | None,
    limit: int,
    after: int,
) -> None:
    """List rows, in the order in which they were made."""
    with Client.find(url, config_path) as client:
        answer = client.get(
            "/v1/outbox", OutboxPage, state=state, limit=limit, after=after
        )
    if is_json:
        show_json(answer)
        return
    tell_rows(answer)


@command.command("show")
@click.argument("row", type=int)
@daemon_options
def show_row(
    config_path: Path | None, url: str | None, is_json: bool, row: int
) -> None:
    """Show everything about one row."""
    with Client.find(url, config_path) as client:
        tell_row(client.get(f"/v1/outbox/{row}", ShownRow), is_json=is_json)


@command.command()
@click.argument("row", type=int)
@click.option(
    "--certain", is_flag=True, help="You know that Stripe does not count this row."
)
@daemon_options
def retry(
    config_path: Path | None, url: str | None, is_json: bool, row: int, certain: bool
) -> None:
    """Send a row again, where that cannot count twice."""
    with Client.find(url, config_path) as client:
        answer = client.post(
            f"/v1/outbox/{row}/retry", ShownRow, certain="true" if certain else None
        )
    tell_row(answer, is_json=is_json)


@command.command()
@click.argument("row", type=int)
@click.option("--reason", required=True, help="Why its usage is not billed.")
@daemon_options
def drop(
    config_path: Path | None, url: str | None, is_json: bool, row: int, reason: str
) -> None:
    """Give a row up: Stripe is never told of its usage."""
    with Client.find(url, config_path) as client:
        answer = client.post(f"/v1/outbox/{row}/drop", ShownRow, reason=reason)
    tell_row(answer, is_json=is_json)


def tell_rows(answer: OutboxPage) -> None:
    """Print rows for people."""
    if answer.mode == "dry_run":
        click.echo('a dry run: nothing is sent until stripe.mode = "send"\n')
    table = Table(
        ">row", "state", "customer", "event name", "hour (UTC)", ">value", "why"
    )
    for row in answer.rows:
        mode = "" if row.mode == "delta" and row.value >= 0 else f" {row.mode}"
        table.add(
            str(row.id),
            row.state,
            row.stripe_customer or row.customer,
            row.event_name,
            row.hour[:16].replace("T", " "),
            quantity(row.value) + mode,
            row.reason or "",
        )
    show(table)
    for state in sorted({row.state for row in answer.rows} & HINTS.keys()):
        click.echo(f"\n{state}: {HINTS[state]}")
    if answer.next_after is not None:
        click.echo(f"\nmore: --after {answer.next_after}")


def tell_row(row: ShownRow, *, is_json: bool) -> None:
    """Print one row."""
    if is_json:
        show_json(row)
        return
    table = Table("what", "value")
    for name, value in msgspec.structs.asdict(row).items():
        if value is not None:
            table.add(name.replace("_", " "), str(value))
    if row.state in HINTS:
        table.add("what to do", HINTS[row.state])
    show(table)
