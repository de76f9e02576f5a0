"""What workers say that an edge's ledger has forgotten, and what of it is at the centre.

Where an edge has lost its disk, or an old backup was put back there, its workers go on
behind what they were acked. What an earlier ledger had counted of that is no loss.
"""

from collections.abc import Set
from typing import Final

from meterline.spool.scan import FORGOTTEN
from meterline.wire import SEQ_MAX
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
        self._workers: Set[str] = frozenset()

    async def workers(self) -> Set[str]:
        """Return the workers that say so."""
        async with self._database.reading() as tx:
            n_lost = await store.n_lost(tx)
        if n_lost != self._n_lost:
            await self.look()
        return self._workers

    async def look(self) -> None:
        """Note what of it counts at the centre, as far as that is known."""
        async with self._database.reading() as tx:
            n_lost = await store.n_lost(tx)
            found = await store.forgotten(tx, reason=FORGOTTEN)
            known = await n_not_lost(tx)
        n_counted = sum(
            max(0, min(one.last_seq, one.counted_seq) - one.first_seq + 1)
            for one in found
        )
        if n_counted > known:
            async with self._database.transaction() as tx:
                await facts.put_fact(tx, COUNTED, str(n_counted))
        self._n_lost, self._workers = n_lost, {one.producer for one in found}


async def n_lost(tx: Tx) -> int:
    """Return how many events were lost or refused here, and count nowhere."""
    n_all = await store.n_lost(tx)
    return min(SEQ_MAX, max(0, n_all - await n_not_lost(tx)))


async def n_not_lost(tx: Tx) -> int:
    """Return how many events are forgotten here, and count at the centre."""
    return int(await facts.get_fact(tx, COUNTED) or 0)
