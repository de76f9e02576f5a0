"""Up to which number of each producer all is at the centre, for ``ack = "centre"``.

Of an edge that forwards usage that is what events come to, by the counting that is read.

An app gives up what it was acked, so that what is noted here never goes back: it is on
this disk before the app hears of it.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from meterline_sidecar.store import facts
from meterline_sidecar.store.edge.events import ProducerRow
from meterline_sidecar.store.edge.forward import (
    batch_by_event,
    last_seq_by,
    last_seqs_between,
)
from meterline_sidecar.store.port import Database

SETTLED: Final = "batch_at_centre"
"""The fact that says up to which batch apps may have been told so."""
PRODUCERS_KNOWN_MAX: Final = 10_000


class There:
    """What apps may give up, as the centre has it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batch = 0
        self._seqs: dict[int, int] = {}
        self._moved = asyncio.Event()

    async def start(self) -> None:
        """Read up to where the centre had all."""
        async with self._database.reading() as tx:
            self._batch = int(await facts.get_fact(tx, SETTLED) or 0)

    async def move(self, batch: int, reached: Mapping[int, int]) -> None:
        """Note that all up to a batch is there.

        Args:
            batch: of this ledger.
            reached: up to which number of each producer that is, of those that moved.
        """
        if batch > self._batch:
            async with self._database.transaction() as tx:
                await facts.put_fact(tx, SETTLED, str(batch))
            self._batch = batch
        if len(self._seqs) > PRODUCERS_KNOWN_MAX:
            self._seqs.clear()
        for producer_id, seq in reached.items():
            self._seqs[producer_id] = max(seq, self._seqs.get(producer_id, 0))
        self._moved.set()
        self._moved = asyncio.Event()

    async def move_to_event(self, event_id: int) -> None:
        """Note that what all events up to one come to is there."""
        async with self._database.reading() as tx:
            batch = await batch_by_event(tx, event_id, after=self._batch)
            reached = await last_seqs_between(tx, self._batch, batch)
        if reached:
            await self.move(batch, reached)

    async def seq(self, row: ProducerRow) -> int:
        """Return up to which number all of a producer is there."""
        if row.last_seq and row.id not in self._seqs:
            async with self._database.reading() as tx:
                known = await last_seq_by(tx, row.id, batch_id=self._batch)
            self._seqs[row.id] = max(known, self._seqs.get(row.id, 0))
        return self._seqs.get(row.id, 0)

    async def until(self, row: ProducerRow, seq: int) -> None:
        """Wait until all of a producer up to a number is there."""
        while True:
            moved = self._moved
            if await self.seq(row) >= seq:
                return
            await moved.wait()
