"""Packs usage of days that are over, of subjects with many groups; see ``store.packed_days``.

Nothing waits for it, and nothing changes by it: a day comes to the same as rows, as a
pack, and as both. A transaction packs one day of one subject.
"""

import asyncio
from functools import partial
from typing import Final

from meterline_sidecar.clock import DAY_MS, HOUR_MS, Clock
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.edge import packed_days as store
from meterline_sidecar.store.edge.packed_days import Day
from meterline_sidecar.store.packed_days import GROUPS_MIN
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.usage.definition import decode

AGE_MS: Final = HOUR_MS
"""So long ago a day is over: by then most of its events are counted."""
KEPT_DAYS: Final = 93
"""Of earlier days, of which final invoices are, nobody reads the usage often."""
GROUPS_MAX: Final = 20_000
"""Of more, a day stays as it is: all others that write wait 40 ms for this many."""
SUBJECTS_PER_READ: Final = 50
REST: Final = 9
"""For how many times as long as a step took the time is the others'."""


class DayPacker:
    """Packs what may be packed."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._done: tuple[int, int] | None = None
        """Of which generation all days are packed, and up to when."""

    async def run(self) -> int:
        """Pack all that may be packed, gently; return how many rows that were."""
        end = (self._clock.now_ms() - AGE_MS) // DAY_MS * DAY_MS
        async with self._database.reading() as tx:
            generation = await usage_store.newest_generation(tx)
        if generation is None or self._done == (generation.id, end):
            return 0
        n_rows, subject_id, loop = 0, 0, asyncio.get_running_loop()
        while True:
            begun_s = loop.time()
            days, reached = await self._database.read(
                partial(
                    store.days_to_pack,
                    generation=generation.id,
                    after_subject=subject_id,
                    limit=SUBJECTS_PER_READ,
                    start=end - KEPT_DAYS * DAY_MS,
                    end=end,
                    groups_min=GROUPS_MIN,
                    groups_max=GROUPS_MAX,
                )
            )
            await asyncio.sleep((loop.time() - begun_s) * REST)
            if reached is None:
                self._done = (generation.id, end)
                return n_rows
            for day in days:
                begun_s = loop.time()
                pack = partial(_pack, generation=generation.id, day=day)
                n_rows += await self._database.write(pack)
                await asyncio.sleep((loop.time() - begun_s) * REST)
            subject_id = reached


async def _pack(tx: Tx, *, generation: int, day: Day) -> int:
    """Pack a day, unless another generation is read by now."""
    served = await usage_store.newest_generation(tx)
    if served is None or served.id != generation:
        return 0
    aggregations = decode(served.definition).aggregations
    return await store.pack_day(tx, generation, day, aggregations)
