"""Takes in what dead workers left in their spools, as if they had sent it."""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from meterline.spool.dead import (
    DeadSpool,
    owner_of,
    remove_unfinished,
    spool_directories,
)
from meterline.spool.scan import Part, Run
from meterline.wire import (
    BATCHES_IN_FLIGHT_MAX,
    SEQ_MAX,
    Batch,
    Bye,
    Lost,
    WireError,
)
from meterline_sidecar.errors import (
    DatabaseCorrupt,
    DiskFailed,
    RetryLater,
    SequenceGap,
)
from meterline_sidecar.files import Place
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.elsewhere import Elsewhere
from meterline_sidecar.ingest.whose import CODE, Whose
from meterline_sidecar.problems.problem import n_of, such_as
from meterline_sidecar.store.edge.events import ProducerRow

log = logging.getLogger(__name__)

SPOOLS_PER_RUN_MAX: Final = 1_000
RETRY_S: Final = 60.0
"""How long one that failed is left alone: looking at it again costs as much."""
NAMED_MAX: Final = 3


class _Failure(NamedTuple):
    why: str
    until_s: float
    """When it is looked at again."""
    is_anothers: bool
    """Whether nothing is wrong with it, and another ledger takes it."""


class Drain:
    """Drains spools whose worker is dead; a lock tells dead from alive.

    The next worker that starts does the same. Whoever takes the lock first drains a
    spool, and the sequence numbers make the rest count once.

    Args:
        whose: says which of them are for this ledger.
        uids: the users who may record events; the spool of another is not read.
        elsewhere: where events have to be, too, before their spool is deleted.
    """

    def __init__(
        self,
        spool_dir: Path,
        ingest: Ingest,
        *,
        whose: Whose,
        uids: Collection[int] = (),
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.whose = whose
        """Says which spools this ledger takes."""
        self._elsewhere = elsewhere
        self._spool_dir = spool_dir
        self._ingest = ingest
        self._uids = frozenset({0, os.geteuid(), *uids})
        self._place = Place(spool_dir, "sidecar.spool_dir")
        self._after = ""  # the last one that was looked at
        self._failed: dict[Path, _Failure] = {}
        self._unreadable: str | None = None
        self._taking: Path | None = None

    @property
    def trouble(self) -> str | None:
        """Which spools cannot be read and why, in words."""
        if self._unreadable is not None:
            return self._unreadable
        return _named([one.why for one in self._failed.values() if not one.is_anothers])

    @property
    def left_alone(self) -> str | None:
        """Which spools are another ledger's, here and where workers look, in words."""
        here = [one.why for one in self._failed.values() if one.is_anothers]
        return _named([*here, *self.whose.refused()])

    async def waiting(self, *, before_ms: int) -> tuple[str, ...]:
        """Return in words which spools hold what nobody is sending, or may hold it.

        Those of dead workers until all of it is stored, and those of living ones that
        are not connected. What a worker records is not older than itself.

        Args:
            before_ms: workers that started then, or later, are left out.
        """
        return await asyncio.to_thread(self._waiting, before_ms)

    def _waiting(self, before_ms: int) -> tuple[str, ...]:
        try:
            found = self._held_back()
        except OSError as error:
            return (f"{self._spool_dir}: {error.strerror}",)
        return tuple(
            self._failed[folder].why if folder in self._failed else str(folder)
            for folder, started_ms in found
            if started_ms < before_ms
        )

    async def waiting_since(self) -> dict[str, int]:
        """Return the same by producer, with the time at which its worker began.

        Raises:
            OSError: the directory cannot be read.
        """
        found = await asyncio.to_thread(self._held_back)
        return {folder.name: started_ms for folder, started_ms in found}

    def _held_back(self) -> list[tuple[Path, int]]:
        """Return spools that hold what nobody is sending, and when they were begun."""
        folders = [
            folder
            for folder in self._folders()
            if folder == self._taking or not self._ingest.is_here(folder.name)
        ]
        began = [(folder, self._began_ms(folder)) for folder in folders]
        return [(folder, at_ms) for folder, at_ms in began if at_ms is not None]

    def _folders(self) -> list[Path]:
        return [Path(found) for found in spool_directories(self._spool_dir)]

    def _began_ms(self, folder: Path) -> int | None:
        """Return when a spool was begun; ``None`` where it is none of ours."""
        try:
            owner = owner_of(folder)
        except OSError:
            return 0
        if owner is None or owner.uid not in self._uids:
            return None
        if not self.whose.is_ours(owner.ledger):
            return None
        return owner.started_ms

    async def run(self) -> int:
        """Drain every dead spool that is there now; return how many.

        Raises:
            RetryLater: they cannot be stored now; they stay where they are.
            PlaceGone: the directory is not the one that it was.
        """
        self._place.check()
        try:
            remove_unfinished(self._spool_dir)
            folders = self._folders()
        except OSError as error:
            self._unreadable = f"{self._spool_dir}: {error.strerror}"
            return 0
        self._unreadable = None
        self._failed = {
            folder: self._failed[folder] for folder in folders if folder in self._failed
        }
        n_drained = 0
        for folder in self._next(folders):
            n_drained += await self._drain(folder)
            self._after = folder.name
        return n_drained

    def _next(self, folders: list[Path]) -> list[Path]:
        """Return what to look at now: in turns, so that no number of others is first."""
        now_s = time.monotonic()
        waiting = [
            folder
            for folder in folders
            if folder not in self._failed or self._failed[folder].until_s <= now_s
        ]
        later = [folder for folder in waiting if folder.name > self._after]
        earlier = [folder for folder in waiting if folder.name <= self._after]
        return [*later, *earlier][:SPOOLS_PER_RUN_MAX]

    async def _drain(self, folder: Path) -> bool:
        """Take in one spool, unless its worker lives; return whether it is done.

        What stands in it is foreign: whatever is wrong with it, the others go on.
        """
        try:
            spool = DeadSpool.take(folder)
            if spool is None:
                return False
            self._taking = folder
            try:
                self._check_owner(spool)
                self.whose.check(spool.hello)
                # On the disk before anything of it is in the ledger.
                await asyncio.to_thread(spool.claim, self.whose.ledger)
                n_events, row = await self._take_in(spool)
                if not await self._may_go(row):
                    return False  # it is looked at again
                spool.delete()
            finally:
                self._taking = None
                spool.close()
        except (RetryLater, DiskFailed, DatabaseCorrupt):
            raise  # That is about the ledger.
        except WireError as error:
            if error.code != "duplicate_producer":
                self._fail(folder, str(error), is_anothers=error.code == CODE)
                self.whose.forget(folder.name)  # as long as it is here, and no longer
            # Or else the worker had a hello on its way: the next run takes it in.
            return False
        except Exception as error:  # noqa: BLE001 - no damage may stop the others
            self._fail(folder, str(error) or type(error).__name__)
            return False
        self._failed.pop(folder, None)
        taken = n_of(n_events, "event")
        log.info("took in %s that a dead worker left in %s", taken, folder)
        return True

    async def _may_go(self, row: ProducerRow) -> bool:
        """Say whether all of a producer is wherever it has to be."""
        if self._elsewhere is None:
            return True
        return await self._elsewhere.seq(row) >= row.last_seq

    def _check_owner(self, spool: DeadSpool) -> None:
        if spool.owner not in self._uids:
            raise PermissionError(
                f"it belongs to user {spool.owner}, who may not record events"
                " (sidecar.allowed_uids)"
            )

    def _fail(self, folder: Path, reason: str, *, is_anothers: bool = False) -> None:
        text = reason if str(folder) in reason else f"{folder}: {reason}"
        if folder not in self._failed:
            log.warning("cannot take in a dead worker's spool: %s", text)
        until_s = time.monotonic() + RETRY_S
        self._failed[folder] = _Failure(text, until_s, is_anothers)

    async def _take_in(self, spool: DeadSpool) -> tuple[int, ProducerRow]:
        """Store everything of a spool; return how many numbers that were, and whose."""
        ingest = self._ingest
        producer = await ingest.hello(spool.hello)
        first_seq = producer.next_seq
        on_their_way: deque[asyncio.Future[int]] = deque()
        try:
            parts = spool.parts(after_seq=producer.row.last_seq)
            # In a thread: a part is checked as it is read, and what somebody damaged
            # or made up must not keep the living waiting.
            while message := await asyncio.to_thread(_next_message, parts):
                await ingest.room()
                on_their_way.append(ingest.accept(producer, message))
                if len(on_their_way) >= BATCHES_IN_FLIGHT_MAX:
                    await on_their_way.popleft()
            # Its goodbye would be accepted, too, after a refusal that took all back.
            while on_their_way:
                await on_their_way.popleft()
            last_seq = producer.next_seq - 1
            await ingest.accept(producer, Bye(last_seq))
        except SequenceGap:
            # The ledger could not store what went before: then that is the reason, and
            # what follows is out of order for no fault of the spool.
            while on_their_way:
                await on_their_way.popleft()
            raise
        finally:
            await asyncio.gather(*on_their_way, return_exceptions=True)
            ingest.forget(producer)
        return last_seq - first_seq + 1, producer.row


def _named(reasons: list[str]) -> str | None:
    return such_as(reasons[:NAMED_MAX], n_all=len(reasons)) or None


def _next_message(parts: Iterator[Part]) -> Batch | Lost | None:
    """Return what a worker would have sent of its next part; ``None`` at the end."""
    part = next(parts, None)
    if part is None:
        return None
    if part.last_seq > SEQ_MAX:
        raise WireError("malformed", f"no event has number {part.last_seq}")
    if isinstance(part, Run):
        return Batch(part.first_seq, part.last_seq, part.read())
    return Lost(part.first_seq, part.last_seq, part.reason)
