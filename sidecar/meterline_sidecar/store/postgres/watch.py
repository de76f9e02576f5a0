"""Ends the waiting for a server that does not answer.

A connection does not say that the other end sleeps, or that nothing gets there any more:
each statement would wait for as long as the longest one of a healthy server may take.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final

from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store.postgres.line import Line

SILENT_S: Final = 10.0
"""How long a server that is asked for nothing may take."""
STOP_SILENT_S: Final = 3.0
"""Likewise, once this process is to end: whoever stops us waits 10 s or so."""
ASK_EVERY_S: Final = 3.0
STOP_ASK_EVERY_S: Final = 0.5
SLICE_S: Final = 0.5

log = logging.getLogger(__name__)


class Watch:
    """Asks the server again and again; while it is silent, all lines are cut off.

    Args:
        probe: a line of its own: the others wait for locks, and for what takes long.
        lines: all others.
    """

    def __init__(self, probe: Line, lines: Sequence[Line]) -> None:
        self._probe = probe
        self._lines = lines
        self._watching: asyncio.Task[None] | None = None
        self._is_silent = False

    def begin(self) -> None:
        """Begin to ask."""
        self._watching = asyncio.create_task(self._watch(SILENT_S, ASK_EVERY_S))

    def hurry(self) -> None:
        """Be less patient from now on: this process is to end."""
        before, self._watching = self._watching, None

        async def hurried() -> None:
            if before is not None:
                before.cancel()
                await asyncio.wait([before])
            await self._watch(STOP_SILENT_S, STOP_ASK_EVERY_S)

        self._watching = asyncio.create_task(hurried())

    async def close(self) -> None:
        """Ask no more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        await self._probe.close()

    async def _watch(self, silent_s: float, ask_every_s: float) -> None:
        while True:
            asking = asyncio.create_task(self._ask())
            try:
                # In slices: a host that slept through one has heard nobody meanwhile.
                for _ in range(round(silent_s / SLICE_S)):
                    await asyncio.wait([asking], timeout=SLICE_S)
                self._note(is_silent=not asking.done(), silent_s=silent_s)
            finally:
                if not asking.done():
                    # Else it would wait for an answer to its ROLLBACK.
                    self._probe.cut_off()
                    await asyncio.wait([asking])
                    self._probe.join()
            await asyncio.sleep(ask_every_s)

    async def _ask(self) -> None:
        # A server that refuses says so, to the others as well: nobody waits for that.
        with contextlib.suppress(MeterlineError):
            await self._probe.begin("BEGIN READ ONLY")
            await self._probe.leave()

    def _note(self, *, is_silent: bool, silent_s: float) -> None:
        """Cut everybody off from a server that is silent, and let them in again."""
        if is_silent == self._is_silent:
            return
        self._is_silent = is_silent
        if is_silent:
            log.warning(
                "the database has not answered for %d s: nobody waits for it any more,"
                " and what is not stored stays with whoever sent it",
                silent_s,
            )
        else:
            log.info("the database answers again")
        for line in self._lines:
            if is_silent:
                line.cut_off()
            else:
                line.join()
