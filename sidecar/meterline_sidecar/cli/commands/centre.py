"""``meterline centre``: a ledger moves to a server, and back."""

import contextlib
from collections.abc import Generator
from pathlib import Path

import click

from meterline_sidecar.cli.interruptible import run_interruptible
from meterline_sidecar.cli.options import CONFIG, JSON
from meterline_sidecar.cli.output import Steps, show_json
from meterline_sidecar.config.read import read_config
from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import ConfigError, MeterlineError
from meterline_sidecar.files import LedgerFiles, LedgerLock, create_file
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store.open import copy_ledger


@click.group()
def command() -> None:
    """Move a ledger to a centre's database on a server, or back into a file.

    See docs/postgresql.md.
    """


@command.command("import", short_help="Copy a SQLite file into the empty database.")
@click.argument("ledger", type=click.Path(path_type=Path, dir_okay=False))
@CONFIG
@JSON
def import_ledger(config_path: Path | None, is_json: bool, ledger: Path) -> None:
    """Copy all of LEDGER, a SQLite file, into the empty database of sidecar.database.

    The sidecar of LEDGER must be stopped, and not start again, because both would
    report to Stripe. Copies everything that was counted, billed and reported, or
    nothing; LEDGER stays as it is.
    """
    config = read_config(config_path)
    if config.server is None:
        raise ConfigError(
            "sidecar.database: a ledger is moved to a database on a server:"
            " postgresql://USER@HOST/NAME; see docs/postgresql.md"
        )
    if not ledger.is_file():
        raise MeterlineError(f"{ledger} is not a file; name the ledger's database")
    rows = _import(config, ledger.absolute(), quiet=is_json)
    if is_json:
        show_json({"ledger": str(ledger), "database": str(config.server), "rows": rows})
        return
    click.echo(
        f"{n_of(rows['events'], 'event')} in {n_of(rows['batches'], 'batch')},"
        f" {n_of(rows['invoices'], 'invoice')} and all else is in {config.server}"
    )
    click.echo("`meterline verify` reads all of it there; then start the centre")


@command.command("export", short_help="Copy the database into a new SQLite file.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@CONFIG
@JSON
def export_ledger(config_path: Path | None, is_json: bool, file: Path) -> None:
    """Copy all of the database of sidecar.database into FILE, a new SQLite file.

    The reverse of import. Every centre of the ledger must be stopped, and not start
    again. Writes all of FILE, with its companion files, or nothing; the database stays
    as it is.
    """
    config = read_config(config_path)
    if config.server is None:
        raise ConfigError(
            "sidecar.database: this ledger is a file already; copy one with"
            " `meterline backup`"
        )
    file = file.absolute()
    if file.exists():
        raise MeterlineError(f"{file} is there already; name a new file")
    rows = _export(config, file, quiet=is_json)
    if is_json:
        show_json({"database": str(config.server), "ledger": str(file), "rows": rows})
        return
    click.echo(
        f"{n_of(rows['events'], 'event')} in {n_of(rows['batches'], 'batch')},"
        f" {n_of(rows['invoices'], 'invoice')} and all else is in {file}"
    )
    click.echo(
        "set sidecar.database to it and see `meterline verify`; then start the sidecar"
    )


def _export(config: Config, file: Path, *, quiet: bool) -> dict[str, int]:
    assert config.server is not None
    beside = config.sidecar.database
    part = LedgerFiles(file.with_name(f"{file.name}.part"))
    with contextlib.ExitStack() as locks:
        if LedgerFiles(file).lock != LedgerFiles(beside).lock:
            locks.callback(LedgerLock.take(file, is_file=False).release)
        locks.callback(LedgerLock.take(beside, is_file=False).release)
        for left in (part.database, part.wal, part.shm):
            left.unlink(missing_ok=True)  # of one that was interrupted
        made = [part.database, part.wal, part.shm]
        with _all_or_nothing(made):
            rows = run_interruptible(
                copy_ledger(
                    config.server, part.database, progress=Steps(quiet=quiet).show
                )
            )
            _copy_files(LedgerFiles(beside), LedgerFiles(file), made)
            part.database.rename(file)
    return rows


def _import(config: Config, ledger: Path, *, quiet: bool) -> dict[str, int]:
    assert config.server is not None
    beside = config.sidecar.database
    with contextlib.ExitStack() as locks:
        # Where both are called the same, one lock keeps both.
        if LedgerFiles(ledger).lock != LedgerFiles(beside).lock:
            locks.callback(LedgerLock.take(beside, is_file=False).release)
        locks.callback(LedgerLock.take(ledger).release)
        made: list[Path] = []
        with _all_or_nothing(made):
            _copy_files(LedgerFiles(ledger), LedgerFiles(beside), made)
            return run_interruptible(
                copy_ledger(ledger, config.server, progress=Steps(quiet=quiet).show)
            )


@contextlib.contextmanager
def _all_or_nothing(made: list[Path]) -> Generator[None]:
    """Leave no file of a move that came to nothing: the old ledger may go on, and try again."""
    try:
        yield
    except BaseException:
        for left in made:
            left.unlink(missing_ok=True)
        raise


def _copy_files(source: LedgerFiles, target: LedgerFiles, made: list[Path]) -> None:
    """Copy what lies beside a ledger, before the ledger itself.

    Args:
        made: gets the files that are there now.

    Raises:
        MeterlineError: another one lies there already.
    """
    own = (source.database, source.wal, source.shm)
    for path, copy in zip(source.kept, target.kept, strict=True):
        if path in own or path == copy or not path.exists():
            continue
        content = path.read_bytes()
        if copy.exists() and copy.read_bytes() != content:
            raise MeterlineError(
                f"{copy} is there already, and is another ledger's or of an earlier move:"
                " take it away, or name another place in sidecar.database_files"
            )
        if not copy.exists():
            create_file(copy, content, mode=0o600)
            made.append(copy)
