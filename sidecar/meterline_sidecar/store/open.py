"""Opens a ledger: the one place that picks a driver."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from meterline_sidecar.config.postgres import PostgresUrl
from meterline_sidecar.errors import NotInstalled
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


def _postgres() -> Any:
    if find_spec("asyncpg") is None:
        raise NotInstalled(
            "a ledger on PostgreSQL needs asyncpg: pip install 'meterline[centre]'"
        )
    return import_module(POSTGRES)
