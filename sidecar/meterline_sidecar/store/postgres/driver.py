"""The PostgreSQL driver: one writer at a time, a few readers, no state in a session."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NoReturn, Self

from meterline_sidecar.config.postgres import PostgresUrl
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store.port import Database, Readable, Tx
from meterline_sidecar.store.postgres.connect import Connection, connect
from meterline_sidecar.store.postgres.errors import (
    RAISED,
    is_lost,
    translate,
    translate_commit,
)
from meterline_sidecar.store.postgres.migrate import check_identity, migrate
from meterline_sidecar.store.postgres.transactions import PostgresTx

READERS: Final = 4
ROLLBACK_S: Final = 5.0
CLOSE_S: Final = 5.0

READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Each statement sees what was committed before it, and the lock comes first: so a writer
# sees all that writers before it did, and rows are committed in the order of their ids.
# Who holds the lock and says nothing for a minute, such as a host that froze, loses it.
WRITE: Final = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
    " SET LOCAL lock_timeout = '30s';"
    " SET LOCAL idle_in_transaction_session_timeout = '60s';"
    " SELECT id FROM writer FOR UPDATE"
)

DAMAGED_PAGES: Final = (  # since its statistics began; NULL without checksums
    "SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()"
)
PARTS_OFF: Final = (
    "SELECT 'index', c.relname::text FROM pg_index i JOIN pg_class c"
    " ON c.oid = i.indexrelid WHERE NOT i.indisvalid"
    " AND c.relnamespace = current_schema()::regnamespace UNION ALL"
    " SELECT 'trigger', t.tgname::text FROM pg_trigger t JOIN pg_class c"
    " ON c.oid = t.tgrelid WHERE t.tgenabled = 'D'"
    " AND c.relnamespace = current_schema()::regnamespace ORDER BY 2"
)


class Line:
    """A connection that is opened when it is needed, and opened again when it is lost."""

    def __init__(self, url: PostgresUrl) -> None:
        self._url = url
        self._connection: Connection | None = None
        self._has_begun = False

    async def begin(self, sql: str) -> Connection:
        """Begin a transaction, over a new connection where the old one is lost.

        Raises:
            DatabaseGone: the server cannot be reached, or does not let us begin.
        """
        if self._connection is not None:
            try:
                return await self._begin(self._connection, sql)
            except RAISED as error:
                if not is_lost(error):
                    raise translate(self._url.url, error) from error
                self._drop()
        self._connection = await connect(self._url)
        try:
            return await self._begin(self._connection, sql)
        except RAISED as error:
            raise translate(self._url.url, error) from error

    async def _begin(self, connection: Connection, sql: str) -> Connection:
        self._has_begun = True
        try:
            await connection.execute(sql)
        except BaseException:
            await self.leave()
            raise
        return connection

    async def commit(self) -> None:
        """Commit what was begun.

        Raises:
            DiskFailed: nobody knows whether it was.
            MeterlineError: it was not.
        """
        assert self._connection is not None
        try:
            status = await self._connection.execute("COMMIT")
        except RAISED as error:
            raise translate_commit(self._url.url, error) from error
        if status != "COMMIT":
            # A statement had failed, and whoever ran it went on all the same.
            raise MeterlineError(f"{self._url}: nothing was kept: {status}")
        self._has_begun = False

    async def leave(self) -> None:
        """Give up what was begun; a connection that does not answer is dropped.

        Where a statement was cancelled, what it has come to is not known here: the
        server is told in any case.
        """
        connection = self._connection
        if connection is None or not self._has_begun:
            return
        try:
            await connection.execute("ROLLBACK", timeout=ROLLBACK_S)
        except BaseException as error:
            self._drop()
            if not isinstance(error, RAISED):
                raise
        else:
            self._has_begun = False

    def _drop(self) -> None:
        """Forget the connection: the next transaction opens another."""
        if self._connection is not None:
            self._connection.terminate()
        self._connection, self._has_begun = None, False

    async def close(self) -> None:
        """Say goodbye."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close(timeout=CLOSE_S)
            except RAISED:
                connection.terminate()


