"""Parts of days: what is read of a customer's days is what their windows come to."""

import asyncio
import itertools
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.meters import Totals, merge
from meterline_sidecar.store import day_parts, packed_days, terms, usage
from meterline_sidecar.store.day_parts import Part, Span, cut
from meterline_sidecar.store.edge import day_parts as keeping
from meterline_sidecar.store.edge import packed_days as packing
from meterline_sidecar.store.edge import rollups
from meterline_sidecar.store.edge import usage as counting
from meterline_sidecar.store.edge.packed_days import Day
from meterline_sidecar.store.edge.usage import Key
from meterline_sidecar.store.packed_days import unpacked
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.rollups import DAYS, WINDOW_MS
from meterline_sidecar.terms.days import Days
from meterline_sidecar.usage.summed import ByGroup, by_group
from tests.store.drivers import DRIVERS
from tests.store.rows import DAY, add_generation, add_group, add_subjects
from tests.store.test_packed_days import ADDING

WHOLE: Final = 1
OTHER: Final = 2
SPLIT: Final = 3
N_DAYS: Final = 4
ZONES: Final = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Atlantic/Azores",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
)
CHANGES: Final = ("2026-03-27", "2026-04-03", "2026-10-23", "2026-10-30", "2026-07-01")
"""Days after which many of these zones have a day of 23, 25 or 24.5 hours; and one of none."""

Windows = Mapping[Key, Totals]


class Undone(Exception):
    """Takes back what a case wrote."""


class Case(NamedTuple):
    """What was used, what of it was kept as parts of days, and what came later."""

    first_ms: int
    """The first of ``N_DAYS`` days, a midnight UTC."""
    zones: list[tuple[int, str]]
    zone_before: str
    """In which days were cut."""
    used: Windows
    late: Windows
    kept: set[Day]
    packed: set[Day]

    @property
    def all(self) -> dict[Key, Totals]:
        """Return all windows, with what was counted late."""
        found = {key: dict(totals) for key, totals in self.used.items()}
        for key, totals in self.late.items():
            merge(found.setdefault(key, {}), more=totals, aggregations=ADDING)
        return found


@st.composite
def cases(draw: st.DrawFn) -> Case:
    text = draw(st.sampled_from(CHANGES))
    first_ms = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000
    zones = [(0, draw(st.sampled_from(ZONES)))]
    if draw(st.booleans()):
        quarter = draw(st.integers(0, N_DAYS * 96))
        zones.append((first_ms + quarter * WINDOW_MS, draw(st.sampled_from(ZONES))))
    keys = st.builds(
        Key,
        st.sampled_from((WHOLE, OTHER, SPLIT)),
        st.integers(0, N_DAYS * 96 - 1).map(lambda i: first_ms + i * WINDOW_MS),
        st.integers(1, 3),
    )
    used = draw(st.lists(keys, max_size=25, unique=True))
    late = draw(st.lists(keys, max_size=3, unique=True))
    days = st.builds(
        Day,
        st.sampled_from((WHOLE, OTHER)),
        st.integers(0, N_DAYS - 1).map(lambda i: first_ms + i * DAY_MS),
    )
    return Case(
        first_ms,
        zones,
        draw(
            st.sampled_from((zones[0][1], zones[-1][1], draw(st.sampled_from(ZONES))))
        ),
        {key: totals_of(i, key) for i, key in enumerate(used, 1)},
        {key: totals_of(i, key) for i, key in enumerate(late, 100)},
        draw(st.sets(days)),
        draw(st.sets(days)),
    )


def totals_of(number: int, key: Key) -> Totals:
    """Return totals that are told apart by their number; of distinct values there are none."""
    if number % 7 == 0:
        return {}
    found: Totals = {"calls": number}
    if number % 2:
        found |= {"bytes": Decimal(number) / 8, "top": number * 7 % 13}
    if number % 3:
        found |= {"low": -number, "seats": [number, key.window_ms, number]}
    return found


async def fill(tx: Tx, case: Case) -> None:
    await add_generation(tx, 1, cursor=50)
    await add_subjects(tx, [(WHOLE, "w", None), (OTHER, "o", None), (SPLIT, "s", None)])
    for group_id in (1, 2, 3):
        await add_group(tx, group_id, f'{{"model":"{group_id}"}}')
    await terms.set_owners(
        tx, {WHOLE: [(0, "acme")], OTHER: [(0, "acme")], SPLIT: split_at(case.first_ms)}
    )
    await counting.put_totals(tx, 1, ((*row, 50) for row in sorted(case.used.items())))
    await put_days(tx, case.used)
    for day in sorted(case.packed):
        await packing.pack_day(tx, 1, day, ADDING)
    for day in sorted(case.kept):
        await keep(tx, day, zone=case.zone_before)
    await counting.put_totals(
        tx, 1, ((key, case.all[key], 51) for key in sorted(case.late))
    )
    await put_days(tx, case.late)


