"""``meterline import``: events from a file, at once or put aside first."""

import os
import sys
from pathlib import Path
from typing import Final

import click

from meterline_pricing.tools import nearest
from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.consequences import tell_consequences
from meterline_sidecar.cli.exits import EXIT_FOUND, Refused
from meterline_sidecar.cli.importing import Importer, path_of, wait_for
from meterline_sidecar.cli.options import daemon_options
from meterline_sidecar.cli.output import Steps, quantity, show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.decimals import minus
from meterline_sidecar.ingest.event_files import EventFile
from meterline_sidecar.printable import printable
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.web.answers.imports import ImportDiff, ImportPage, ShownImport

LINES_SHOWN: Final = 20
USAGE_SHOWN: Final = 40
READ: Final = "read"


class FileOr(click.Group):
    """Takes a file in place of a command: ``meterline import events.jsonl``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command in front of a file, or of its options."""
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            near = nearest(args[0], self.commands)
            if near is not None and not os.path.lexists(args[0]):
                ctx.fail(
                    f"there is no file {args[0]!r}; did you mean the command {near!r}?"
                )
            args = [READ, *args]
        return super().parse_args(ctx, args)


@click.group(cls=FileOr)
def command() -> None:
    """Read events from a file, at once or staged first.

    `meterline import FILE` counts them at once. With --stage NAME they are put aside:
    `diff` shows what they would change, `commit` counts them, and `discard` deletes
    them. After an interruption, run the same command again: it continues, and nothing
    counts twice.
    """


@command.command(READ)
@click.argument("file")
@click.option("--stage", metavar="NAME", help="Put the events aside under this name.")
@click.option(
    "--format",
    "shape",
    type=click.Choice(("jsonl", "csv", "parquet")),
    help="What FILE is; by default as its name ends, and JSON Lines from -.",
)
@click.option(
    "--source",
    metavar="NAME",
    help="The source of events that name none; by default it is called `default`.",
)
@click.option("--skip-bad", is_flag=True, help="Leave out bad lines.")
@click.option("--reason", default="", help="Why; it is kept.")
@daemon_options
def read(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    file: str,
    stage: str | None,
    shape: str | None,
    source: str | None,
    skip_bad: bool,
    reason: str,
) -> None:
    """Read the events of FILE, or of standard input (`-`).

    If a line cannot be taken, nothing of the file is, unless --skip-bad leaves such
    lines out. Exits with 3 if something was left out.
    """
    with EventFile(file, shape) as opened, Client.find(url, config_path) as client:
        importer = Importer(
            client,
            opened,
            name=stage,
            source=source,
            reason=reason,
            is_quiet=is_json,
        )
        found = importer.load()
        path = path_of(found.name)
        if found.bad and not skip_bad and found.state == "loading":
            client.post(f"{path}/discard", ShownImport)
            _tell(found, is_json=is_json)
            if not is_json:
                click.echo("nothing was imported; fix these lines, or use --skip-bad")
            sys.exit(EXIT_FOUND)
        try:
            client.post(f"{path}/stage", ShownImport, skip_bad="true")
        except Refused:
            client.post(f"{path}/discard", ShownImport)
            raise
        if stage is None:
            client.post(f"{path}/commit", ShownImport)
            importer.wait(found.name)
        _end(client, path, is_json=is_json)


@command.command("list")
@daemon_options
def list_imports(config_path: Path | None, url: str | None, is_json: bool) -> None:
    """List imports with their states, the newest first."""
    with Client.find(url, config_path) as client:
        pages = list(client.pages("/v1/imports", ImportPage))
    found = [one for page in pages for one in page.page]
    if is_json:
        show_json(found)
        return
    if not found:
        click.echo("nothing was imported yet")
        return
    table = Table(
        "name", "state", "since", "by", ">events", ">bad", ">accepted", ">duplicate",
        ">conflict",
    )  # fmt: skip
    for one in found:
        counts = (one.events, one.bad, one.accepted, one.duplicates, one.conflicts)
        table.add(
            *(one.name, one.state, one.since, one.decided_by), *map(quantity, counts)
        )
    show(table)


