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


class Line:
    """A connection that is opened when it is needed, and opened again when it is lost."""

    def __init__(self, url: PostgresUrl) -> None:
        self._url = url
        self._connection: Connection | None = None

    async def begin(self, sql: str) -> Connection:
        """Begin a transaction, over a new connection where the old one is lost.

        Raises:
            DatabaseGone: the server cannot be reached, or does not let us begin.
        """
        known = self._connection
        if known is not None:
            try:
                await known.execute(sql)
            except BaseException as error:
                await self.leave()
                if not isinstance(error, RAISED):
                    raise
                if not is_lost(error):
                    raise translate(self._url.url, error) from error
            else:
                return known
        self._connection = fresh = await connect(self._url)
        try:
            await fresh.execute(sql)
        except BaseException as error:
            await self.leave()
            if isinstance(error, RAISED):
                raise translate(self._url.url, error) from error
            raise
        return fresh

    async def leave(self) -> None:
        """Give up what was begun; a connection that does not answer is dropped."""
        connection = self._connection
        if connection is None:
            return
        try:
            if connection.is_closed():
                self.drop()
            elif connection.is_in_transaction():
                await connection.execute("ROLLBACK", timeout=ROLLBACK_S)
        except BaseException as error:
            self.drop()
            if not isinstance(error, RAISED):
                raise

    def drop(self) -> None:
        """Forget the connection: the next transaction opens another."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

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
        """Return what the server says of settings that a ledger must not have."""
        async with self.reading() as tx:
            row = await tx.fetch_one(
                "SELECT current_setting('fsync'), current_setting('full_page_writes')"
            )
        names = ("fsync", "full_page_writes")
        return [
            f"the server's {name} is off: a power cut may damage all of it"
            for name, value in zip(names, row or (), strict=True)
            if value == "off"
        ]

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
                await self._commit(connection)
            finally:
                # Where it was committed there is nothing to leave.
                await self._writer.leave()

    async def _commit(self, connection: Connection) -> None:
        try:
            status = await connection.execute("COMMIT")
        except RAISED as error:
            raise translate_commit(self.place, error) from error
        if status != "COMMIT":
            # A statement had failed, and whoever ran it went on all the same.
            raise MeterlineError(f"{self.place}: nothing was kept: {status}")

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
