"""``meterline backup``: a verified copy of the ledger, while the sidecar runs."""

import asyncio
from pathlib import Path
from typing import Final

import click
import msgspec

from meterline_sidecar.cli.options import CONFIG, JSON
from meterline_sidecar.cli.output import Steps, quantity, show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.clock import SystemClock, format_time_ms
from meterline_sidecar.config.read import read_settings
from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.ledger.backup import backup
from meterline_sidecar.ledger.copies import backups
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store.open import open_reader

DIGEST_CHARS: Final = 16  # of 64; all of them with --json
ON_SERVER: Final = (
    "sidecar.database: {} is a database on a server, which is not copied to a file: make backups with the server's own means, such as pg_dump,"
    " and keep a copy of the files beside sidecar.database_files; see docs/postgresql.md"
)


class OrFile(click.Group):
    """A group whose first word may be a file: then a backup is made of that name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is named, or the one that takes a file."""
        if args and self.get_command(ctx, args[0]) is None:
            return to_file.name, to_file, args
        return super().resolve_command(ctx, args)


@click.group(cls=OrFile, subcommand_metavar="FILE | list")
def command() -> None:
    """Copy the ledger while the sidecar runs, and verify the copy.

    `meterline backup FILE` makes FILE, with FILE.key and FILE.head. FILE must not exist: a backup never overwrites. A
    restore needs all three files; docs/backup.md says how. `meterline backup list` names the backups that were made; one
    whose name is `list` is made as `./list`.
    """


@click.command("FILE")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@CONFIG
@JSON
def to_file(file: Path, config_path: Path | None, is_json: bool) -> None:
    """Copy the ledger to FILE while the sidecar runs, and verify the copy."""
    config = read_settings(config_path)
    report = asyncio.run(_backup(config, file, quiet=is_json))
    if is_json:
        show_json(
            {"file": str(file), "batches": report.batches, "events": report.events}
        )
    else:
        click.echo(
            f"{file}: {n_of(report.batches, 'batch')} and"
            f" {n_of(report.events, 'event')}, verified"
        )
        if report.archive_events_unread:
            unread = n_of(report.archive_events_unread, "event")
            click.echo(
                f"{unread} are in files of the archive, which are not in it: keep them"
            )


@command.command("list")
@CONFIG
@JSON
def list_backups(config_path: Path | None, is_json: bool) -> None:
    """List the backups that were made of this ledger, the oldest first."""
    found = backups(read_settings(config_path).sidecar.database)
    is_here = [Path(one.file).exists() for one in found]
    if is_json:
        shown = [
            {**msgspec.to_builtins(one), "is_here": here}
            for one, here in zip(found, is_here, strict=True)
        ]
        show_json({"backups": shown})
        return
    table = Table("made", "file", ">bytes", ">events", "sha-256", "is here")
    for one, here in zip(found, is_here, strict=True):
        table.add(
            format_time_ms(one.finished_ms),
            one.file,
            quantity(one.file_bytes),
            quantity(one.events),
            one.digest[:DIGEST_CHARS],
            "yes" if here else "no",
        )
    if found:
        show(table)
    click.echo(f"{n_of(len(found), 'backup')} made by `meterline backup`")


async def _backup(config: Config, file: Path, *, quiet: bool) -> Report:
    database = config.sidecar.database
    if config.server is not None:
        raise ConfigError(ON_SERVER.format(config.server))
    ledger = await open_reader(database)
    try:
        return await backup(
            ledger,
            database,
            file.absolute(),
            reopen=open_reader,
            clock=SystemClock(),
            progress=Steps(quiet=quiet).show,
        )
    finally:
        await ledger.close()
