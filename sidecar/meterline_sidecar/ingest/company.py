"""Lets what came wait a moment for company, so that more of it shares a commit.

A commit costs the same for one event as for a thousand. The first after a while is made
at once; while events keep coming there is one a second, unless so many wait that they
are company enough, or somebody waits for the ack. Where so many come that a moment is
company enough, there is one each moment; where so few come that a person may be looking
at each, there are four a second. What waits is not known here yet, and still stands in
its app's spool.
"""

import asyncio
import contextlib
from typing import Final

from meterline.wire import BATCHES_IN_FLIGHT_MAX
from meterline_sidecar.ingest.commit import Piece

COMPANY_S: Final = 1.0  # from the beginning of one commit to that of the next
COMPANY_ROWS: Final = 5_000  # which need no more: about 15 ms of writing
FEW_S: Final = 0.25
FEW_ROWS: Final = 25  # came in that time: four commits a second take 0.5 % of a core
CROWD_PER_S: Final = 80_000  # about half of what one process can take
CROWD_S: Final = 0.015  # from commit to commit then: an ack comes in twice that
CROWD_ENDS_S: Final = 0.1  # after fewer come: the last of them wait no longer, either


class Company:
    """What waits for the next commit, and until when.

    Args:
        company_s: from one commit to the next, at least.
    """

    def __init__(self, company_s: float = COMPANY_S) -> None:
        self._company_s = company_s
        self._is_enough = asyncio.Event()
        self._n_rows = 0
        self._last_s = self._next_s = self._crowd_until_s = 0.0

    def came(self, *, n_rows: int, is_urgent: bool) -> None:
        """Note that something came.

        Args:
            n_rows: how much waits by now.
            is_urgent: whether somebody waits for its commit.
        """
        self._n_rows = n_rows
        if is_urgent or n_rows >= COMPANY_ROWS:
            self._is_enough.set()

    async def wait(self) -> None:
        """Return when it is time for the next commit."""
        loop = asyncio.get_running_loop()
        await self._until(min(self._last_s + FEW_S, self._next_s))
        if self._n_rows > FEW_ROWS:
            await self._until(self._next_s)
        self._is_enough.clear()
        now_s = loop.time()
        if self._n_rows >= CROWD_PER_S * (now_s - self._last_s):
            self._crowd_until_s = now_s + CROWD_ENDS_S
        is_crowd = now_s < self._crowd_until_s
        wait_s = min(CROWD_S, self._company_s) if is_crowd else self._company_s
        self._last_s, self._next_s, self._n_rows = now_s, now_s + wait_s, 0

    async def _until(self, at_s: float) -> None:
        """Return when it is so late, or when there is company enough."""
        left_s = at_s - asyncio.get_running_loop().time()
        if left_s > 0 and not self._is_enough.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_enough.wait(), left_s)


def is_urgent(piece: Piece) -> bool:
    """Say whether somebody waits for a commit.

    Who has said goodbye does, who has a full window, and who sends a batch of nothing
    only to say so.
    """
    return (
        piece.is_bye
        or not piece.n_rows
        or piece.producer.n_waiting >= BATCHES_IN_FLIGHT_MAX
    )
