"""The PostgreSQL driver: one writer at a time, a few readers, no state in a session."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NoReturn, Self

from meterline_sidecar.config.postgres import PostgresUrl
from meterline_sidecar.errors import LeaseLost, MeterlineError
from meterline_sidecar.store.fence import fence
from meterline_sidecar.store.once import once
from meterline_sidecar.store.port import Database, Readable, Tx
from meterline_sidecar.store.postgres.connect import connect
from meterline_sidecar.store.postgres.dialect import Append
from meterline_sidecar.store.postgres.errors import RAISED, translate
from meterline_sidecar.store.postgres.lease import PostgresLease
from meterline_sidecar.store.postgres.line import Line
from meterline_sidecar.store.postgres.migrate import check_identity, migrate
from meterline_sidecar.store.postgres.transactions import PostgresTx, Shape
from meterline_sidecar.store.postgres.watch import Watch

READERS: Final = 4

# What a server allows the statements of others, such as those of pages, is too little for
# one that goes over all events: how long one may take is the client's to say.
PATIENT: Final = "SET LOCAL statement_timeout = 0"
READ: Final = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {PATIENT}"
# Each statement sees what was committed before it, and the lock comes first: so a writer
# sees all that writers before it did, and rows are committed in the order of their ids.
# Who holds the lock and says nothing for 10 s, such as a host that froze, loses it: all
# others wait for it, and one of them is to lead.
WRITE: Final = (
    f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {PATIENT};"  # noqa: S608 - our own words
    " SET LOCAL lock_timeout = '12s';"
    " SET LOCAL idle_in_transaction_session_timeout = '10s';"
    " SELECT id FROM writer FOR UPDATE"
)
# Behind the lock, which whoever is elected takes as well: so it is the newest number.
FENCED: Final = WRITE + "; SELECT fence FROM lease WHERE fence = {fence:d}"  # noqa: S608 - a number
FOUND: Final = "SELECT 1"
"""What the server says last; where another one was elected there is no such row."""

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


class PostgresReader(Readable):
    """A ledger that is only read, beside the process that writes it."""

    def __init__(self, url: PostgresUrl) -> None:
        self.url = url
        self._readers = [Line(url) for _ in range(READERS)]
        self._idle_readers: asyncio.LifoQueue[Line] = asyncio.LifoQueue()
        for reader in self._readers:
            self._idle_readers.put_nowait(reader)
        self._shapes: dict[Append, Shape] = {}

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
                yield PostgresTx(connection, self.place, self._shapes)
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
        of_lease = Line(url)
        self._lease = PostgresLease(url.url, of_lease)
        self._watch = Watch(Line(url), (*self._readers, self._writer, of_lease))

    @property
    def others_write(self) -> bool:
        """Return that other centres may."""
        return True

    @property
    def lease(self) -> PostgresLease:
        """Return what elects one of them."""
        return self._lease

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
        ledger = cls(url)
        ledger._watch.begin()
        return ledger

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Tx]:
        """Open a write transaction; see ``Database.transaction``."""
        async with self._write_lock:
            number = fence()
            connection = await self._writer.begin(_writing(number))
            try:
                if self._writer.said != FOUND:
                    raise LeaseLost(
                        f"{self.place}: another centre leads by now, and election"
                        f" {number} is over; nothing of this was kept"
                    )
                tx = PostgresTx(connection, self.place, self._shapes)
                request = once()
                if request is not None:
                    await request.keep(tx)
                yield tx
                await self._writer.commit()
                if request is not None:
                    request.is_kept = True
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

    async def forget_pages(self) -> None:
        """Do nothing: the server has them."""

    def check_places(self) -> None:
        """Do nothing: there is one place, and every reader asks there."""

    def stopping(self) -> None:
        """Wait no longer for a server that does not answer."""
        self._watch.hurry()

    async def close(self) -> None:
        """Close every connection."""
        await super().close()
        await self._writer.close()
        await self._lease.close()
        await self._watch.close()


def _writing(number: int | None) -> str:
    """Return what begins a transaction, under the number of an election or none."""
    return WRITE if number is None else FENCED.format(fence=number)
