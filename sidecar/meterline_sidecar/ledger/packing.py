"""Puts events of runs that are over into packs, which take a tenth of the room.

A run is the next ``IDS_MAX`` ids in a row that no pack is of, or fewer where texts are long;
where very many events came at once, they were packed as they were stored
(``ingest.writer``). The pack of a run is made from a snapshot beside everything else, and
read back; then one transaction stores it and deletes the rows that it stands for. The rows
of a batch are the same before and after, and so is the chain.
"""

import asyncio
from functools import partial
from typing import Final, NamedTuple

from meterline_sidecar.clock import HOUR_MS, Clock
from meterline_sidecar.errors import DatabaseCorrupt, MeterlineError
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.erased import is_erasing
from meterline_sidecar.ledger.report import Progress, Report
from meterline_sidecar.store.edge import event_log
from meterline_sidecar.store.edge import packed as store
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.edge.behind import last_learned_by
from meterline_sidecar.store.edge.by_column import columns_of_pack
from meterline_sidecar.store.packs import IDS_MAX, pack
from meterline_sidecar.store.port import Ledger, Tx

AGE_MS: Final = HOUR_MS
"""So long ago all of a run was learned: what people look at most stays as it came."""
REST: Final = 9
"""For how many times as long as a step took the time is the others'."""
PACKS_PER_READ: Final = 500
SHORT: Final = 256
"""A run between packs that has fewer ids stays as it is."""


class Packer:
    """Packs what may be packed, a run to a step.

    Args:
        archived: what leaves the ledger, and comes back, waits for a step.
    """

    def __init__(self, database: Ledger, archived: Archived, *, clock: Clock) -> None:
        self._database = database
        self._archived = archived
        self._clock = clock
        self._reached = 0
        """Up to here every run has its pack, or stays as it is."""

    async def run(self) -> int:
        """Pack all that may be packed, gently; return how many events that were."""
        n_events = 0
        loop = asyncio.get_running_loop()
        while True:
            begun_s = loop.time()
            packed = await self.step()
            if packed is None and not await self._database.give_back():
                return n_events
            n_events += packed or 0
            await asyncio.sleep((loop.time() - begun_s) * REST)

    async def step(self) -> int | None:
        """Pack the next run; return how many of its events, or ``None`` without one."""
        async with self._archived.changing:
            packed = await self._database.read(self._packed)
            if packed is None:
                return None
            return await self._database.write(partial(_keep, packed=packed))

    async def _packed(self, tx: Tx) -> "_Packed | None":
        """Return the pack of the next run."""
        run = await self._next(tx)
        if run is None:
            return None
        columns, texts = await store.columns_to_pack(tx, *run)
        return _Packed(*run, len(columns[0]), pack(columns, texts))

    async def _next(self, tx: Tx) -> tuple[int, int] | None:
        """Return the first and the last id of the next run, if its time has come."""
        first, last = await self._free(tx)
        # The newest event stays a row: by it everybody sees how far the ledger is.
        if last >= await event_log.last_event_id(tx):
            return None
        if last > await store.counted_by_all(tx) or await is_erasing(tx):
            return None
        old = await last_learned_by(tx, self._clock.now_ms() - AGE_MS)
        return (first, await store.end_of_run(tx, first, last)) if last <= old else None

    async def _free(self, tx: Tx) -> tuple[int, int]:
        """Return the first and the last id of the next run that no pack is of."""
        reached = max(self._reached, (await begin(tx)).event_id)
        while packs := await store.packs_after(tx, reached, limit=PACKS_PER_READ):
            for first, last, _ in packs:
                if first - 1 - reached >= SHORT:
                    self._reached = reached
                    return reached + 1, min(reached + IDS_MAX, first - 1)
                reached = last
        self._reached = reached
        return reached + 1, reached + IDS_MAX


class _Packed(NamedTuple):
    """A pack, and the run that it is of."""

    first: int
    last: int
    events: int
    body: bytes


async def _keep(tx: Tx, *, packed: _Packed) -> int:
    """Store a pack in the place of its rows; return of how many events it is."""
    first, last, events, body = packed
    deleted = await store.put_pack(tx, first, last, events=events, body=body)
    if deleted != events:
        raise MeterlineError(
            f"{deleted} events are between {first} and {last}, where {events} were: they"
            " stay as they are; run `meterline verify`"
        )
    return events


async def verify_packs(tx: Tx, report: Report, progress: Progress) -> None:
    """Check that packs lie behind one another, and hold events of their runs, as they say."""
    end = await store.last_packed(tx)
    reached = last = 0
    while packs := await store.packs_after(tx, last, limit=PACKS_PER_READ):
        for first, last, events in packs:
            named = f"packed_events: the pack of events {first} to {last}"
            if first <= reached:
                report.add(f"{named} does not lie behind the one before")
            reached = last
            try:
                (ids,) = await columns_of_pack(tx, first, ("id",))
            except DatabaseCorrupt:
                report.add(f"{named} cannot be read: it is damaged")
                continue
            if len(ids) != events or (ids and not first <= ids[0] <= ids[-1] <= last):
                report.add(f"{named} does not hold the {events} events that it says")
            progress("packs", last, end)
