"""What the SQL modules need of a database. They know this port and no driver."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

Value = int | str | bytes | float | None
Row = tuple[Any, ...]


class Tx(Protocol):
    """A running transaction. It commits when its block ends, or not at all."""

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement and return the number of rows that it changed."""
        ...

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run one statement for each row."""
        ...

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or ``None``; an INSERT's is its ``RETURNING``."""
        ...

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Return every row."""
        ...


class Database(Protocol):
    """One ledger: a single writer, and readers that never wait for it."""

    def transaction(self) -> AbstractAsyncContextManager[Tx]:
        """Open a write transaction; one at a time, the others wait their turn.

        Raises:
            DiskFull: nothing was kept; try again when there is room.
            DiskFailed: nothing is known; the process must reopen the database.
            DatabaseCorrupt: the file is damaged.
        """
        ...

    def reading(self) -> AbstractAsyncContextManager[Tx]:
        """Open a read-only snapshot, which never blocks the writer."""
        ...
