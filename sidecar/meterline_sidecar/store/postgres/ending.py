"""Ends the waiting for a server that does not answer, once the process is to stop.

A connection does not say that the other end sleeps, or that nothing gets there any more:
each wait would last for as long as a healthy server may take, one after the other.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final

from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store.postgres.line import Line

SILENT_S: Final = 3.0
"""How long a server that is asked for nothing may take. Whoever stops us waits 10 s or so."""
ASK_EVERY_S: Final = 0.5

log = logging.getLogger(__name__)


class Ending:
    """Asks the server again and again, and cuts all lines off once it is silent.

    Args:
        probe: a line of its own: the others wait for locks, and for what takes long.
        lines: all others.
    """

    def __init__(self, probe: Line, lines: Sequence[Line]) -> None:
        self._probe = probe
        self._lines = lines
        self._watching: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin to ask."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Ask no more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        await self._probe.close()

    async def _watch(self) -> None:
        while True:
            asking = asyncio.create_task(self._ask())
            try:
                await asyncio.wait([asking], timeout=SILENT_S)
                if not asking.done():
                    self._cut_off()
                    return
            finally:
                if not asking.done():
                    # Else it would wait for an answer to its ROLLBACK.
                    self._probe.cut_off()
                    await asyncio.wait([asking])
            await asyncio.sleep(ASK_EVERY_S)

    async def _ask(self) -> None:
        # A server that refuses says so, to the others as well: nobody waits for that.
        with contextlib.suppress(MeterlineError):
            await self._probe.begin("BEGIN READ ONLY")
            await self._probe.leave()

    def _cut_off(self) -> None:
        log.warning(
            "the database has not answered for %d s: this process ends without it, and"
            " whoever sent what is not stored keeps it",
            SILENT_S,
        )
        for line in self._lines:
            line.cut_off()