@command.command()
@click.argument("name")
@daemon_options
def diff(config_path: Path | None, url: str | None, is_json: bool, name: str) -> None:
    """Show what committing NAME would change.

    Which events would count, whose usage of which month they would change, and the new
    amounts of periods. For a final period, the difference would be an adjustment on the
    next invoice.
    """
    with Client.find(url, config_path) as client:
        found = client.get_work(f"{path_of(name)}/diff", ImportDiff)
    if is_json:
        show_json(found)
        return
    if found.usage:
        table = Table("customer", "month (UTC)", "meter", ">now", ">then", ">more")
        for one in found.usage[:USAGE_SHOWN]:
            more = minus(one.after, one.before)
            table.add(
                *(one.customer, one.month, one.meter),
                *map(quantity, (one.before, one.after, more)),
            )
        show(table)
        n_more = len(found.usage) - USAGE_SHOWN
        if n_more > 0:
            click.echo(f"and {n_of(n_more, 'row')} more; --json has all")
    tell_consequences(found.money)
    click.echo(
        f"\n{n_of(found.events, 'event')} would count; {quantity(found.duplicates)} are"
        f" stored already or stand here twice, {quantity(found.conflicts)} have an id"
        f" that another event has, {n_of(found.bad, 'bad line')}"
    )
    if found.without_customer:
        click.secho(
            f"! nobody would pay for {n_of(found.without_customer, 'event')} of these"
            f" ({quantity(found.without_subject)} without a subject)",
            fg="yellow",
        )
    click.echo(f"nothing is changed yet; `meterline import commit {name}` does it")


@command.command()
@click.argument("name")
@daemon_options
def commit(config_path: Path | None, url: str | None, is_json: bool, name: str) -> None:
    """Count what was put aside as NAME.

    The sidecar continues by itself, even if this command is interrupted. Exits with 3
    if something was left out.
    """
    path = path_of(name)
    with Client.find(url, config_path) as client:
        client.post(f"{path}/commit", ShownImport)
        wait_for(client, name, Steps(quiet=is_json))
        _end(client, path, is_json=is_json)


@command.command()
@click.argument("name")
@daemon_options
def discard(
    config_path: Path | None, url: str | None, is_json: bool, name: str
) -> None:
    """Delete what was put aside as NAME."""
    with Client.find(url, config_path) as client:
        found = client.post(f"{path_of(name)}/discard", ShownImport)
    if is_json:
        show_json(found)
    else:
        click.echo(f"{name} is discarded: {n_of(found.events, 'event')}, none counted")


def _end(client: Client, path: str, *, is_json: bool) -> None:
    """Say what an import came to, and exit with 3 when something was left out."""
    found = client.get(path, ShownImport)
    _tell(found, is_json=is_json)
    if found.bad or found.conflicts:
        sys.exit(EXIT_FOUND)


def _tell(found: ShownImport, *, is_json: bool) -> None:
    if is_json:
        show_json(found)
        return
    for one in found.left_out[:LINES_SHOWN]:
        field = "" if one.field is None else f"{one.field} "
        text = f"! line {one.line}: {field}{one.reason}"
        click.secho(printable(text), fg="yellow")
    n_more = found.bad + found.conflicts - LINES_SHOWN
    if n_more > 0:
        click.secho(
            f"! and {n_of(n_more, 'line')} more; --json names up to 1,000", fg="yellow"
        )
    counts = f"{n_of(found.lines, 'line')}, {n_of(found.events, 'event')}"
    if found.state == "committed":
        click.echo(
            f"{found.file}: {counts}: {quantity(found.accepted)} accepted,"
            f" {quantity(found.duplicates)} stored before,"
            f" {quantity(found.conflicts)} with an id that another event has,"
            f" {n_of(found.bad, 'bad line')}"
        )
    else:
        click.echo(f"{found.file}: {counts}, {n_of(found.bad, 'bad line')}")
    if found.state == "staged":
        click.echo(
            f"put aside as {found.name}, and not counted yet: `meterline import diff"
            f" {found.name}` shows what it would change"
        )
