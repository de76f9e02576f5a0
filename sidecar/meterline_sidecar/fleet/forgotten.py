"""What workers say that an edge's ledger has forgotten, and what of it is at the centre.

Where an edge has lost its disk, or an old backup was put back there, its workers go on
behind what they were acked. What an earlier ledger had counted of that is no loss.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from meterline.spool.scan import FORGOTTEN
from meterline.wire import SEQ_MAX
from meterline_sidecar.fleet.elsewhere import counted_elsewhere
from meterline_sidecar.store import facts
from meterline_sidecar.store.edge import forward as store
from meterline_sidecar.store.port import Database, Tx

COUNTED: Final = "forgotten_and_counted"
"""The fact that says how many events were forgotten here and count at the centre. It
stays when the losses leave the ledger for a file."""


class Forgotten:
    """Follows what workers say so."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._n_lost: int | None = None
        self._begins: Mapping[str, int] = {}

    async def workers(self) -> Mapping[str, int]:
        """Return the workers that say so, and the number behind that of each."""
        async with self._database.reading() as tx:
            n_lost = await store.n_lost(tx)
        if n_lost != self._n_lost:
            await self.look()
        return self._begins

    async def begins(self, workers: Sequence[str]) -> dict[str, int]:
        """Return from which number on workers are here, where that is not the first."""
        found = await self.workers()
        return {worker: found[worker] for worker in workers if worker in found}

    async def look(self) -> None:
        """Note what of it counts at the centre, as far as that is known."""
        async with self._database.reading() as tx:
            n_lost = await store.n_lost(tx)
            found = await store.forgotten(tx, reason=FORGOTTEN)
            known = await n_not_lost(tx)
            elsewhere = await counted_elsewhere(tx)
        n_counted = sum(
            max(0, min(one.last_seq, last) - max(one.first_seq, first) + 1)
            for one in found
            for first, last in (
                (1, one.counted_seq),
                *elsewhere.get(one.producer, ()),
            )
        )
        if n_counted > known:
            async with self._database.transaction() as tx:
                await facts.put_fact(tx, COUNTED, str(n_counted))
        self._n_lost = n_lost
        self._begins = {one.producer: one.last_seq + 1 for one in found}


async def n_lost(tx: Tx) -> int:
    """Return how many events were lost or refused here, and count nowhere."""
    n_all = await store.n_lost(tx)
    return min(SEQ_MAX, max(0, n_all - await n_not_lost(tx)))


async def n_not_lost(tx: Tx) -> int:
    """Return how many events are forgotten here, and count at the centre."""
    return int(await facts.get_fact(tx, COUNTED) or 0)
