"""A line to a PostgreSQL server: a connection that is opened again when it is lost."""

import asyncio
import contextlib
import logging
from typing import Final

import asyncpg

from meterline_sidecar.config.postgres import PostgresUrl
from meterline_sidecar.errors import DatabaseGone, MeterlineError
from meterline_sidecar.store.postgres.connect import Connection, connect
from meterline_sidecar.store.postgres.errors import (
    RAISED,
    is_lost,
    translate,
    translate_commit,
)

log = logging.getLogger(__name__)

ROLLBACK_S: Final = 5.0
CLOSE_S: Final = 5.0
END_FROZEN: Final = (
    "SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a"
    " JOIN pg_locks l ON l.pid = a.pid WHERE a.datname = current_database()"
    " AND a.usename = current_user AND a.pid <> pg_backend_pid()"
    " AND a.wait_event_type = 'Client'"
    " AND greatest(a.query_start, a.state_change) < clock_timestamp() - interval '10 s'"
    " AND l.relation = 'writer'::regclass AND l.mode = 'RowShareLock' AND l.granted"
)
"""Whoever has the lock of all writers, and has been silent for ten seconds. One that froze
between two messages of a statement is not idle for the server, which ends it never."""


class Line:
    """A connection that is opened when it is needed, and opened again when it is lost."""

    def __init__(self, url: PostgresUrl) -> None:
        self._url = url
        self._connection: Connection | None = None
        self._has_begun = False
        self._opening: asyncio.Timeout | None = None
        self._is_cut_off = False
        self.said = ""
        """How the server answered to what began the last transaction."""

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
        self._connection = await self._open()
        try:
            return await self._begin(self._connection, sql)
        except RAISED as error:
            raise translate(self._url.url, error) from error

    async def _open(self) -> Connection:
        if self._is_cut_off:
            raise DatabaseGone(
                f"{self._url}: the server does not answer; nothing is lost; try again"
            )
        try:
            async with asyncio.timeout(None) as self._opening:
                return await connect(self._url)
        except TimeoutError as error:  # cut off: others are translated already
            raise translate(self._url.url, error) from error
        finally:
            self._opening = None

    async def _begin(self, connection: Connection, sql: str) -> Connection:
        self._has_begun = True
        try:
            self.said = await connection.execute(sql)
        except BaseException as error:
            await self.leave()
            if isinstance(error, asyncpg.LockNotAvailableError):
                await end_frozen(connection)
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

    def cut_off(self) -> None:
        """Tell whoever waits for the server, until ``join``, that it does not answer."""
        self._is_cut_off = True
        if self._opening is not None:
            self._opening.reschedule(0)
        if self._connection is not None:
            self._connection.terminate()

    def join(self) -> None:
        """Let the next transaction open a connection again."""
        self._is_cut_off = False

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


async def end_frozen(connection: Connection) -> None:
    """End who has the lock and sleeps: what they began is rolled back by the server."""
    with contextlib.suppress(*RAISED):
        ((ended,),) = await connection.fetch(END_FROZEN)
        if ended:
            log.warning(
                "ended %d sessions that held up all others and had gone silent", ended
            )
