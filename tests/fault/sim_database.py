"""A real SQLite file behind the store's port, in one thread, with death built in.

Nothing waits and no thread runs, so a schedule of faults has one outcome. A *step* is
whatever a process may die before: a statement, and both sides of a COMMIT.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self

from meterline_sidecar.store.port import Lease, Ledger, Row, Tx, Value
from meterline_sidecar.store.sqlite.errors import translated
from meterline_sidecar.store.sqlite.migrate import migrate

PAGES_MAX: Final = 2**30
AUTOCHECKPOINT_PAGES: Final = 30  # often, so that kills meet checkpoints


class Killed(BaseException):
    """The process that runs this code is dead; nothing of what follows is seen."""


class SimTx:
    """A transaction on one connection; every statement is a step."""

    def __init__(
        self, connection: sqlite3.Connection, step: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._step = step

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement and return the number of rows that it changed."""
        self._step()
        return self._connection.execute(sql, parameters).rowcount

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run one statement for each row."""
        self._step()
        self._connection.executemany(sql, rows)

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or ``None``; a step where it is what was inserted."""
        if sql.startswith("INSERT"):
            self._step()
        row: Row | None = self._connection.execute(sql, parameters).fetchone()
        return row

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Return every row."""
        return self._connection.execute(sql, parameters).fetchall()


class SimDatabase(Ledger):
    """One ledger.

    Args:
        die: called at the step at which the process dies: whatever the files hold
            at that moment is all that is left.
    """

    def __init__(self, path: Path, die: Callable[[], None]) -> None:
        self.path = path
        self._die = die
        self._writer = sqlite3.connect(path, isolation_level=None)
        self._idle_readers: list[sqlite3.Connection] = []
        self._writing = asyncio.Lock()
        self.steps_left: int | None = None
        """How many more steps this process lives; ``None`` as long as nobody kills."""
        for pragma in (
            "journal_mode = WAL",
            "synchronous = OFF",  # processes die here, not machines
            f"wal_autocheckpoint = {AUTOCHECKPOINT_PAGES}",
            "foreign_keys = ON",
        ):
            self._writer.execute(f"PRAGMA {pragma}")

    async def bring_up_to_date(self) -> Self:
        """Migrate; as ``SqliteDatabase.open`` does."""
        with translated(self.path):
            await migrate(SimTx(self._writer, self.step), self.path)
        return self

    def step(self) -> None:
        """Live on, or die here."""
        if self.steps_left is None:
            return
        self.steps_left -= 1
        if self.steps_left <= 0:
            self.steps_left = 1  # a dead process stays dead
            self._die()
            raise Killed

    @property
    def place(self) -> str:
        """Return the path of the file."""
        return str(self.path)

    @property
    def lease(self) -> Lease | None:
        """Return nothing: whoever has a file leads."""
        return None

    async def size_bytes(self) -> int:
        """Return the size of the file."""
        return self.path.stat().st_size

    async def copy_to(self, target: Path) -> None:
        """Do nothing: schedules copy files."""
        raise NotImplementedError

    async def empty_wal(self) -> bool:
        """Do as ``checkpoint``."""
        return await self.checkpoint()

    async def give_back(self) -> bool:
        """Give nothing back."""
        return False

    async def forget_pages(self) -> None:
        """Do nothing: a simulated ledger lives in memory."""

    def stopping(self) -> None:
        """Do nothing: a simulated ledger answers."""

    def check_places(self) -> None:
        """See nothing: nobody moves a simulated file."""

    async def check(self) -> list[str]:
        """Return what SQLite finds damaged; as ``SqliteDatabase.check`` does."""
        rows = self._writer.execute("PRAGMA quick_check").fetchall()
        return [row[0] for row in rows if row[0] != "ok"]

    def fill_disk(self, *, is_full: bool) -> None:
        """Leave the file no page to grow by, or give it room again."""
        (pages,) = self._writer.execute("PRAGMA page_count").fetchone()
        limit = pages if is_full else PAGES_MAX
        self._writer.execute(f"PRAGMA max_page_count = {limit}")

    @asynccontextmanager
    async def _translated(self) -> AsyncGenerator[None]:
        with translated(self.path):
            yield

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Tx]:
        """Open a write transaction; see ``store.port``."""
        async with self._writing, self._translated():
            self.step()
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield SimTx(self._writer, self.step)
                self.step()
                self._writer.execute("COMMIT")
                self.step()
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Tx]:
        """Open a read-only snapshot; see ``store.port``."""
        with translated(self.path):
            if self._idle_readers:
                connection = self._idle_readers.pop()
            else:
                connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
            try:
                connection.execute("BEGIN")
                yield SimTx(connection, lambda: None)
            finally:
                connection.rollback()
                self._idle_readers.append(connection)

    async def checkpoint(self) -> bool:
        """Move the WAL into the file."""
        self.step()
        with translated(self.path):
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self.step()
        return True

    async def close(self) -> None:
        """Close every connection, the writer's last."""
        for connection in self._idle_readers:
            connection.close()
        self._idle_readers.clear()
        self._writer.close()
