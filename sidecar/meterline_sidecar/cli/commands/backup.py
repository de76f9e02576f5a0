"""``meterline backup``: a verified copy of the ledger, while the sidecar runs."""

from pathlib import Path
from typing import Final

import click

from meterline_sidecar.cli.interruptible import run_interruptible
from meterline_sidecar.cli.options import CONFIG, JSON
from meterline_sidecar.cli.output import Steps, show_json
from meterline_sidecar.clock import SystemClock
from meterline_sidecar.config.read import read_settings
from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.ledger.backup import backup
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store.open import open_reader

ON_SERVER: Final = (
    "sidecar.database: {} is a database on a server, which is not copied to a file:"
    " make backups with the server's own means, such as pg_dump,"
    " and keep a copy of the files next to sidecar.database_files; see"
    " docs/postgresql.md"
)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@CONFIG
@JSON
def command(file: Path, config_path: Path | None, is_json: bool) -> None:
    """Copy the ledger while the sidecar runs, and verify the copy.

    The copy is FILE, with FILE.key and FILE.head. FILE must not exist: a backup never
    overwrites. A restore needs all three files; see docs/backup.md. `meterline backups`
    lists the backups.
    """
    config = read_settings(config_path)
    report = run_interruptible(_backup(config, file, quiet=is_json))
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
