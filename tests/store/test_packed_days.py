"""Days of many groups in one row: they are read as the rows that they stand for."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.errors import DatabaseCorrupt
from meterline_sidecar.meters import Aggregation, Total, Totals
from meterline_sidecar.store import attention, changes, packed_days, terms, usage
from meterline_sidecar.store.edge import packed_days as packing
from meterline_sidecar.store.edge import rollups
from meterline_sidecar.store.edge import usage as counting
from meterline_sidecar.store.edge.packed_days import Day
from meterline_sidecar.store.packed_days import pack, unpack
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.rollups import DAYS
from meterline_sidecar.store.usage import UsageRow
from meterline_sidecar.usage import packed_days as packer
from meterline_sidecar.usage.packed_days import DayPacker
from meterline_sidecar.usage.summed import by_group
from tests.clock import FakeClock
from tests.store.rows import DAY, add_generation, add_group, add_subjects, add_window

ADDING: Final[Mapping[str, Aggregation]] = {
    "calls": "count",
    "bytes": "sum",
    "top": "max",
    "low": "min",
    "seats": "latest",
}
WHOLE: Final = 1
MOVED: Final = 2
NOBODYS: Final = 3
SPAN: Final = {"start": DAY - HOUR_MS, "end": DAY + 3 * DAY_MS + HOUR_MS}
NUMBERS: Final = st.one_of(
    st.integers(-(2**62), 2**62), st.decimals("-1e9", "1e9", places=6)
)
TOTALS: Final = st.fixed_dictionaries(
    {},
    optional={
        "calls": st.integers(0, 2**62),
        "bytes": NUMBERS,
        "top": NUMBERS,
        "low": NUMBERS,
        "seats": st.tuples(NUMBERS, st.integers(0, 9), st.integers(0, 9)).map(list),
    },
).filter(bool)


@given(st.dictionaries(st.integers(1, 2**62), TOTALS, max_size=9))
def test_what_is_packed_is_unpacked(totals: dict[int, Totals]) -> None:
    found = [row for block in unpack(pack(totals)) for row in block.rows()]

    assert len(found) == len(totals)
    assert dict(found) == totals
    for group_id, of in found:
        for name, total in of.items():
            assert repr(total) == repr(totals[group_id][name])  # 1 is not 1.000000


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[{}]",
        '[{"groups":[1,2],"whole":{"calls":[1]},"others":{}}]',
        '[{"groups":["1"],"whole":{"calls":[1]},"others":{}}]',
        '[{"groups":[1],"whole":{"calls":[1.5]},"others":{}}]',
        '[{"groups":[1],"whole":{"calls":[1]},"others":{},"more":1}]',
    ],
)
def test_what_nobody_packed_is_refused(body: str) -> None:
    with pytest.raises(DatabaseCorrupt, match="meterline verify"):
        [row for block in unpack(body) for row in block.rows()]


def totals_of(subject_id: int, day: int, group_id: int) -> Totals:
    """Return what a group comes to on a day: some of all there is, of which some is none."""
    n = 100 * day + 10 * subject_id + group_id
    found: Totals = {"calls": n}
    if group_id % 2:
        found |= {"bytes": n * 7 if day % 2 else Decimal(n) / 8, "top": n % 13}
    if group_id % 3 == day % 2:
        found |= {"low": Decimal(n % 7), "seats": [n, n % 5, n]}
    return found


async def fill(database: Database, *, groups: int = 6) -> None:
    """Add four days of three subjects, and windows around them."""
    async with database.transaction() as tx:
        await add_generation(tx, 1, cursor=9)
        for group_id in range(1, groups + 1):
            await add_group(tx, group_id, f'{{"model":"{group_id}"}}')
        await add_group(tx, 99, "{}")
        await add_subjects(tx, [(WHOLE, "w", None), (MOVED, "m", None), (3, "n", None)])
        await terms.set_owners(tx, {WHOLE: [(0, "acme")]})
        cut = DAY + DAY_MS + 12 * HOUR_MS
        await terms.set_owners(tx, {MOVED: [(0, "acme"), (cut, "beta")]})
        for subject_id in (WHOLE, MOVED, NOBODYS):
            await rollups.put_totals(
                tx,
                DAYS,
                1,
                [
                    (
                        (subject_id, DAY + day * DAY_MS, group_id),
                        totals_of(subject_id, day, group_id),
                    )
                    for day in range(4)
                    for group_id in range(1, groups + 1)
                    if (group_id + day) % 5
                ],
            )
            await add_window(tx, subject_id, DAY - HOUR_MS, {"calls": 3})
            await add_window(tx, subject_id, DAY + 3 * DAY_MS, {"calls": 4})
        # Distinct values are kept elsewhere: of them a day has an empty row.
        await rollups.put_totals(tx, DAYS, 1, [((WHOLE, DAY, 99), {})])


async def everything(tx: Tx) -> dict[str, object]:
    """Return all that is read of days, added up where nobody asks in what parts it is."""
    found: dict[str, object] = {}
    both = await usage.read_sums_of(tx, 1, customers=["acme", "beta", "none"], **SPAN)
    for name, sums in both.items():
        found[f"sums of {name}"] = by_group(ADDING, sums)
        rows = await usage.read_usage(tx, 1, customer=name, **SPAN)
        assert [r.window_ms for r in rows] == sorted(r.window_ms for r in rows)
        found[f"usage of {name}"] = merged(rows)
        found[f"first of {name}"] = await changes.first_use(tx, 1, customer=name)
    nobodys = await usage.read_unassigned(tx, 1, limit=1_000, **SPAN)
    assert {name for name, _ in nobodys} == {"n"}
    found["nobody's"] = merged(row for _, row in nobodys)
    found["subjects of nobody"] = await attention.unassigned_subjects(
        tx, 1, since_day_ms=DAY, limit=9
    )
    return found


def merged(rows: Iterable[UsageRow]) -> dict[tuple[int, int, str], dict[str, Total]]:
    """Return rows of usage, those of a subject, time and group as one."""
    found: dict[tuple[int, int, str], dict[str, Total]] = {}
    for subject_id, at_ms, labels, totals in rows:
        sums = usage.Sums([(labels, [totals])], packed_days.NO_PACKS)
        known = found.setdefault((subject_id, at_ms, labels), {})
        for name, of in by_group(ADDING, sums).items():
            total = of[labels]
            before = [known[name]] if name in known else []
            known[name] = total if not before else total_of(name, before[0], total)
    return found


def total_of(name: str, one: Total, other: Total) -> Total:
    sums = usage.Sums([("", [{name: one}, {name: other}])], packed_days.NO_PACKS)
    return by_group(ADDING, sums)[name][""]


async def pack_all(tx: Tx) -> int:
    n_rows = 0
    for subject_id in (WHOLE, MOVED, NOBODYS):
        for day in range(4):
            at = Day(subject_id, DAY + day * DAY_MS)
            n_rows += await packing.pack_day(tx, 1, at, ADDING)
    return n_rows


async def n_rows(tx: Tx, table: str) -> int:
    row = await tx.fetch_one(f"SELECT count(*) FROM {table}")
    assert row is not None
    return int(row[0])


async def test_packed_days_are_read_as_their_rows(database: Database) -> None:
    await fill(database)
    async with database.reading() as tx:
        before, rows = await everything(tx), await n_rows(tx, "usage_days")

    async with database.transaction() as tx:
        packed = await pack_all(tx)
        again = await pack_all(tx)

    async with database.reading() as tx:
        assert await everything(tx) == before
        assert await n_rows(tx, "usage_days") == rows - packed == 1
        assert await n_rows(tx, "packed_days") == 12
    assert again == 0


async def test_a_day_is_its_pack_and_its_rows(database: Database) -> None:
    await fill(database)
    async with database.transaction() as tx:
        before = await usage.read_days(tx, 1, customer="acme", **SPAN)
        await pack_day_of(tx, WHOLE, 2)

    async with database.reading() as tx:
        days = await usage.read_days(tx, 1, customer="acme", **SPAN)
    unpacked = [
        UsageRow(subject_id, day_ms, days.labels[group_id], totals)
        for subject_id, day_ms, block in days.packs
        for group_id, totals in block.rows()
    ]
    assert before.packs == []
    assert {row[:2] for row in unpacked} == {(WHOLE, DAY + 2 * DAY_MS)}
    assert sorted([*days.rows, *unpacked], key=repr) == sorted(before.rows, key=repr)


async def test_what_is_counted_later_stands_beside_a_pack_and_is_added_up(
    database: Database,
) -> None:
    await fill(database)
    late: dict[tuple[int, ...], Totals] = {
        (WHOLE, DAY, 2): {"calls": 1, "bytes": Decimal("0.5"), "seats": [7, 4, 99]},
        (WHOLE, DAY + DAY_MS, 1): {"calls": 2, "top": 99},
        (NOBODYS, DAY, 5): {"bytes": 3},
    }
    async with database.transaction() as tx:
        known = await rollups.totals_of(tx, DAYS, 1, list(late))
        await counted_later(tx, late)
        whole = await everything(tx)
        await rollups.put_totals(tx, DAYS, 1, known.items())
        if missing := late.keys() - known.keys():
            for subject_id, day_ms, group_id in missing:
                await tx.execute(
                    "DELETE FROM usage_days WHERE subject_id = ? AND day_ms = ?"
                    " AND group_id = ?",
                    (subject_id, day_ms, group_id),
                )
        await pack_all(tx)
        await counted_later(tx, late)

    async with database.transaction() as tx:
        assert await n_rows(tx, "usage_days") == 1 + len(late)
        assert await everything(tx) == whole
        await pack_all(tx)
        assert await n_rows(tx, "usage_days") == 1
        assert await everything(tx) == whole


async def counted_later(tx: Tx, late: Mapping[tuple[int, ...], Totals]) -> None:
    """Add totals to what is in the rows of days, as counting does."""
    known = await rollups.totals_of(tx, DAYS, 1, list(late))
    for key, totals in late.items():
        of = known.setdefault(key, {})
        for name, total in totals.items():
            of[name] = total_of(name, of[name], total) if name in of else total
    await rollups.put_totals(tx, DAYS, 1, known.items())


async def test_groups_that_are_taken_out_of_packs_are_in_them_no_more(
    database: Database,
) -> None:
    await fill(database)
    day = Day(WHOLE, DAY + DAY_MS)
    async with database.transaction() as tx:
        await pack_all(tx)
        await packing.take_out(tx, 1, [(*day, 2), (*day, 4), (*day, 77), (9, DAY, 1)])
        (left,) = await packing.packs_between(tx, 1, first=day, last=day, limit=9)
        rest = [row for block in unpack(left[1]) for row in block.rows()]
        await packing.take_out(tx, 1, [(*day, i) for i in range(1, 7)])
        none = await packing.packs_between(tx, 1, first=day, last=day, limit=9)

    assert sorted(rest) == [(i, totals_of(WHOLE, 1, i)) for i in (1, 3, 5, 6)]
    assert none == []


async def test_groups_that_packs_have_are_known(database: Database) -> None:
    await fill(database)
    day, other = Day(WHOLE, DAY), Day(WHOLE, DAY + DAY_MS)
    async with database.transaction() as tx:
        await packing.pack_day(tx, 1, day, ADDING)
        keys = [(*day, 1), (*day, 77), (*other, 1), (MOVED, DAY, 1)]

        assert await packing.in_packs(tx, 1, keys) == {(*day, 1)}
        assert await packing.in_packs(tx, 2, keys) == set()
        assert await packing.in_packs(tx, 1, []) == set()


async def test_days_of_many_groups_are_found_by_subject(database: Database) -> None:
    await fill(database, groups=8)
    async with database.transaction() as tx:
        await pack_day_of(tx, WHOLE, 1)

        async def found(after: int, limit: int, **bounds: int) -> object:
            return await packing.days_to_pack(
                tx,
                1,
                after_subject=after,
                limit=limit,
                **{
                    "start": DAY,
                    "end": DAY + 3 * DAY_MS,
                    "groups_min": 7,
                    "groups_max": 7,
                    **bounds,
                },
            )

        first, second, third = (DAY + day * DAY_MS for day in range(3))
        # Of 8 groups one has nothing on the first and second day, two on the third.
        assert await found(0, 2) == ([(1, first), (2, first), (2, second)], 2)
        assert await found(0, 1, groups_min=6) == ([(1, first), (1, third)], 1)
        assert await found(1, 9, groups_min=6, groups_max=6) == (
            [(2, third), (3, third)],
            3,
        )
        assert await found(1, 9, start=second) == ([(2, second), (3, second)], 3)
        assert await found(1, 9, end=second) == ([(2, first), (3, first)], 3)
        assert await found(3, 9) == ([], None)


async def pack_day_of(tx: Tx, subject_id: int, day: int) -> None:
    assert await packing.pack_day(tx, 1, Day(subject_id, DAY + day * DAY_MS), ADDING)


async def test_days_that_are_over_are_packed_by_themselves(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(database)
    monkeypatch.setattr(packer, "GROUPS_MIN", 5)
    monkeypatch.setattr(packer, "SUBJECTS_PER_READ", 2)
    monkeypatch.setattr(packer, "REST", 0)
    clock = FakeClock(DAY + 2 * DAY_MS + packer.AGE_MS)
    async with database.reading() as tx:
        before = await everything(tx)
    of_day = DayPacker(database, clock=clock)

    packed = await of_day.run()
    again = await of_day.run()
    clock.time_ms += DAY_MS
    third = await of_day.run()

    async with database.reading() as tx:
        assert await everything(tx) == before
        days = await tx.fetch_all(
            "SELECT subject_id, day_ms FROM packed_days ORDER BY 1, 2"
        )
    assert days == [
        (subject_id, DAY + day * DAY_MS)
        for subject_id in (WHOLE, MOVED, NOBODYS)
        for day in range(3)
    ]
    assert (packed, again, third) == (2 * 15, 0, 15)


async def test_packs_leave_with_their_generation(database: Database) -> None:
    await fill(database)
    async with database.transaction() as tx:
        await pack_all(tx)
        while await counting.drop(tx, 1, limit=100):
            pass

        assert await n_rows(tx, "packed_days") == 0
        assert await n_rows(tx, "usage_days") == 0


async def test_a_pack_of_a_group_that_there_is_not_is_not_read(
    database: Database,
) -> None:
    await fill(database)
    async with database.transaction() as tx:
        await pack_all(tx)
        await tx.execute("DELETE FROM groups WHERE id = 2")

    async with database.reading() as tx:
        blocks = unpack(pack({1: {"calls": 1}}))
        assert await packed_days.labels_in(tx, blocks) == {1: '{"model":"1"}'}
        with pytest.raises(DatabaseCorrupt):
            await usage.read_sums_of(tx, 1, customers=["acme"], **SPAN)
        with pytest.raises(DatabaseCorrupt):
            await usage.read_usage(tx, 1, customer="acme", **SPAN)


async def test_a_page_of_what_nobody_pays_for_is_its_beginning(
    database: Database,
) -> None:
    await fill(database)
    async with database.transaction() as tx:
        before = await usage.read_unassigned(tx, 1, limit=1_000, **SPAN)
        await pack_all(tx)
        for limit in range(1, len(before) + 1):
            found = await usage.read_unassigned(tx, 1, limit=limit, **SPAN)
            assert found == before[:limit]
