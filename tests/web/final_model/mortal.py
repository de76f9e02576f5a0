"""A process that can die at any statement, and everything that it has open with it."""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final
from unittest import mock

FOREVER: Final = 2**62


class Killed(BaseException):
    """The process is dead."""


class Life:
    """How many statements a process has left, of all its connections together."""

    def __init__(self) -> None:
        self.left = FOREVER
        self._on_death: Callable[[], object] = lambda: None

    @property
    def is_over(self) -> bool:
        return self.left <= 0

    def step(self) -> None:
        """Take one statement off, or die before it; nobody dead runs another."""
        if self.left <= 1:
            self.left = 0
            self._on_death()
            raise Killed
        self.left -= 1

    async def spend(self, n: int, work: Coroutine[Any, Any, object]) -> bool:
        """Do some work with so many statements left; say whether it was done.

        Work that waits for another task is given up as well once the process is dead.
        """
        loop, died = asyncio.get_running_loop(), asyncio.Event()
        self._on_death = lambda: loop.call_soon_threadsafe(died.set)
        self.left = n
        doing, dying = asyncio.ensure_future(work), asyncio.ensure_future(died.wait())
        await asyncio.wait({doing, dying}, return_when=asyncio.FIRST_COMPLETED)
        for task in (doing, dying):
            task.cancel()
        with suppress(Killed, asyncio.CancelledError):
            await dying
        try:
            await doing
        except (Killed, asyncio.CancelledError, Exception):
            if not self.is_over:
                raise
        if self.is_over:
            return False
        self.left = FOREVER
        return True


def mortal(life: Callable[[], Life]) -> Any:
    """Return a class of connections that belong to whatever life there is."""

    class Mortal(sqlite3.Connection):
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            self._life = life()

        def execute(self, *given: Any) -> sqlite3.Cursor:
            self._life.step()
            return super().execute(*given)

        def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
            self._life.step()
            return super().executemany(sql, rows)

    return Mortal


@contextmanager
def mortal_connections(life: Callable[[], Life]) -> Generator[None]:
    """Let whatever opens a database from now on die with its process."""
    connect = partial(sqlite3.connect, factory=mortal(life))
    with mock.patch.object(sqlite3, "connect", connect):
        yield
