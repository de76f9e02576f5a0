"""Which of the files that an edge wrote its events may leave for, and when.

A file is a copy that its centre has noted. What is in it may leave once it is old, and
the centre has all that it needs of it: the events, or what they come to by every counting
that is followed. So a file has one name in both lists, and whoever is put back finds it.
"""

from typing import Protocol

from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.ledger.archive import why_not_settled
from meterline_sidecar.store.edge import edge_files as store
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge.archive import NewMove
from meterline_sidecar.store.edge.begin import Begin
from meterline_sidecar.store.edge.edge_files import OWN, EdgeFile
from meterline_sidecar.store.port import Tx


class Centre(Protocol):
    """Knows what the centre has."""

    async def why_not_there(self, tx: Tx, file: EdgeFile) -> str | None:
        """Return what the centre does not have of a file; ``None``: nothing."""
        ...


class LeavingCopies:
    """The files that an edge's events leave for, in the order of the chain."""

    def __init__(self, centre: Centre) -> None:
        self._centre = centre

    async def oldest(
        self, tx: Tx, start: Begin, before_ms: int
    ) -> tuple[NewMove | None, str | None]:
        """Return the file with what may leave next, and why it stays if it is old."""
        newest = (await event_store.marks(tx)).batch_id
        file = await store.file_behind(tx, OWN, start.batch_id)
        if file is None:
            return None, await self._why_none(tx, start, newest, before_ms)
        # The newest batch stays: by it a ledger that lost its end is told.
        if file.what.learned_ms >= before_ms or file.what.last_batch_id >= newest:
            return None, None
        move = file.what.as_move()
        if move.beyond_ms > before_ms:
            at = format_time_ms(move.beyond_ms - 1)
            return None, f"an event in {move.file} came before its time, {at}"
        waits = await why_not_settled(tx, move.first_event_id, move.last_event_id)
        waits = waits or await self.why_stays(tx, move)
        return (move, None) if waits is None else (None, waits)

    async def why_stays(self, tx: Tx, move: NewMove) -> str | None:
        """Return why what a file holds must stay; ``None``: it may leave."""
        file = await store.file_named(tx, OWN, move.file)
        if file is None:
            return f"{move.file} is not noted here"
        return await self._centre.why_not_there(tx, file)

    @staticmethod
    async def _why_none(
        tx: Tx, start: Begin, newest: int, before_ms: int
    ) -> str | None:
        """Return why something that is old stays which is in no file."""
        behind = await event_store.batches_after(tx, start.batch_id, limit=1)
        for batch, _, _ in behind:
            if batch.learned_ms < before_ms and batch.id < newest:
                return (
                    f"batch {batch.id} is in no file yet: it is written once the centre"
                    " has all of it"
                )
        return None