def split_at(first_ms: int) -> list[tuple[int, str | None]]:
    return [(0, "beta"), (first_ms + DAY_MS + 7 * HOUR_MS, "acme")]


async def put_days(tx: Tx, windows: Windows) -> None:
    """Add windows to the rows of days, as counting does."""
    fresh: dict[tuple[int, ...], Totals] = {}
    for (subject_id, at_ms, group_id), totals in windows.items():
        key = (subject_id, at_ms // DAY_MS * DAY_MS, group_id)
        merge(fresh.setdefault(key, {}), more=totals, aggregations=ADDING)
    known = await rollups.totals_of(tx, DAYS, 1, list(fresh))
    for day, totals in fresh.items():
        merge(known.setdefault(day, {}), more=totals, aggregations=ADDING)
    await rollups.put_totals(tx, DAYS, 1, sorted(known.items()))


async def keep(tx: Tx, day: Day, *, zone: str, cursor: int = 50) -> bool:
    """Keep the parts of a day, as it is cut in a zone."""
    days = Days([(0, zone)]).within(day.day_ms, day.day_ms + DAY_MS)
    spans = [(part.start, part.end) for part in days]
    parts = await keeping.parts_of(tx, 1, day.subject_id, spans, ADDING)
    return await keeping.put_days(tx, 1, {day: parts}, cursor=cursor) == 1


def theirs(case: Case) -> Iterable[tuple[Key, Totals]]:
    """Yield the windows that are the customer's."""
    (_, _), (since_ms, _) = split_at(case.first_ms)
    for key, totals in case.all.items():
        if key.subject_id != SPLIT or key.window_ms >= since_ms:
            yield key, totals


ByLabels = dict[str, ByGroup]


def added(rows: Iterable[tuple[str, Totals]]) -> ByLabels:
    sums = usage.Sums([(labels, [of]) for labels, of in rows], packed_days.NO_PACKS)
    return dict(by_group(ADDING, sums))


def expected(case: Case, start: int, end: int) -> ByLabels:
    return added(
        (f'{{"model":"{key.group_id}"}}', totals)
        for key, totals in theirs(case)
        if start <= key.window_ms < end
    )


def rows_of(days: usage.Days) -> Iterable[tuple[int, str, Totals]]:
    for _, at_ms, labels, totals in days.rows:
        yield at_ms, labels, totals
    for _, at_ms, block in days.packs:
        for group_id, totals in block.rows():
            yield at_ms, days.labels[group_id], totals


async def by_day_as_by_window(tx: Tx, case: Case) -> None:
    first_ms, end_ms = case.first_ms, case.first_ms + N_DAYS * DAY_MS
    days = Days(case.zones)
    spans = [
        (day.start, day.end)
        for day in days.within(first_ms + 3 * WINDOW_MS, end_ms - WINDOW_MS)
    ]

    found = await usage.read_spans(tx, 1, customer="acme", spans=spans)

    by_span: dict[Span, list[tuple[str, Totals]]] = defaultdict(list)
    starts = [start for start, _ in spans]
    for at_ms, labels, totals in rows_of(found):
        by_span[spans[bisect_right(starts, at_ms) - 1]].append((labels, totals))
    for span in spans:
        assert added(by_span[span]) == expected(case, *span), span
        rows = await usage.read_days(tx, 1, customer="acme", start=span[0], end=span[1])
        alone = added((labels, totals) for _, labels, totals in rows_of(rows))
        assert alone == expected(case, *span), span
    for start, end in ((spans[0][0], spans[-1][1]), (spans[0][1], spans[-1][0])):
        sums = await usage.read_sums_of(
            tx, 1, customers=["acme", "none"], start=start, end=end
        )
        assert by_group(ADDING, sums["acme"]) == expected(case, start, end)
        assert by_group(ADDING, sums["none"]) == {}


async def a_late_window_leaves_no_part_of_its_day(tx: Tx, case: Case) -> None:
    left = await keeping.parts_after(tx, 1, None, limit=1_000)
    changed = {(key.subject_id, key.window_ms // DAY_MS) for key in case.late}
    assert {(part.subject_id, part.start_ms // DAY_MS) for part in left} == {
        (key.subject_id, key.window_ms // DAY_MS)
        for key, totals in case.used.items()
        if Day(key.subject_id, key.window_ms // DAY_MS * DAY_MS) in case.kept
        if totals
    } - changed


def test_days_of_every_zone_are_read_as_their_windows(
    driver: str, tmp_path: Path
) -> None:
    async def holds(ledger: Database, case: Case) -> None:
        with suppress(Undone):
            async with ledger.transaction() as tx:
                await fill(tx, case)
                await by_day_as_by_window(tx, case)
                await a_late_window_leaves_no_part_of_its_day(tx, case)
                raise Undone

    with asyncio.Runner() as runner:
        opened = DRIVERS[driver](tmp_path)
        ledger = runner.run(opened.__aenter__())
        try:

            @given(cases())
            def law(case: Case) -> None:
                runner.run(holds(ledger, case))

            law()
        finally:
            runner.run(opened.__aexit__(None, None, None))


@given(st.lists(st.integers(0, 500), min_size=2, max_size=6, unique=True).map(sorted))
def test_spans_are_cut_at_midnights(quarters: list[int]) -> None:
    edges = [quarter * WINDOW_MS for quarter in quarters]
    spans = list(itertools.pairwise(edges))

    parts = cut(spans)

    assert {edge for part in parts for edge in part} == {
        *edges,
        *(day for day in range(0, edges[-1], DAY_MS) if day > edges[0]),
    }
    assert all(start < end for start, end in parts)
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(parts))


async def small(database: Database) -> Day:
    """Add some windows of a day."""
    used = {
        Key(WHOLE, DAY + hour * HOUR_MS, group_id): Totals(calls=hour * group_id)
        for hour in (1, 2, 23)
        for group_id in (1, 2)
    }
    empty: Windows = {}
    async with database.transaction() as tx:
        case = Case(DAY, [(0, "UTC")], "UTC", used, empty, set(), set())
        await fill(tx, case)
    return Day(WHOLE, DAY)


async def test_a_day_whose_windows_changed_meanwhile_is_not_kept(
    database: Database,
) -> None:
    day = await small(database)
    spans = [(DAY, DAY + 22 * HOUR_MS), (DAY + 22 * HOUR_MS, DAY + DAY_MS)]

    async with database.transaction() as tx:
        parts = await keeping.parts_of(tx, 1, WHOLE, spans, ADDING)
        changed = Key(WHOLE, DAY + 2 * HOUR_MS, 1)
        await counting.put_totals(tx, 1, [(changed, {"calls": 9}, 51)])
        assert not await keeping.put_days(tx, 1, {day: parts}, cursor=50)
        assert await keeping.parts_after(tx, 1, None, limit=9) == []
        # Of other subjects and days nothing is asked.
        assert await keeping.put_days(tx, 1, {day: parts}, cursor=51)
        assert await keeping.put_days(tx, 1, {Day(OTHER, DAY): []}, cursor=50)
        assert await keeping.put_days(tx, 1, {Day(WHOLE, DAY - DAY_MS): []}, cursor=50)
        # Nor does one of several that changed hold up the others.
        of_other = Part(OTHER, *spans[1], parts[0].body)
        several = {
            day: parts,
            Day(OTHER, DAY): [of_other],
            Day(WHOLE, DAY + DAY_MS): [],
        }
        assert await keeping.put_days(tx, 1, several, cursor=50) == 2
        kept = await keeping.parts_after(tx, 1, None, limit=9)
        assert kept == [*parts, of_other]


async def test_parts_say_what_their_windows_do(database: Database) -> None:
    await small(database)
    spans = [
        (DAY, DAY + 2 * HOUR_MS),
        (DAY + 2 * HOUR_MS, DAY + 3 * HOUR_MS),
        (DAY + 3 * HOUR_MS, DAY + DAY_MS),
    ]

    async with database.reading() as tx:
        assert await keeping.n_windows(tx, 1, Day(WHOLE, DAY)) == 6
        assert await keeping.n_windows(tx, 1, Day(OTHER, DAY)) == 0
        parts = await keeping.parts_of(tx, 1, WHOLE, spans, ADDING)
        none = await keeping.parts_of(
            tx, 1, WHOLE, [(DAY + 4 * HOUR_MS, DAY + 5 * HOUR_MS)], ADDING
        )

    assert [(part.subject_id, part.start_ms, part.end_ms) for part in parts] == [
        (WHOLE, *span) for span in spans
    ]
    assert [unpacked(part.body) for part in parts] == [
        {1: {"calls": hour}, 2: {"calls": 2 * hour}} for hour in (1, 2, 23)
    ]
    assert none == []


async def test_parts_are_read_in_place_of_windows(database: Database) -> None:
    day = await small(database)
    noon = DAY + 12 * HOUR_MS
    spans = [(DAY - 12 * HOUR_MS, noon), (noon, noon + DAY_MS)]
    async with database.transaction() as tx:
        both = [(DAY, noon), (noon, DAY + DAY_MS)]
        parts = await keeping.parts_of(tx, 1, WHOLE, both, ADDING)
        await keeping.put_days(tx, 1, {day: parts}, cursor=50)

    async with database.reading() as tx:
        found, windows = await day_parts.read_parts(tx, 1, customer="acme", spans=spans)
        shifted = [(start + HOUR_MS, end + HOUR_MS) for start, end in spans]
        other, all_windows = await day_parts.read_parts(
            tx, 1, customer="acme", spans=shifted
        )
        nobodys = await day_parts.read_parts(tx, 1, customer="none", spans=spans)

    assert (found, windows) == (parts, [])
    assert other == []
    assert len(all_windows) == 6
    assert nobodys == ([], [])


async def test_days_with_usage_are_found_with_their_parts(database: Database) -> None:
    day = await small(database)
    noon = DAY + 12 * HOUR_MS
    spans = [(DAY, noon), (noon, DAY + DAY_MS)]
    async with database.transaction() as tx:
        later = Key(WHOLE, DAY + DAY_MS, 1)
        await put_days(tx, {later: {"calls": 1}})
        bounds = {"start": DAY, "end": DAY + 2 * DAY_MS}
        before = await keeping.used_days(tx, 1, WHOLE, **bounds)
        await packing.pack_day(tx, 1, day, ADDING)
        parts = await keeping.parts_of(tx, 1, WHOLE, spans, ADDING)
        await keeping.put_days(tx, 1, {day: parts}, cursor=50)
        after = await keeping.used_days(tx, 1, WHOLE, **bounds)
        first = await keeping.used_days(tx, 1, WHOLE, start=DAY, end=DAY + DAY_MS)
        subjects = await keeping.paid_subjects(tx, after=0, limit=9)
        behind = await keeping.paid_subjects(tx, after=WHOLE, limit=1)

    assert before == {DAY: set(), DAY + DAY_MS: set()}
    assert after == {DAY: set(spans), DAY + DAY_MS: set()}
    assert first == {DAY: set(spans)}
    assert subjects == [(WHOLE, "acme"), (OTHER, "acme")]
    assert behind == [(OTHER, "acme")]


async def test_parts_come_page_by_page(database: Database) -> None:
    day = await small(database)
    async with database.transaction() as tx:
        edges = [DAY + hour * HOUR_MS for hour in (0, 2, 3, 24)]
        spans = list(itertools.pairwise(edges))
        parts = await keeping.parts_of(tx, 1, WHOLE, spans, ADDING)
        await keeping.put_days(tx, 1, {day: parts}, cursor=50)
        first = await keeping.parts_after(tx, 1, None, limit=2)
        rest = await keeping.parts_after(tx, 1, first[-1][:2], limit=2)
        await keeping.forget(tx, 1, [Day(OTHER, DAY), Day(WHOLE, DAY + DAY_MS)])
        still = await keeping.parts_after(tx, 1, None, limit=9)
        await keeping.forget(tx, 1, [day, day])
        gone = await keeping.parts_after(tx, 1, None, limit=9)

    assert first + rest == still == parts
    assert gone == []


async def test_parts_leave_with_their_generation(database: Database) -> None:
    day = await small(database)
    async with database.transaction() as tx:
        span = (DAY, DAY + DAY_MS)
        parts = await keeping.parts_of(tx, 1, WHOLE, [span], ADDING)
        await keeping.put_days(tx, 1, {day: parts}, cursor=50)
        while await counting.drop(tx, 1, limit=100):
            pass

        assert await keeping.parts_after(tx, 1, None, limit=9) == []


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kathmandu"])
async def test_a_month_is_read_by_days_and_two_parts(
    database: Database, zone: str
) -> None:
    """Where the windows of its edges are gone, the parts say what they were."""
    day = await small(database)
    cut_ms = Days([(0, zone)]).within(DAY, DAY + DAY_MS)[0].end
    async with database.transaction() as tx:
        assert await keep(tx, day, zone=zone)
        await tx.execute("DELETE FROM usage")
        sums = await usage.read_sums_of(
            tx, 1, customers=["acme"], start=cut_ms, end=DAY + DAY_MS
        )
        before = await usage.read_sums_of(
            tx, 1, customers=["acme"], start=DAY - DAY_MS, end=cut_ms
        )

    assert by_group(ADDING, sums["acme"])["calls"]['{"model":"2"}'] == 46
    assert by_group(ADDING, before["acme"])["calls"]['{"model":"2"}'] == 6
