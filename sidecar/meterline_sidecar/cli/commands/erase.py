"""``meterline erase``: takes a person's name out of the ledger."""

from pathlib import Path
from typing import Final

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.options import daemon_options
from meterline_sidecar.cli.output import quantity, show_json
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.web.answers.erasures import Erased, NewErasure

PATH: Final = "/v1/erasures"


@click.command()
@click.argument("subject")
@click.option("--reason", required=True, help="Why; it is kept, without the name.")
@click.option("--dry-run", is_flag=True, help="Only say what holds the name.")
@click.option("--yes", is_flag=True, help="Do not ask for the name once more.")
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    subject: str,
    reason: str,
    dry_run: bool,
    yes: bool,
) -> None:
    """Take the name of a SUBJECT out of the ledger, for good.

    A random alias takes its place, in events, terms, names that senders gave, and what
    was refused. Events, usage, invoices and both chains stay as they are, and
    `meterline verify` proves that nothing else was changed. There is no way back.
    """
    if not dry_run and not yes:
        typed = click.prompt(
            "type the subject once more to erase it for good", err=True
        )
        if typed != subject:
            raise click.UsageError("that is another name; nothing was erased")
    body = NewErasure(subject=subject, reason=reason, dry_run=dry_run)
    with Client.find(url, config_path) as client:
        answer = client.send("POST", PATH, Erased, body, is_work=True)
    if is_json:
        show_json(answer)
    else:
        _tell(answer)


def _tell(answer: Erased) -> None:
    done = answer.erasure
    if done is None:
        click.echo(
            f"{n_of(answer.events, 'event')} would be of an alias; without --dry-run"
            " they are"
        )
    else:
        click.echo(
            f"the name is erased (erasure {done.erasure}): {n_of(answer.events, 'event')},"
            f" and all sums, are of {done.alias}"
        )
    for table, n_rows in answer.mentions.items():
        click.secho(
            f"! {n_of(n_rows, 'row')} of {table} hold it in a text, and stay as they are",
            fg="yellow",
        )
    for spool in answer.spools:
        click.secho(
            f"! {spool} holds it until its worker has sent and deleted it, or ends",
            fg="yellow",
        )
    if done is None:
        return
    if answer.remains:
        click.secho(
            f"! it still stands {quantity(answer.remains)} times in free room of the"
            " ledger's file: docs/erasure.md says how that is written anew",
            fg="yellow",
        )
    click.echo(
        "backups from before hold the name: let them expire. Events that come from now on"
        " under this name are stored under it again: let the app stop sending it"
    )
