"""``meterline restore``: a backup in the place of the ledger."""

from functools import partial
from pathlib import Path
from typing import Final

import click

from meterline_sidecar.cli.interruptible import run_interruptible
from meterline_sidecar.cli.options import CONFIG, JSON
from meterline_sidecar.cli.output import Steps, show_json
from meterline_sidecar.config.read import read_settings
from meterline_sidecar.config.shape import Config
from meterline_sidecar.daemon.folders import make_directories
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.files import LedgerLock
from meterline_sidecar.ingest.from_files import store_from_files
from meterline_sidecar.ledger.restore import (
    Continue,
    Later,
    Openers,
    Restored,
    check_there,
    nothing_later,
    restore,
)
from meterline_sidecar.ledger.shelves import open_archived
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store.open import open_copy, open_reader
from meterline_sidecar.store.port import Ledger

ON_SERVER: Final = (
    "sidecar.database: {} is a database on a server, which is not restored from a"
    " file: restore the server's own backup, and the files next to"
    " sidecar.database_files; see docs/postgresql.md"
)


@click.command()
@click.argument("backup", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--without-archive",
    is_flag=True,
    help="Do not read the files of the archive: restore only what is in the backup.",
)
@CONFIG
@JSON
def command(
    backup: Path, config_path: Path | None, is_json: bool, without_archive: bool
) -> None:
    """Replace the ledger with a backup, and show what is missing since.

    The sidecar must be stopped. BACKUP is verified first, and the existing ledger is
    set aside. Nothing is billed until you accept what is missing with `meterline verify
    --accept`.
    """
    config = read_settings(config_path)
    go_on = nothing_later if without_archive else partial(_from_files, config)
    restored = _restore(config, backup, go_on, quiet=is_json)
    if is_json:
        show_json(restored)
    else:
        _tell(restored)


def _restore(config: Config, backup: Path, go_on: Continue, *, quiet: bool) -> Restored:
    database = config.sidecar.database
    if config.server is not None:
        raise ConfigError(ON_SERVER.format(config.server))
    check_there(backup.absolute())
    # On a host that is new, nobody has made it yet.
    make_directories(config)
    was_there = database.exists()
    lock = LedgerLock.take(database)
    try:
        return run_interruptible(
            restore(
                backup.absolute(),
                database,
                openers=Openers(open_reader, open_copy),
                progress=Steps(quiet=quiet).show,
                go_on=go_on,
            )
        )
    finally:
        # To lock it, it is made: where nothing came of it, others would take it for one.
        if not was_there and database.exists() and not database.stat().st_size:
            database.unlink()
        lock.release()


async def _from_files(config: Config, ledger: Ledger, key: bytes) -> Later:
    """Store what files of the archive have that came after the backup."""
    shelf = open_archived(config.archive, key).shelf
    if shelf is None:
        return Later()
    if config.is_edge:
        return Later(ended="this is an edge, whose centre has what left")
    return await store_from_files(ledger, shelf, key)


def _tell(restored: Restored) -> None:
    missing = restored.missing
    click.echo(
        f"restored: {n_of(restored.batches, 'batch')} and"
        f" {n_of(restored.events, 'event')}, verified"
    )
    later = restored.from_files
    if later.events:
        click.echo(
            f"from {n_of(len(later.files), 'file')} of the archive:"
            f" {n_of(later.events, 'event')} that came after the backup"
        )
    if later.ended is not None:
        click.secho(
            f"! no more is taken from files of the archive: {later.ended}",
            fg="yellow",
        )
    if restored.put_aside is not None:
        click.echo(f"the previous ledger is in {restored.put_aside}")
    click.secho(f"! {missing}", fg="yellow")
    if restored.erased:
        click.echo(
            f"names in it that were erased since: {restored.erased}; the sidecar erases"
            " them again when it starts"
        )
    if restored.erased_words:
        click.secho(
            f"! {n_of(restored.erased_words, 'other word')} erased with them cannot be"
            " found without being named: `meterline status` says then how to name them",
            fg="yellow",
        )
    for gap in missing.workers:
        click.echo(
            f"  {n_of(gap.events, 'event')} of {gap.app}, process {gap.pid} on"
            f" {gap.host} (producer {gap.producer})"
        )
    click.echo(
        "Nothing is billed until you have accepted that: `meterline verify --accept`."
        " Workers that still have events send them again when the sidecar runs."
    )
