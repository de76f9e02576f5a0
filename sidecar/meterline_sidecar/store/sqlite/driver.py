"""The SQLite driver: one writer, a few readers, WAL, and fsync at every commit."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

import aiosqlite

from meterline_sidecar.errors import (
    DatabaseCorrupt,
    DiskFailed,
    DiskFull,
    ForeignDatabase,
    LedgerGone,
    MeterlineError,
)
from meterline_sidecar.files import LedgerFiles, Place
from meterline_sidecar.store.port import Row, Tx, Value
from meterline_sidecar.store.sqlite.migrate import check_identity, check_origin, migrate

READERS: Final = 4
FINDINGS_MAX: Final = 20  # of a check of the file; one is enough to act on
BUSY_MS: Final = 5_000
WAL_PAGES_MAX: Final = 4_000  # 16 MB: then the next commit is followed by a checkpoint
CACHE_KIB: Final = 65_536
ROOM_BYTES_MIN: Final = 1 << 20  # under this, an I/O error is taken for a full disk


class SqliteTx:
    """A transaction on one connection."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement and return the number of rows that it changed."""
        async with self._connection.execute(sql, parameters) as cursor:
            return cursor.rowcount

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run one statement for each row."""
        async with self._connection.executemany(sql, rows):
            pass

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or ``None``."""
        # In one call to the connection's thread; a cursor of our own takes three.
        rows = await self.fetch_all(sql, parameters)
        return rows[0] if rows else None

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Return every row."""
        rows = await self._connection.execute_fetchall(sql, parameters)
        return list(rows)  # type: ignore[arg-type]  # no row factory: they are tuples


class _ReadingTx(SqliteTx):
    """A snapshot whose errors are ours at once: who verifies goes on behind them."""

    def __init__(self, connection: aiosqlite.Connection, path: Path) -> None:
        super().__init__(connection)
        self._path = path

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Return every row."""
        with translated(self._path):
            return await super().fetch_all(sql, parameters)


class SqliteReader:
    """A ledger that is only read, here or beside the process that writes it."""

    def __init__(self, path: Path, readers: list[aiosqlite.Connection]) -> None:
        self.path = path
        self._readers = readers
        self._idle_readers: asyncio.LifoQueue[aiosqlite.Connection] = (
            asyncio.LifoQueue()
        )
        for reader in readers:
            self._idle_readers.put_nowait(reader)

    @classmethod
    async def open_reader(cls, path: Path) -> "SqliteReader":
        """Open an existing ledger for reading only.

        Raises:
            ForeignDatabase: there is no such file, or it is not ours, or its schema
                is not the one of this Meterline.
            DatabaseCorrupt: SQLite cannot read it.
            DiskFailed: this user may not read it.
        """
        try:
            path.open("rb").close()  # SQLite does not say why it cannot open a file
        except FileNotFoundError as error:
            raise ForeignDatabase(
                f"{path} does not exist; see sidecar.database"
            ) from error
        except OSError as error:
            raise DiskFailed(
                f"{path}: {error.strerror}; run this as the user that the sidecar"
                " runs as"
            ) from error
        with translated(path):
            reader = await _open_reader(path)
            try:
                await check_identity(SqliteTx(reader), path)
            except BaseException:
                await reader.close()
                raise
        return SqliteReader(path, [reader])

    @property
    def place(self) -> str:
        """Return the path of the file."""
        return str(self.path)

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Tx]:
        """Open a read-only snapshot; see ``Readable.reading``."""
        reader = await self._idle_readers.get()
        try:
            with translated(self.path):
                try:
                    await reader.execute("BEGIN")
                    yield _ReadingTx(reader, self.path)
                finally:
                    await reader.rollback()
        finally:
            self._idle_readers.put_nowait(reader)

    async def size_bytes(self) -> int:
        """Return the size of the file together with its WAL."""
        files = LedgerFiles(self.path)
        return sum(
            path.stat().st_size for path in (files.database, files.wal) if path.exists()
        )

    async def check(self) -> list[str]:
        """Return what SQLite itself finds wrong with its file; empty when nothing."""
        async with self.reading() as tx:
            rows = await tx.fetch_all(f"PRAGMA quick_check({FINDINGS_MAX})")
        return [row[0] for row in rows if row[0] != "ok"]

    async def copy_to(self, target: Path) -> None:
        """Write one consistent copy to ``target`` while others go on writing."""
        reader = await self._idle_readers.get()
        try:
            with translated(target):
                async with aiosqlite.connect(target) as copy:
                    # In one step: a writer in between would make it start again.
                    await reader.backup(copy, pages=-1)
        finally:
            self._idle_readers.put_nowait(reader)

    async def close(self) -> None:
        """Close every connection."""
        for reader in self._readers:
            await reader.close()