class PostgresReader(Readable):
    """A ledger that is only read, beside the process that writes it."""

    def __init__(self, url: PostgresUrl) -> None:
        self.url = url
        self._readers = [Line(url) for _ in range(READERS)]
        self._idle_readers: asyncio.LifoQueue[Line] = asyncio.LifoQueue()
        for reader in self._readers:
            self._idle_readers.put_nowait(reader)
        self._types: dict[str, tuple[str, ...]] = {}

    @classmethod
    async def open_reader(cls, url: PostgresUrl) -> "PostgresReader":
        """Open an existing ledger for reading only.

        Raises:
            ForeignDatabase: there is no such database, or it is not ours, or its schema
                is not the one of this Meterline.
            DatabaseGone: the server cannot be reached.
            MeterlineError: it does not let us in.
        """
        connection = await connect(url)
        try:
            await check_identity(connection, url.url)
        except RAISED as error:
            raise translate(url.url, error) from error
        finally:
            connection.terminate()
        return PostgresReader(url)

    @property
    def place(self) -> str:
        """Return the address, in which there is no password."""
        return self.url.url

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Tx]:
        """Open a read-only snapshot; see ``Readable.reading``."""
        reader = await self._idle_readers.get()
        try:
            connection = await reader.begin(READ)
            try:
                yield PostgresTx(connection, self.place, self._types)
            finally:
                await reader.leave()
        finally:
            self._idle_readers.put_nowait(reader)

    async def size_bytes(self) -> int:
        """Return the room that the database takes on its server."""
        async with self.reading() as tx:
            row = await tx.fetch_one("SELECT pg_database_size(current_database())")
        assert row is not None
        return int(row[0])

    async def check(self) -> list[str]:
        """Return what the server itself knows to be damaged, or switched off."""
        async with self.reading() as tx:
            pages = await tx.fetch_one(DAMAGED_PAGES)
            parts = await tx.fetch_all(PARTS_OFF)
        found = [f"the {kind} {name} is not in use" for kind, name in parts]
        if pages is not None and pages[0]:
            found.insert(0, f"the server found {pages[0]} damaged pages")
        return found

    async def copy_to(self, target: Path) -> NoReturn:
        """Refuse: a server has ways of its own."""
        raise MeterlineError(
            f"{self.place}: a ledger on a server is not copied to {target}; use pg_dump,"
            " or the server's own backups: see docs/postgresql.md"
        )

    async def close(self) -> None:
        """Close every connection."""
        for reader in self._readers:
            await reader.close()


class PostgresDatabase(PostgresReader, Database):
    """A ledger in a PostgreSQL database, and the connection that writes it."""

    def __init__(self, url: PostgresUrl) -> None:
        super().__init__(url)
        self._writer = Line(url)
        self._write_lock = asyncio.Lock()

    @classmethod
    async def open(cls, url: PostgresUrl) -> Self:
        """Open the database, and bring its schema up to date; make it in an empty one.

        Raises:
            ForeignDatabase: it is not ours, or of a newer Meterline.
            DatabaseGone: the server cannot be reached.
            MeterlineError: it does not let us in.
        """
        connection = await connect(url)
        try:
            await migrate(connection, url.url)
        except RAISED as error:
            raise translate(url.url, error) from error
        finally:
            connection.terminate()
        return cls(url)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Tx]:
        """Open a write transaction; see ``Database.transaction``."""
        async with self._write_lock:
            connection = await self._writer.begin(WRITE)
            try:
                yield PostgresTx(connection, self.place, self._types)
                await self._writer.commit()
            finally:
                # Where it was committed there is nothing to leave.
                await self._writer.leave()

    async def checkpoint(self) -> bool:
        """Return that nothing waits: the server does this by itself."""
        return True

    async def empty_wal(self) -> bool:
        """Return that nothing waits: the server does this by itself."""
        return True

    async def give_back(self) -> bool:
        """Return that there is nothing to do: the server's autovacuum does it."""
        return False

    def check_places(self) -> None:
        """Do nothing: there is one place, and every reader asks there."""

    async def close(self) -> None:
        """Close every connection."""
        await super().close()
        await self._writer.close()
