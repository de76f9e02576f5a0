"""Lets what came wait a moment for company, so that more of it shares a commit.

A commit costs the same for one event as for a thousand. The first after a while is made
at once; while events keep coming there is one a second, unless so many wait that they
are company enough, or somebody waits for the ack. What waits is not known here yet, and
still stands in its app's spool.
"""

import asyncio
import contextlib
from typing import Final

COMPANY_S: Final = 1.0  # from the beginning of one commit to that of the next
COMPANY_ROWS: Final = 5_000  # which need no more: about 15 ms of writing


class Company:
    """What waits for the next commit, and until when.

    Args:
        company_s: from one commit to the next, at least.
    """

    def __init__(self, company_s: float = COMPANY_S) -> None:
        self._company_s = company_s
        self._is_enough = asyncio.Event()
        self._next_s = 0.0

    def came(self, *, n_rows: int, is_urgent: bool) -> None:
        """Note that something came.

        Args:
            n_rows: how much waits by now.
            is_urgent: whether somebody waits for its commit.
        """
        if is_urgent or n_rows >= COMPANY_ROWS:
            self._is_enough.set()

    async def wait(self) -> None:
        """Return when it is time for the next commit."""
        loop = asyncio.get_running_loop()
        left_s = self._next_s - loop.time()
        if left_s > 0 and not self._is_enough.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_enough.wait(), left_s)
        self._is_enough.clear()
        self._next_s = loop.time() + self._company_s
