"""The SQLite driver: one writer, a few readers, WAL, and fsync at every commit."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import aiosqlite

from meterline_sidecar.errors import (
    DiskFailed,
    ForeignDatabase,
    LedgerGone,
)
from meterline_sidecar.files import LedgerFiles, Place
from meterline_sidecar.store.once import keeping, once
from meterline_sidecar.store.pack_words import search_pack
from meterline_sidecar.store.packs import unpack
from meterline_sidecar.store.port import Tx, Work
from meterline_sidecar.store.sqlite.errors import translated
from meterline_sidecar.store.sqlite.migrate import (
    check_identity,
    check_origin,
    migrate,
    misshapen,
)
from meterline_sidecar.store.sqlite.transactions import (
    ReadingTx,
    SqliteTx,
    transact,
    work_outside,
)

READERS: Final = 4
FINDINGS_MAX: Final = 20  # of a check of the file; one is enough to act on
BUSY_MS: Final = 5_000
WAL_PAGES_MAX: Final = 4_000  # 16 MB: then the next commit is followed by a checkpoint
GIVEN_BACK_PAGES: Final = 500  # 2 MB in one step; others wait for some milliseconds
SPARE_PART: Final = 20  # one in so many pages stays free, for what comes next
CACHE_KIB: Final = 10_240
"""Of the writer; each reader has SQLite's own 2,000. A page that is not here is read from
what the system keeps of the file: with 16 MiB an event took as long to store and count."""
COPIED_PAGES: Final = 4_096  # 16 MiB, then a look whether it is still wanted

T = TypeVar("T")


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
                    yield ReadingTx(reader, self.path)
                finally:
                    await reader.rollback()
        finally:
            self._idle_readers.put_nowait(reader)

    async def read(self, work: Work[T]) -> T:
        """Return what a function finds in a snapshot; see ``Readable.read``."""
        reader = await self._idle_readers.get()
        try:
            with translated(self.path):
                try:
                    return await transact(reader, "BEGIN", work, "ROLLBACK")
                except BaseException:
                    await reader.rollback()  # behind what still runs in its thread
                    raise
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
            shape = await misshapen(tx)
        return [row[0] for row in rows if row[0] != "ok"] + shape

    async def copy_to(self, target: Path) -> None:
        """Write one consistent copy to ``target`` while others go on writing.

        Where this is cancelled, nothing writes to it any more once this has raised.
        """
        reader = await self._idle_readers.get()
        is_given_up = threading.Event()
        copying = asyncio.ensure_future(_copy(reader, target, is_given_up))
        try:
            with translated(target):
                await asyncio.shield(copying)
        except asyncio.CancelledError:
            # A thread that is not waited for makes the file anew that is cleared away.
            is_given_up.set()
            await asyncio.wait([copying])
            raise
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

    @property
    def others_write(self) -> bool:
        """Return that nobody does: the lock on its file says so."""
        return False

    @property
    def lease(self) -> None:
        """Return that there is nothing to elect."""
        return None

    def stopping(self) -> None:
        """Do nothing: a disk answers."""

    def check_places(self) -> None:
        """See that others find it where we have it open; see ``Ledger.check_places``."""
        for place in self._places:
            place.check()

    @classmethod
    async def open(cls, path: Path, *, may_be_empty: bool = True) -> Self:
        """Open the file, or make it, and bring its schema up to date.

        The caller holds the database's lock (see ``files``): nobody else writes.

        Args:
            may_be_empty: whether a file without anything becomes a ledger.

        Raises:
            NoLedger: the file is none, or is empty and may not be.
            ForeignDatabase: the file is not ours, or of a newer Meterline.
            DatabaseCorrupt: SQLite cannot read it.
            DiskFull, DiskFailed: as in ``Database.transaction``.
        """
        with translated(path):
            writer = await aiosqlite.connect(path, isolation_level=None)
            try:
                # First of all: a stranger's file must stay as it is.
                await check_origin(SqliteTx(writer), path, may_be_empty=may_be_empty)
                await _configure_writer(writer)
                await work_outside(writer, partial(migrate, path=path))
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
                request, tx = once(), SqliteTx(self._writer)
                try:
                    await self._writer.execute("BEGIN IMMEDIATE")
                    if request is not None:
                        await request.keep(tx)
                    yield tx
                    await self._writer.execute("COMMIT")
                except BaseException:
                    # A cancelled statement, BEGIN and COMMIT too, still runs in the
                    # driver's thread. This waits in its queue behind it, and does
                    # nothing where no transaction is open (any more).
                    await self._writer.rollback()
                    raise
                if request is not None:
                    request.is_kept = True
                self.check_places()

    async def write(self, work: Work[T]) -> T:
        """Return what a function did in a transaction; see ``Database.write``."""
        async with self._write_lock:
            with translated(self.path):
                request = once()
                try:
                    done = await transact(
                        self._writer, "BEGIN IMMEDIATE", keeping(work), "COMMIT"
                    )
                except BaseException:
                    # Who is cancelled waits for the end of what still runs in there.
                    await self._writer.rollback()
                    raise
                if request is not None:
                    request.is_kept = True
                self.check_places()
        return done

    async def checkpoint(self) -> bool:
        """Move the WAL into the file; return whether all of it was moved."""
        return await self._checkpoint("PRAGMA wal_checkpoint(PASSIVE)")

    async def empty_wal(self) -> bool:
        """Move the WAL into the file, and cut it to nothing; as ``checkpoint``."""
        return await self._checkpoint("PRAGMA wal_checkpoint(TRUNCATE)")

    async def _checkpoint(self, sql: str) -> bool:
        async with self._write_lock:
            with translated(self.path):
                async with self._writer.execute(sql) as cursor:
                    row = await cursor.fetchone()
            self.check_places()
        assert row is not None
        busy, pages, moved = row
        return bool(pages == moved and not busy)

    async def give_back(self) -> bool:
        """Give some free room within the file back; see ``Ledger.give_back``.

        Only a file that was made, or written anew, with incremental vacuum has it to
        give: others keep it for what comes.
        """
        async with self._write_lock:
            with translated(self.path):
                free = await self._pragma("freelist_count")
                if free <= await self._pragma("page_count") // SPARE_PART:
                    return False
                # A script, as the driver ends a plain statement after one page.
                sql = f"PRAGMA incremental_vacuum({GIVEN_BACK_PAGES})"
                async with self._writer.executescript(sql):
                    pass
                return await self._pragma("freelist_count") < free

    async def forget_pages(self) -> None:
        """Give back what caches hold; see ``Ledger.forget_pages``."""
        async with self._write_lock:
            await self._writer.execute("PRAGMA shrink_memory")
        for reader in self._readers:
            # Also between two statements of a snapshot, which goes on as it was.
            await reader.execute("PRAGMA shrink_memory")

    async def _pragma(self, name: str) -> int:
        row = await SqliteTx(self._writer).fetch_one(f"PRAGMA {name}")
        assert row is not None
        return int(row[0])

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
    await _teach_unpack(writer)
    for pragma in (
        f"busy_timeout = {BUSY_MS}",
        "auto_vacuum = INCREMENTAL",  # of a file that is new; before its first page
        "journal_mode = WAL",
        "synchronous = FULL",
        f"wal_autocheckpoint = {WAL_PAGES_MAX}",
        f"cache_size = -{CACHE_KIB}",
        "foreign_keys = ON",
        "secure_delete = ON",  # what is erased must not stay in free room of the file
        "trusted_schema = OFF",
    ):
        await writer.execute(f"PRAGMA {pragma}")


async def _copy(
    reader: aiosqlite.Connection, target: Path, is_given_up: threading.Event
) -> None:
    def check(*_pages: int) -> None:
        if is_given_up.is_set():
            raise InterruptedError

    async with aiosqlite.connect(target) as copy:
        # In a snapshot: a writer between two steps would make it start again.
        await reader.execute("BEGIN")
        try:
            await reader.execute_fetchall("SELECT 1 FROM sqlite_schema LIMIT 1")
            await reader.backup(copy, pages=COPIED_PAGES, progress=check)
        finally:
            await reader.rollback()


async def _open_reader(path: Path) -> aiosqlite.Connection:
    uri = f"file:{quote(str(path))}?mode=ro"
    reader = await aiosqlite.connect(uri, uri=True, isolation_level=None)
    try:
        await _configure_reader(reader)
    except BaseException:
        await reader.close()
        raise
    return reader


async def _configure_reader(reader: aiosqlite.Connection) -> None:
    await _teach_unpack(reader)
    await reader.execute("PRAGMA query_only = ON")
    await reader.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    # What is sorted is bounded by its query. A file for it would hold events outside of
    # the ledger's directory, and take a disk that may be full or not be there.
    await reader.execute("PRAGMA temp_store = MEMORY")
    # A first read, which opens the WAL as well: once the file is deleted from under us
    # that fails, and a reader that had not read could save nothing of it.
    async with reader.execute("PRAGMA schema_version"):
        pass


async def _teach_unpack(connection: aiosqlite.Connection) -> None:
    """Let statements read packs: see ``store.packs``."""
    driver: Any = connection  # its types say nothing of what a function takes
    await driver.create_function("unpack", 5, unpack, deterministic=True)
    await driver.create_function("search_pack", 6, search_pack, deterministic=True)
