"""Keeps usage by parts of days that are over, where days begin at no midnight UTC.

See ``store.day_parts``. Nothing waits for it, and nothing changes by it: a part comes to
what its windows do. What is read of a day may be out of date once it is written: then
nothing is, until the next day is over.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from meterline_sidecar.clock import DAY_MS, Clock
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.day_parts import Part, Span
from meterline_sidecar.store.edge import day_parts as store
from meterline_sidecar.store.edge.day_parts import Paid
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
DAYS_PER_STEP: Final = 50
"""Kept in one transaction: all others that write wait 5 ms for these, and each by itself
would be 10 kB on disk for 200 bytes."""
WINDOWS_PER_STEP: Final = 20_000
"""Behind so many a step ends: they are added up in 50 ms."""


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
            n_days += await self._keep(served.id, subjects, end=end)
            subject_id = subjects[-1].subject_id

    async def _keep(
        self, generation: int, subjects: Sequence[Paid], *, end: int
    ) -> int:
        """Keep the parts of subjects' days; return of how many days there are new ones."""
        start = end - KEPT_DAYS * DAY_MS
        calendars: dict[int, Days] = {}
        for subject_id, customer in subjects:
            days = CustomerCalendar.of(self._terms, customer)
            if any(day.start % DAY_MS for day in days.within(start, end)):
                calendars[subject_id] = days
        read = partial(
            _used_days, generation=generation, of=calendars, start=start, end=end
        )
        n_days, loop = 0, asyncio.get_running_loop()
        begun_s = loop.time()
        wanted = deque(_missing(calendars, await self._database.read(read)))
        await asyncio.sleep((loop.time() - begun_s) * REST)
        while wanted:
            begun_s = loop.time()
            added = await self._database.read(partial(_added_up, wanted=wanted))
            if added.days:
                n_days += await self._database.write(partial(_put, added=added))
            for _ in range(added.n_looked_at):
                wanted.popleft()
            await asyncio.sleep((loop.time() - begun_s) * REST)
        return n_days


class Added(NamedTuple):
    """What windows of some days come to in their parts."""

    then: Generation
    """As it was when they were read."""
    days: dict[Day, list[Part]]
    n_looked_at: int
    """How many days, also of those that have too few windows, or too many."""


Wanted = tuple[Day, list[Span]]
"""A day, and the parts that it is cut into."""


async def _used_days(
    tx: Tx, *, generation: int, of: Iterable[int], start: int, end: int
) -> dict[int, dict[int, set[Span]]]:
    return {
        subject_id: await store.used_days(
            tx, generation, subject_id, start=start, end=end
        )
        for subject_id in of
    }


def _missing(
    calendars: Mapping[int, Days], used: Mapping[int, Mapping[int, set[Span]]]
) -> Iterator[Wanted]:
    """Yield the days that are cut, and have not just these parts."""
    for subject_id, days in calendars.items():
        for day_ms, kept in sorted(used[subject_id].items()):
            spans = [day[1:] for day in days.within(day_ms, day_ms + DAY_MS)]
            if len(spans) > 1 and not (kept and kept <= set(spans)):
                yield Day(subject_id, day_ms), spans


async def _added_up(tx: Tx, *, wanted: Iterable[Wanted]) -> Added:
    """Return what the first days' windows come to: as many as one step is for."""
    served = await usage_store.newest_generation(tx)
    assert served is not None, "there was one before"
    aggregations = decode(served.definition).aggregations
    days: dict[Day, list[Part]] = {}
    n_looked_at = n_windows = 0
    for day, spans in wanted:
        if n_looked_at == DAYS_PER_STEP or n_windows >= WINDOWS_PER_STEP:
            break
        n_looked_at += 1
        n_of_day = await store.n_windows(tx, served.id, day)
        if WINDOWS_MIN <= n_of_day <= WINDOWS_MAX:
            n_windows += n_of_day
            days[day] = await store.parts_of(
                tx, served.id, day.subject_id, spans, aggregations
            )
    return Added(served, days, n_looked_at)


async def _put(tx: Tx, *, added: Added) -> int:
    """Keep the parts of days whose windows have not changed, of the same generation.

    Return of how many days.
    """
    then = added.then
    served = await usage_store.newest_generation(tx)
    if served is None or served.id != then.id:
        return 0
    return await store.put_days(tx, then.id, added.days, cursor=then.cursor)
