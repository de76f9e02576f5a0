"""``meterline erase``: takes a person's name out of the ledger."""

from pathlib import Path
from typing import Final

import click

from meterline_sidecar.cli.ask import ask
from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.options import daemon_options, reason_option
from meterline_sidecar.cli.output import quantity, show_json
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.web.answers.erasures import Erased, NewErasure

PATH: Final = "/v1/erasures"
CHANCE_BYTES: Final = 3
"""A name of so many is found by chance in numbers and in what is compressed: one of two
bytes once in 64 KiB, one of three in 16 MiB."""


@click.command()
@click.argument("subject")
@click.option(
    "--also",
    multiple=True,
    metavar="WORD",
    help="Another word that identifies the same person, such as an e-mail address; it"
    " is replaced in texts. Repeat it for each.",
)
@reason_option("Why; it is kept, without the name.")
@click.option("--dry-run", is_flag=True, help="Only show what holds the name.")
@click.option("--yes", is_flag=True, help="Do not ask for the name once more.")
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    subject: str,
    also: tuple[str, ...],
    reason: str,
    dry_run: bool,
    yes: bool,
) -> None:
    """Remove the name of a SUBJECT from the ledger, for good.

    A random alias takes its place in events, terms, texts, names given by senders,
    refused events, and files of the archive. Events, usage, invoices and both chains
    stay, and `meterline verify` proves that nothing else was changed. There is no way
    back. The answer lists what stays, and where.
    """
    if not dry_run and not yes:
        typed = ask("type the subject once more to erase it for good")
        if typed is None:
            raise MeterlineError(
                "nothing was erased: type the subject once more, or use --yes where"
                " nobody can be asked"
            )
        if typed != subject:
            raise click.UsageError("that is another name; nothing was erased")
    body = NewErasure(subject=subject, also=also, reason=reason, dry_run=dry_run)
    with Client.find(url, config_path) as client:
        answer = client.send("POST", PATH, Erased, body, is_work=True)
    if is_json:
        show_json(answer)
    else:
        _tell(answer, shortest=min(len(word.encode()) for word in (subject, *also)))


def _tell(answer: Erased, *, shortest: int) -> None:
    done = answer.erasure
    if done is None:
        click.echo(
            f"{n_of(answer.events, 'event')} would get an alias; to do it, leave out"
            " --dry-run"
        )
    else:
        click.echo(
            f"the name is erased (erasure {done.erasure}):"
            f" {n_of(answer.events, 'event')},"
            f" and all sums, are of {done.alias}"
        )
    if answer.texts:
        texts = ", ".join(f"{n} of {table}" for table, n in answer.texts.items())
        click.echo(f"texts were replaced in rows: {texts}")
    for file in answer.archive_files:
        click.echo(f"{file} of the archive would be rewritten")
    for text in answer.archive_unread:
        _warn(f"a file of the archive cannot be read, and may hold it: {text}")
    for mention in answer.mentions:
        rows = n_of(mention.rows, "row")
        if done is None:
            _warn(f"{rows} of {mention.table} hold it in a text: {mention.shown_by}")
        else:
            _warn(
                f"{rows} of {mention.table} hold it still: {mention.why}; see"
                f" {mention.shown_by}"
            )
    for spool in answer.spools:
        _warn(f"{spool} holds it until its worker has sent and deleted it, or ends")
    if answer.is_back:
        _warn("events came under the name again: let the app stop, and erase it again")
    for copy in answer.backups:
        made = "set aside" if copy.made is None else f"made {copy.made}"
        moved = "" if copy.is_here else "; it was moved or deleted since"
        _warn(f"{copy.file} ({made}) may hold it until it is deleted{moved}")
    if done is None:
        return
    if answer.remains:
        by_chance = ", or by chance, as it is short" if shortest <= CHANCE_BYTES else ""
        _warn(
            f"it still stands {quantity(answer.remains)} times in the ledger's file, in"
            f" what is named above or in free room{by_chance}: docs/erasure.md says how"
            " the file is written anew"
        )
    click.echo(
        "other copies from before hold the name: let them expire. Events that come from"
        " now on under this name are stored under it again: let the app stop sending it"
    )


def _warn(text: str) -> None:
    click.secho(f"! {text}", fg="yellow")
