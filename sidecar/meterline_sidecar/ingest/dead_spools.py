"""Takes in what dead workers left in their spools, as if they had sent it."""

import asyncio
import logging
from collections import deque
from pathlib import Path
from typing import Final

from meterline.spool.dead import DeadSpool, remove_unfinished, spool_directories
from meterline.spool.scan import Run
from meterline.wire import BATCHES_IN_FLIGHT_MAX, Batch, Bye, Lost, WireError
from meterline_sidecar.errors import SequenceGap
from meterline_sidecar.ingest.accept import Ingest

log = logging.getLogger(__name__)

SPOOLS_PER_RUN_MAX: Final = 1_000


class Drain:
    """Drains spools whose worker is dead; a lock tells dead from alive.

    The next worker that starts does the same. Whoever takes the lock first drains a
    spool, and the sequence numbers make the rest count once.
    """

    def __init__(self, spool_dir: Path, ingest: Ingest) -> None:
        self._spool_dir = spool_dir
        self._ingest = ingest
        self.trouble: str | None = None
        """Why spools cannot be read, in words."""

    async def run(self) -> int:
        """Drain every dead spool that is there now; return how many.

        Raises:
            RetryLater: they cannot be stored now; they stay where they are.
        """
        try:
            remove_unfinished(self._spool_dir)
            folders = spool_directories(self._spool_dir)[:SPOOLS_PER_RUN_MAX]
        except OSError as error:
            self.trouble = f"{self._spool_dir}: {error.strerror}"
            return 0
        self.trouble = None
        n_drained = 0
        for folder in folders:
            n_drained += await self._drain(folder)
        return n_drained

    async def _drain(self, folder: Path) -> bool:
        try:
            spool = DeadSpool.take(folder)
        except OSError as error:
            self.trouble = f"{folder}: {error}"
            return False
        if spool is None:
            return False
        try:
            n_events = await self._take_in(spool)
            spool.delete()
        except (WireError, SequenceGap) as error:
            # A bug, or a spool that was tampered with: the others go on.
            self.trouble = f"{folder}: {error}"
            return False
        finally:
            spool.close()
        log.info("took in %d event(s) that a dead worker left in %s", n_events, folder)
        return True

    async def _take_in(self, spool: DeadSpool) -> int:
        """Store everything of a spool; return how many numbers that were."""
        ingest = self._ingest
        producer = await ingest.hello(spool.hello)
        first_seq = producer.next_seq
        on_their_way: deque[asyncio.Future[int]] = deque()
        try:
            for part in spool.parts(after_seq=producer.row.last_seq):
                await ingest.room()
                message = (
                    Batch(part.first_seq, part.last_seq, part.read())
                    if isinstance(part, Run)
                    else Lost(part.first_seq, part.last_seq, part.reason)
                )
                on_their_way.append(ingest.accept(producer, message))
                if len(on_their_way) >= BATCHES_IN_FLIGHT_MAX:
                    await on_their_way.popleft()
            last_seq = producer.next_seq - 1
            await ingest.accept(producer, Bye(last_seq))
        finally:
            await asyncio.gather(*on_their_way, return_exceptions=True)
            ingest.forget(producer)
        return last_seq - first_seq + 1
