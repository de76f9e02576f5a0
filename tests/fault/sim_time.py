"""One thread for a whole simulation, and a time that passes only while everybody waits.

A day takes as long as what happens in it, and the same schedule comes out the same.
"""

import asyncio
import selectors
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from tests.fault.sim_database import Killed

MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None  # fsync is free there

LEAST_S: Final = 1e-6  # else a wait might be shorter than a float of years can say


class Stuck(AssertionError):
    """Everybody waits, and for nothing."""


class _Instant(selectors.SelectSelector):
    """Reports what is ready, and lets time pass instead of waiting for more."""

    now_s = 0.0

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Stuck("nothing will ever happen again")
            if timeout > 0:
                self.now_s += max(timeout, LEAST_S)
        return ready


class SimLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock is the simulation's."""

    def __init__(self) -> None:
        self._instant = _Instant()
        super().__init__(self._instant)

    def time(self) -> float:
        """Return the simulated time, in seconds."""
        return self._instant.now_s

    def skip(self, seconds: float) -> None:
        """Let time pass in which nothing happens: all machines were asleep."""
        self._instant.now_s += seconds


class Inline(ThreadPoolExecutor):
    """Does at once what it is given, so that nothing depends on threads."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - the future raises it
            future.set_exception(error)
        return future


def ignore_the_dead(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A task of a dead process ends with ``Killed``, and nobody asks for that."""
    if not isinstance(context.get("exception"), Killed):
        loop.default_exception_handler(context)