class SqliteDatabase(SqliteReader):
    """A ledger in one SQLite file, and the only connection that writes it.

    Only one connection writes and checkpoints: SQLite before 3.51.3 can reset the
    WAL wrongly when two do (fixed in 3.51.3, 3.50.7 and 3.44.6).

    Source: sqlite.org/wal.html section 11, read 2026-11-22.
    """

    def __init__(
        self,
        path: Path,
        writer: aiosqlite.Connection,
        readers: list[aiosqlite.Connection],
    ) -> None:
        super().__init__(path, readers)
        self._writer = writer
        self._write_lock = asyncio.Lock()
        files = LedgerFiles(path)
        self._database_place = Place(files.database, "the database", error=LedgerGone)
        self._wal_place = Place(files.wal, "the database's WAL", error=LedgerGone)
        index = Place(files.shm, "the index of the database's WAL", error=LedgerGone)
        self._places = (self._database_place, self._wal_place, index)
        self.check_places()

    def check_places(self) -> None:
        """See that others find it where we have it open; see ``Ledger.check_places``."""
        for place in self._places:
            place.check()

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open the file, or make it, and bring its schema up to date.

        The caller holds the database's lock (see ``files``): nobody else writes.

        Raises:
            ForeignDatabase: the file is not ours, or of a newer Meterline.
            DatabaseCorrupt: SQLite cannot read it.
            DiskFull, DiskFailed: as in ``Database.transaction``.
        """
        with translated(path):
            writer = await aiosqlite.connect(path, isolation_level=None)
            try:
                # First of all: a stranger's file must stay as it is.
                await check_origin(SqliteTx(writer), path)
                await _configure_writer(writer)
                await migrate(SqliteTx(writer), path)
            except BaseException:
                await writer.close()
                raise
            readers = [await _open_reader(path) for _ in range(READERS)]
        return cls(path, writer, readers)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Tx]:
        """Open a write transaction; see ``Database.transaction``."""
        async with self._write_lock:
            with translated(self.path):
                try:
                    await self._writer.execute("BEGIN IMMEDIATE")
                    yield SqliteTx(self._writer)
                    await self._writer.execute("COMMIT")
                except BaseException:
                    # A cancelled statement, BEGIN and COMMIT too, still runs in the
                    # driver's thread. This waits in its queue behind it, and does
                    # nothing where no transaction is open (any more).
                    await self._writer.rollback()
                    raise
                self.check_places()

    async def checkpoint(self) -> bool:
        """Move the WAL into the file; return whether all of it was moved."""
        async with self._write_lock:
            with translated(self.path):
                sql = "PRAGMA wal_checkpoint(PASSIVE)"
                async with self._writer.execute(sql) as cursor:
                    row = await cursor.fetchone()
            self.check_places()
        assert row is not None
        _busy, pages, moved = row
        return bool(pages == moved)

    async def close(self) -> None:
        """Close every connection; the writer is the last and checkpoints.

        It does not where the database is not at its path any more, and then the WAL
        stays: SQLite would apply it to whatever stands there by now.
        """
        await super().close()
        is_orphan = self._database_place.is_lost() and not self._wal_place.is_lost()
        await self._writer.close()
        if is_orphan:
            wal = LedgerFiles(self.path).wal
            with suppress(FileNotFoundError):
                wal.replace(wal.with_name(wal.name + ".orphan"))


async def _configure_writer(writer: aiosqlite.Connection) -> None:
    for pragma in (
        f"busy_timeout = {BUSY_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        f"wal_autocheckpoint = {WAL_PAGES_MAX}",
        f"cache_size = -{CACHE_KIB}",
        "foreign_keys = ON",
        "trusted_schema = OFF",
    ):
        await writer.execute(f"PRAGMA {pragma}")


async def _open_reader(path: Path) -> aiosqlite.Connection:
    uri = f"file:{quote(str(path))}?mode=ro"
    reader = await aiosqlite.connect(uri, uri=True, isolation_level=None)
    await reader.execute("PRAGMA query_only = ON")
    await reader.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    return reader


class translated:  # in lower case as it reads as a clause: `with translated(path):`
    """Turns the driver's errors into ours, which say what to do."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Do nothing: only errors matter."""

    def __exit__(
        self, kind: object, error: BaseException | None, trace: object
    ) -> None:
        """Raise the error of ``errors.py`` that a driver's error stands for."""
        if isinstance(error, sqlite3.Error):
            raise _translate(self._path, error) from error


def _translate(path: Path, error: sqlite3.Error) -> MeterlineError:
    # Extended codes keep the primary one in their low byte.
    code = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
    text = f"{path}: {error}"
    if code == sqlite3.SQLITE_IOERR and not _has_room(path):
        # Some of SQLite's files (the -shm) answer a full disk with an I/O error.
        code = sqlite3.SQLITE_FULL
    match code:
        case sqlite3.SQLITE_FULL:
            return DiskFull(f"{text}; free space on that disk; nothing is lost")
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN:
            return DiskFailed(f"{text}; check the disk and the file's permissions")
        case sqlite3.SQLITE_CORRUPT:
            return DatabaseCorrupt(f"{text}; see `meterline doctor`")
        case sqlite3.SQLITE_NOTADB:
            return ForeignDatabase(f"{text}; choose another sidecar.database")
        case _:
            return MeterlineError(text)


def _has_room(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free >= ROOM_BYTES_MIN
    except OSError:
        return True
