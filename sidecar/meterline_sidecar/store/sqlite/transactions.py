"""Transactions of the SQLite driver, statement by statement or in one call."""

import sqlite3
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from meterline_sidecar.store.port import Row, Value, Work
from meterline_sidecar.store.sqlite.errors import translated

T = TypeVar("T")


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


class ReadingTx(SqliteTx):
    """A snapshot whose errors are ours at once: who verifies goes on behind them."""

    def __init__(self, connection: aiosqlite.Connection, path: Path) -> None:
        super().__init__(connection)
        self._path = path

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Return every row."""
        with translated(self._path):
            return await super().fetch_all(sql, parameters)


class _DirectTx:
    """A transaction in its connection's own thread, where nothing is waited for."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement and return the number of rows that it changed."""
        return self._connection.execute(sql, parameters).rowcount

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run one statement for each row."""
        self._connection.executemany(sql, rows)

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or ``None``."""
        rows = await self.fetch_all(sql, parameters)
        return rows[0] if rows else None

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Return every row."""
        return self._connection.execute(sql, parameters).fetchall()


async def transact(
    connection: aiosqlite.Connection, begin: str, work: Work[T], end: str
) -> T:
    """Run a whole transaction in the connection's thread."""

    def whole(raw: sqlite3.Connection) -> T:
        raw.execute(begin)
        try:
            result = _run(work(_DirectTx(raw)))
            raw.execute(end)
        except BaseException:
            raw.rollback()
            raise
        return result

    return await _in_thread(connection, whole)


async def work_outside(connection: aiosqlite.Connection, work: Work[T]) -> T:
    """Run what begins and ends its own transactions in the connection's thread."""
    return await _in_thread(connection, lambda raw: _run(work(_DirectTx(raw))))


async def _in_thread(
    connection: aiosqlite.Connection, function: Callable[[sqlite3.Connection], T]
) -> T:
    """Call a function in the connection's thread.

    A call to that thread and back costs as much as ten short statements.
    """
    driver: Any = connection  # no public way leads to that thread
    done: T = await driver._execute(function, driver._conn)
    return done


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        coroutine.send(None)
    except StopIteration as end:
        done: T = end.value
        return done
    coroutine.close()
    raise AssertionError("a transaction's work has awaited something else")
