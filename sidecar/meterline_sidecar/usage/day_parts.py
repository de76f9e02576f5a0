"""Keeps usage by parts of days that are over, where days begin at no midnight UTC.

See ``store.day_parts``. Nothing waits for it, and nothing changes by it: a part comes to
what its windows do. What is read of a day may be out of date once it is written: then
nothing is, until the next day is over.
"""

import asyncio
from functools import partial
from typing import Final

from meterline_sidecar.clock import DAY_MS, Clock
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.day_parts import Part, Span
from meterline_sidecar.store.edge import day_parts as store
from meterline_sidecar.store.edge.packed_days import Day
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.usage import Generation
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.days import Days
from meterline_sidecar.usage.definition import decode
from meterline_sidecar.usage.packed_days import AGE_MS, KEPT_DAYS, REST

WINDOWS_MIN: Final = 24
"""Of fewer in a day its windows are read: a month of them in 2 ms."""
WINDOWS_MAX: Final = 200_000
"""Of more a day stays as it is: they are added up in half a second."""
SUBJECTS_PER_READ: Final = 50


class PartKeeper:
    """Keeps the parts that days are cut into by the midnights of who pays.

    Args:
        terms: as they are now, whenever it is asked.
    """

    def __init__(self, database: Database, terms: Terms, *, clock: Clock) -> None:
        self._database = database
        self._terms = terms
        self._clock = clock
        self._done: tuple[int, int] | None = None
        """Of which generation all parts are kept, and up to when."""

    async def run(self) -> int:
        """Keep all parts that may be kept, gently; return of how many days."""
        end = (self._clock.now_ms() - AGE_MS) // DAY_MS * DAY_MS
        async with self._database.reading() as tx:
            served = await usage_store.newest_generation(tx)
        if served is None or self._done == (served.id, end):
            return 0
        n_days, subject_id = 0, 0
        while True:
            subjects = await self._database.read(
                partial(store.paid_subjects, after=subject_id, limit=SUBJECTS_PER_READ)
            )
            if not subjects:
                self._done = (served.id, end)
                return n_days
            for subject_id, customer in subjects:
                days = CustomerCalendar.of(self._terms, customer)
                n_days += await self._keep(served.id, subject_id, days, end=end)

    async def _keep(
        self, generation: int, subject_id: int, days: Days, *, end: int
    ) -> int:
        """Keep the parts of a subject's days; return of how many days there are new ones."""
        start = end - KEPT_DAYS * DAY_MS
        if all(day.start % DAY_MS == 0 for day in days.within(start, end)):
            return 0
        read = partial(
            store.used_days,
            generation=generation,
            subject_id=subject_id,
            start=start,
            end=end,
        )
        n_days, loop = 0, asyncio.get_running_loop()
        for day_ms, kept in sorted((await self._database.read(read)).items()):
            spans = [day[1:] for day in days.within(day_ms, day_ms + DAY_MS)]
            if len(spans) == 1 or (kept and kept <= set(spans)):
                continue
            begun_s = loop.time()
            day = Day(subject_id, day_ms)
            added = await self._database.read(partial(_added_up, day=day, spans=spans))
            if added is not None:
                generation_then, parts = added
                put = partial(_put, day=day, parts=parts, then=generation_then)
                n_days += await self._database.write(put)
            await asyncio.sleep((loop.time() - begun_s) * REST)
        return n_days


async def _added_up(
    tx: Tx, *, day: Day, spans: list[Span]
) -> tuple[Generation, list[Part]] | None:
    """Return what a day's windows come to in its parts, and of which generation."""
    served = await usage_store.newest_generation(tx)
    assert served is not None, "there was one before"
    n_windows = await store.n_windows(tx, served.id, day)
    if not WINDOWS_MIN <= n_windows <= WINDOWS_MAX:
        return None
    aggregations = decode(served.definition).aggregations
    parts = await store.parts_of(tx, served.id, day.subject_id, spans, aggregations)
    return served, parts


async def _put(tx: Tx, *, day: Day, parts: list[Part], then: Generation) -> bool:
    """Keep the parts, unless another generation is read by now, or windows changed."""
    served = await usage_store.newest_generation(tx)
    if served is None or served.id != then.id:
        return False
    return await store.put_day(tx, then.id, day, parts, cursor=then.cursor)
