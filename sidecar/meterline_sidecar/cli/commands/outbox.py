"""``meterline outbox``: what Stripe is told, what hangs, and what to do about it."""

from pathlib import Path

import click
import msgspec

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.names import names_of
from meterline_sidecar.cli.options import (
    AFTER,
    ID,
    daemon_options,
    limit_option,
    reason_option,
)
from meterline_sidecar.cli.output import quantity, show_json
from meterline_sidecar.cli.papers import document_path
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.config.names import Names
from meterline_sidecar.store.outbox import STATES
from meterline_sidecar.stripe.states import ROW_STATES
from meterline_sidecar.web.answers.outbox import InvoiceCalls, OutboxPage, ShownRow

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
@limit_option("rows")
@click.option(
    "--after", type=AFTER, metavar="ROW", default=0, help="Only rows after this one."
)
@daemon_options
def list_rows(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    state: str | None,
    limit: int,
    after: int,
) -> None:
    """List rows, oldest first."""
    with Client.find(url, config_path) as client:
        answer = client.get(
            "/v1/outbox", OutboxPage, state=state, limit=limit, after=after
        )
        if is_json:
            show_json(answer)
            return
        tell_rows(answer, names_of(client))


@command.command("show")
@click.argument("row", type=ID)
@daemon_options
def show_row(
    config_path: Path | None, url: str | None, is_json: bool, row: int
) -> None:
    """Show everything about one row."""
    with Client.find(url, config_path) as client:
        tell_row(client, client.get(f"/v1/outbox/{row}", ShownRow), is_json=is_json)


@command.command()
@click.argument("row", type=ID)
@click.option(
    "--certain",
    is_flag=True,
    help="Retry even if in doubt, because you know that Stripe has not counted this"
    " row.",
)
@daemon_options
def retry(
    config_path: Path | None, url: str | None, is_json: bool, row: int, certain: bool
) -> None:
    """Retry a row, unless it could be counted twice."""
    with Client.find(url, config_path) as client:
        answer = client.post(
            f"/v1/outbox/{row}/retry", ShownRow, certain="true" if certain else None
        )
        tell_row(client, answer, is_json=is_json)


@command.command()
@click.argument("row", type=ID)
@reason_option("Why this usage is not billed.")
@daemon_options
def drop(
    config_path: Path | None, url: str | None, is_json: bool, row: int, reason: str
) -> None:
    """Give up on a row: its usage is never reported to Stripe."""
    with Client.find(url, config_path) as client:
        answer = client.post(f"/v1/outbox/{row}/drop", ShownRow, reason=reason)
        tell_row(client, answer, is_json=is_json)


@command.command()
@click.argument("number")
@click.option(
    "--retry", is_flag=True, help="Retry calls of this invoice that are held."
)
@click.option(
    "--take-credit-notes",
    is_flag=True,
    help="Credit the invoice here by the credit notes that exist only at Stripe.",
)
@daemon_options
def invoice(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    number: str,
    retry: bool,
    take_credit_notes: bool,
) -> None:
    """Show what Stripe is told of a final invoice, call by call."""
    if retry and take_credit_notes:
        raise click.UsageError("--retry and --take-credit-notes are two steps")
    path = document_path(number, "/stripe")
    with Client.find(url, config_path) as client:
        if retry:
            answer = client.post(f"{path}/retry", InvoiceCalls)
        elif take_credit_notes:
            answer = client.post(f"{path}/credit-notes", InvoiceCalls)
        else:
            answer = client.get(path, InvoiceCalls)
    if is_json:
        show_json(answer)
        return
    if not answer.calls:
        click.echo(f"{number} is not collected through Stripe")
        return
    table = Table("step", "of", "state", "at Stripe", "why")
    for call in answer.calls:
        at_stripe = call.stripe_id or ""
        table.add(call.step, call.what, call.state, at_stripe, call.reason or "")
    show(table)


def tell_rows(answer: OutboxPage, names: Names) -> None:
    """Print rows for people."""
    if answer.mode == "dry_run":
        click.echo('a dry run: nothing is sent until stripe.mode = "send"\n')
    table = Table(">row", "state", "customer", "meter", "hour (UTC)", ">value", "why")
    for row in answer.rows:
        mode = "" if row.mode == "delta" and row.value >= 0 else f" {row.mode}"
        table.add(
            str(row.id),
            row.state,
            row.customer,
            names.title(row.meter),
            row.hour[:16].replace("T", " "),
            quantity(row.value, names.unit(row.meter)) + mode,
            row.reason or "",
        )
    if answer.rows:
        show(table)
    else:
        click.echo("no such row is in the outbox")
    for state in sorted({row.state for row in answer.rows} & HINTS.keys()):
        click.echo(f"\n{state}: {HINTS[state]}")
    if answer.next_after is not None:
        click.echo(f"\nmore: --after {answer.next_after}")


def tell_row(client: Client, row: ShownRow, *, is_json: bool) -> None:
    """Print one row."""
    if is_json:
        show_json(row)
        return
    names = names_of(client)
    in_words = {
        "meter": names.title(row.meter),
        "value": quantity(row.value, names.unit(row.meter)),
    }
    table = Table("what", "value")
    for name, value in (msgspec.structs.asdict(row) | in_words).items():
        if value is not None:
            table.add(name.replace("_", " "), str(value))
    if row.state in HINTS:
        table.add("what to do", HINTS[row.state])
    show(table)
