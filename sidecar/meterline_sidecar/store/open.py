"""Opens a ledger: the one place that picks a driver."""

from pathlib import Path

from meterline_sidecar.store.port import Ledger, LedgerReader
from meterline_sidecar.store.sqlite.driver import SqliteDatabase, SqliteReader


async def open_ledger(path: Path) -> Ledger:
    """Open a ledger for its one writer, or make it; bring its schema up to date.

    The caller holds the ledger's lock (see ``files``): nobody else writes.

    Raises:
        ForeignDatabase: it is not ours, or of a newer Meterline.
        DatabaseCorrupt: it cannot be read.
        DiskFull, DiskFailed: as in ``Database.transaction``.
    """
    return await SqliteDatabase.open(path)


async def open_reader(path: Path) -> LedgerReader:
    """Open an existing ledger for reading only, here or beside its writer.

    Raises:
        ForeignDatabase: there is none, or it is not ours, or its schema is not the
            one of this Meterline.
        DatabaseCorrupt: it cannot be read.
    """
    return await SqliteReader.open_reader(path)
