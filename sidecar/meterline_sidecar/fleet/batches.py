"""An edge's batches in their order, wherever they are: in its ledger, or in files.

A centre that was put back, or that adopts an edge, is sent all that it does not have. What
left the ledger by then is read from its files, one at a time.
"""

from meterline_sidecar.errors import ArchiveFailed, EventsArchived
from meterline_sidecar.fleet.backlog import Place, Slice, read_slice
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.bundle import Bundle
from meterline_sidecar.store.edge.archive import file_of_batch
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.edge.events import mac_of_batch
from meterline_sidecar.store.port import Database, Tx


class Batches:
    """The batches of this ledger, as they are sent.

    Args:
        archived: the files of what left it.
        is_rolled_up: only what events were rolled up into, and not these themselves.
    """

    def __init__(
        self, database: Database, archived: Archived, *, is_rolled_up: bool
    ) -> None:
        self._database = database
        self._archived = archived
        self._is_rolled_up = is_rolled_up
        self._last: tuple[str, Bundle] | None = None
        """The file that was read last: it is sent in many parts."""

    async def behind(self, place: Place) -> Slice:
        """Return what is behind a place; no frames where there is nothing to send.

        Raises:
            ArchiveFailed: it is in a file that cannot be read.
            MeterlineError: events are missing in the ledger: nothing behind them is sent.
        """

        async def work(tx: Tx) -> Slice:
            return await read_slice(tx, place, is_rolled_up=self._is_rolled_up)

        try:
            part = await self._database.read(work)
        except EventsArchived:
            away = await self._file_with(place.batch + 1)
            async with self._database.reading() as tx:
                return await read_slice(
                    tx, place, is_rolled_up=self._is_rolled_up, away=away
                )
        self._last = None
        return part

    async def mac_of(self, batch_id: int) -> bytes | None:
        """Return the mac of a batch; ``None`` where there is none.

        Raises:
            ArchiveFailed: it is in a file that cannot be read.
        """
        async with self._database.reading() as tx:
            mac, left = await mac_of_batch(tx, batch_id), await begin(tx)
        if mac is not None or not 0 < batch_id <= left.batch_id:
            return mac
        away = await self._file_with(batch_id)
        return next(one.mac for one in away.batches if one.batch.id == batch_id)

    async def _file_with(self, batch_id: int) -> Bundle:
        async with self._database.reading() as tx:
            move = await file_of_batch(tx, batch_id)
        if move is None:
            raise ArchiveFailed(
                f"batch {batch_id} is neither in the ledger nor in a file: run"
                " `meterline verify`"
            )
        if self._last is None or self._last[0] != move.file:
            self._last = (move.file, await self._archived.bundle(move))
        return self._last[1]
