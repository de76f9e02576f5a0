"""Puts events of runs that are over into packs, which take a tenth of the room.

A run is the next ``IDS_MAX`` ids in a row, or fewer: it ends where a pack begins that does
not fit into it as a whole, or where texts are long. Where very many events came at once, they
were packed as they were stored (``ingest.writer``): such packs become one, with the rows
between them. The pack of a run is made from a snapshot beside everything else, and read
back; then one transaction stores it and deletes the rows and packs that it stands for. The
rows of a batch are the same before and after, and so is the chain.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Literal, NamedTuple

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
from meterline_sidecar.store.pack_columns import BadPack
from meterline_sidecar.store.packs import IDS_MAX, pack
from meterline_sidecar.store.port import Ledger, Tx

AGE_MS: Final = HOUR_MS
"""So long ago all of a run was learned: what people look at most stays as it came."""
REST: Final = 9
"""For how many times as long as a step took the time is the others'."""
PACKS_PER_READ: Final = 500
"""A step looks at no more of them: far more than a run has of those that commits store."""
SHORT: Final = 256
"""Fewer rows beside a pack stay as they are."""


class Run(NamedTuple):
    """Ids in a row whose events are to be in one pack."""

    first: int
    last: int
    n_packs: int
    n_rows: int
    """How many ids no pack is of."""

    @property
    def is_one_pack(self) -> bool:
        """Whether it is, as good as it can be."""
        return self.n_packs <= 1 and self.n_rows < min(SHORT, IDS_MAX)


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
        self._apart = 0
        """Up to here packs stay apart: texts are too long for one, or a pack is damaged."""

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
        """Pack the next run, or look for it further on; return how many of its events.

        ``None``: there is none yet.
        """
        async with self._archived.changing:
            packed = await self._database.read(self._packed)
            if not isinstance(packed, _Packed):
                return packed
            events = await self._database.write(partial(_keep, packed=packed))
            self._reached = packed.last
            return events

    async def _packed(self, tx: Tx) -> "_Packed | Literal[0] | None":
        """Return the pack of the next run; 0: it may come further on."""
        reached = max(self._reached, (await begin(tx)).event_id)
        packs = await store.packs_after(tx, reached, limit=PACKS_PER_READ)
        *runs, behind = runs_behind(reached, packs, apart=self._apart)
        for run in runs:
            if not run.is_one_pack:
                return await self._pack_of(tx, run)
            self._reached = run.last
        if len(packs) == PACKS_PER_READ:
            if not runs:
                self._reached = packs[-1][1]
            return 0
        return await self._pack_of(tx, behind)

    async def _pack_of(self, tx: Tx, run: Run) -> "_Packed | Literal[0] | None":
        """Return the pack of a run, if its time has come; 0: it stays as it is."""
        first, last = run.first, run.last
        if not await self._may_pack(tx, last):
            return None
        if run.is_one_pack:
            self._reached = last
            return 0
        if not run.n_packs:
            plain = await store.plain_columns(tx, first, last)
            with suppress(BadPack):  # of a number that stays a row
                if plain is not None:
                    return _Packed(first, last, last - first + 1, pack(plain))
        columns: store.Unpacked | None
        if run.n_packs:
            columns = await store.columns_to_merge(tx, first, last)
        else:
            last = await store.end_of_run(tx, first, last)
            columns = await store.columns_to_pack(tx, first, last)
        if columns is None:
            self._apart = last
            return 0
        return _Packed(first, last, len(columns[0][0]), pack(*columns))

    async def _may_pack(self, tx: Tx, last: int) -> bool:
        """Say whether the time of events up to one has come."""
        # The newest event stays a row: by it everybody sees how far the ledger is.
        if last >= await event_log.last_event_id(tx):
            return False
        if last > await store.counted_by_all(tx) or await is_erasing(tx):
            return False
        return last <= await last_learned_by(tx, self._clock.now_ms() - AGE_MS)


def runs_behind(
    reached: int, packs: Sequence[tuple[int, int, int]], *, apart: int
) -> Iterator[Run]:
    """Yield the runs behind an id, as packs are that lie there.

    The last one begins with what is behind them all: it may go further than the ledger.

    Args:
        packs: first and last id of each.
        apart: up to this id each pack is a run by itself.
    """
    first, n_packs, n_packed = reached + 1, 0, 0
    for begins, ends, _ in packs:
        is_apart = begins <= apart or ends - begins + 1 >= IDS_MAX
        while first < begins and (is_apart or ends - first >= IDS_MAX):
            last = min(first + IDS_MAX, begins) - 1
            yield Run(first, last, n_packs, last - first + 1 - n_packed)
            first, n_packs, n_packed = last + 1, 0, 0
        if is_apart:
            yield Run(begins, ends, 1, 0)
            first = ends + 1
        else:
            n_packs, n_packed = n_packs + 1, n_packed + ends - begins + 1
    yield Run(first, first + IDS_MAX - 1, n_packs, IDS_MAX - n_packed)


class _Packed(NamedTuple):
    """A pack, and the run that it is of."""

    first: int
    last: int
    events: int
    body: bytes


async def _keep(tx: Tx, *, packed: _Packed) -> int:
    """Store a pack in the place of what it is made of; return how many events it has."""
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
