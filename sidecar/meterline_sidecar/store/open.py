"""Opens a ledger: the one place that picks a driver."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from meterline_sidecar.config.postgres import PostgresUrl
from meterline_sidecar.errors import NotInstalled, installing
from meterline_sidecar.store.port import Ledger, LedgerReader
from meterline_sidecar.store.sqlite.driver import SqliteDatabase, SqliteReader

POSTGRES: Final = "meterline_sidecar.store.postgres.driver"
"""Loaded where it is needed: the package that it needs is an extra."""

Place = Path | PostgresUrl
"""Where a ledger is: a file of SQLite's, or a database on a server."""


async def open_ledger(place: Place) -> Ledger:
    """Open a ledger for its one writer, or make it; bring its schema up to date.

    The caller holds the ledger's lock (see ``files``): nobody else writes.

    Raises:
        ForeignDatabase: it is not ours, or of a newer Meterline.
        DatabaseCorrupt: it cannot be read.
        DatabaseGone: its server cannot be reached.
        NotInstalled: the driver for PostgreSQL is not there.
        DiskFull, DiskFailed: as in ``Database.transaction``.
    """
    if isinstance(place, Path):
        return await SqliteDatabase.open(place)
    ledger: Ledger = await _postgres().PostgresDatabase.open(place)
    return ledger


async def open_copy(path: Path) -> Ledger:
    """Open a copy of a ledger for its one writer; bring its schema up to date.

    Raises:
        NoLedger: it is none, or is empty.
        ForeignDatabase, DatabaseCorrupt, DiskFull, DiskFailed: as ``open_ledger``.
    """
    return await SqliteDatabase.open(path, may_be_empty=False)


async def open_reader(place: Place) -> LedgerReader:
    """Open an existing ledger for reading only, here or beside its writer.

    Raises:
        ForeignDatabase: there is none, or it is not ours, or its schema is not the
            one of this Meterline.
        DatabaseCorrupt: it cannot be read.
        DatabaseGone: its server cannot be reached.
        NotInstalled: the driver for PostgreSQL is not there.
    """
    if isinstance(place, Path):
        return await SqliteReader.open_reader(place)
    reader: LedgerReader = await _postgres().PostgresReader.open_reader(place)
    return reader


async def copy_ledger(
    source: Place, target: Place, *, progress: Callable[[str, int, int], None]
) -> dict[str, int]:
    """Copy a whole ledger to a server, or from there; return the rows of each table.

    It is there as a whole or not at all. The caller holds the locks of both.

    Args:
        target: an empty database on a server, or a file that is not there yet.
        progress: told of a table, how many of its rows are copied, and how many it has.

    Raises:
        ForeignDatabase: there is something in the database already, or the source is
            not a ledger of this Meterline.
        MeterlineError: a centre leads, whose ledger is to leave its server.
        DatabaseGone, NotInstalled: as ``open_ledger``.
    """
    rows = await open_reader(source)
    try:
        ledger = await open_ledger(target)
        try:
            moving: Any = import_module("meterline_sidecar.store.postgres.moving")
            move = moving.move_out if isinstance(target, Path) else moving.move_in
            copied: dict[str, int] = await move(rows, ledger, progress=progress)
        finally:
            await ledger.close()
    finally:
        await rows.close()
    return copied


def _postgres() -> Any:
    if find_spec("asyncpg") is None:
        raise NotInstalled(
            f"a ledger on PostgreSQL needs asyncpg: {installing('centre')}"
        )
    return import_module(POSTGRES)
