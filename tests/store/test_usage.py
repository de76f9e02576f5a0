"""Usage as it is read, its subjects, and small facts."""

from meterline_sidecar.clock import DAY_MS, HOUR_MS, MINUTE_MS
from meterline_sidecar.meters import Totals
from meterline_sidecar.store import (
    changes,
    facts,
    generations,
    rollups,
    subjects,
    usage,
)
from meterline_sidecar.store.packed_days import NO_PACKS
from meterline_sidecar.store.port import Database
from meterline_sidecar.store.usage import Generation, Sums, UsageRow
from tests.store.rows import (
    DAY,
    HOUR,
    add_day,
    add_generation,
    add_group,
    add_subjects,
    add_window,
)


async def fill(database: Database) -> None:
    """Add a day, and windows before and behind it, of two customers and of nobody."""
    async with database.transaction() as tx:
        await add_generation(tx, 1, cursor=9)
        await add_group(tx, 1, "{}")
        await add_group(tx, 2, '{"model":"big"}')
        await add_subjects(
            tx, [(1, "s1", "acme"), (2, "s2", "acme"), (3, "s3", "b"), (4, "s4", None)]
        )
        before, behind = DAY - HOUR_MS, DAY + DAY_MS
        await add_window(tx, 1, before, {"calls": 1}, last_event_id=3)
        await add_window(tx, 1, behind, {"calls": 2}, group_id=2, last_event_id=5)
        await add_window(tx, 2, behind, {"calls": 4, "top": [7, 1]}, last_event_id=6)
        await add_window(tx, 3, behind, {"calls": 8}, last_event_id=7)
        await add_window(tx, 4, before, {"calls": 16}, last_event_id=8)
        await add_window(tx, 0, before, {"calls": 32}, last_event_id=9)
        await add_day(tx, 1, DAY, {"calls": 64})
        await add_day(tx, 4, DAY, {"calls": 128})
        # Of another day, and of an earlier generation: nobody asks for them.
        await add_day(tx, 1, DAY + DAY_MS, {"calls": 256})
        await add_window(tx, 1, before, {"calls": 512}, generation=0)


SPAN = {"start": DAY - HOUR_MS, "end": DAY + DAY_MS + HOUR_MS}
ACME = [
    UsageRow(1, DAY - HOUR_MS, "{}", {"calls": 1}),
    UsageRow(1, DAY, "{}", {"calls": 64}),
    UsageRow(1, DAY + DAY_MS, '{"model":"big"}', {"calls": 2}),
    UsageRow(2, DAY + DAY_MS, "{}", {"calls": 4, "top": [7, 1]}),
]


async def test_whole_days_are_read_as_days_and_their_edges_as_windows(
    database: Database,
) -> None:
    await fill(database)

    async with database.reading() as tx:
        rows = await usage.read_usage(tx, 1, customer="acme", **SPAN)
        within = await usage.read_usage(
            tx, 1, customer="acme", start=DAY - 1, end=DAY + 1
        )

    assert [row.window_ms for row in rows] == sorted(row.window_ms for row in rows)
    assert sorted(rows, key=lambda row: row[:2]) == ACME
    assert within == []


async def test_windows_of_some_subjects_come_with_their_values_since_a_time(
    database: Database,
) -> None:
    await fill(database)
    async with database.transaction() as tx:
        await tx.execute_many(
            "INSERT INTO unique_values VALUES (1, 1, ?, 1, 'users', 'ann')",
            [(DAY,), (DAY + DAY_MS,)],
        )

    async with database.reading() as tx:
        windows = await usage.windows_since(tx, 1, subjects=[1, 3], since_ms=DAY)
        unique = await usage.unique_since(tx, 1, subjects=[1, 3], since_ms=DAY + 1)

    assert sorted(windows) == [
        UsageRow(1, DAY + DAY_MS, '{"model":"big"}', {"calls": 2}),
        UsageRow(3, DAY + DAY_MS, "{}", {"calls": 8}),
    ]
    assert unique == [(1, DAY + DAY_MS, "{}", "users", "ann")]


async def test_several_customers_are_read_as_each_of_them_alone(
    database: Database,
) -> None:
    await fill(database)

    async with database.reading() as tx:
        both = await usage.read_sums_of(tx, 1, customers=["acme", "b", "c"], **SPAN)
        one = await usage.read_sums_of(tx, 1, customers=["acme"], **SPAN)
        acme = await usage.read_usage(tx, 1, customer="acme", **SPAN)

    assert sorted(acme, key=lambda row: row[:2]) == ACME
    of_acme = sorted(((row.labels, row.totals) for row in ACME), key=repr)
    assert added(both["acme"].rows) == added(one["acme"].rows) == of_acme
    assert both["b"].rows == [("{}", [{"calls": 8}])]
    assert both["c"] == Sums([], NO_PACKS)


def added(sums: list[tuple[str, list[Totals]]]) -> list[tuple[str, Totals]]:
    return sorted(((labels, one) for labels, of in sums for one in of), key=repr)


async def test_windows_are_read_without_their_days(database: Database) -> None:
    await fill(database)

    async with database.reading() as tx:
        found = await usage.read_windows(tx, 1, customer="acme", **SPAN)

    assert sorted(found, key=lambda row: (row[0], row[1])) == [
        (DAY - HOUR_MS, "{}", {"calls": 1}),
        (DAY + DAY_MS, '{"model":"big"}', {"calls": 2}),
        (DAY + DAY_MS, "{}", {"calls": 4, "top": [7, 1]}),
    ]


async def test_usage_that_nobody_pays_for_comes_with_its_subject_and_in_order(
    database: Database,
) -> None:
    await fill(database)

    async with database.reading() as tx:
        found = await usage.read_unassigned(tx, 1, limit=10, **SPAN)
        first = await usage.read_unassigned(tx, 1, limit=1, **SPAN)

    assert found == [
        (None, UsageRow(0, DAY - HOUR_MS, "{}", {"calls": 32})),
        ("s4", UsageRow(4, DAY - HOUR_MS, "{}", {"calls": 16})),
        ("s4", UsageRow(4, DAY, "{}", {"calls": 128})),
    ]
    assert first == found[:1]


async def test_a_value_is_distinct_once_for_all_subjects_of_a_customer(
    database: Database,
) -> None:
    await fill(database)
    seen = [(1, "x"), (1, "y"), (2, "x"), (3, "z"), (2, "late")]
    async with database.transaction() as tx:
        await tx.execute_many(
            "INSERT INTO unique_values (generation, subject_id, window_ms, group_id,"
            " meter, value) VALUES (1, ?, ?, 1, 'users', ?)",
            [(s, HOUR if value != "late" else HOUR * 2, value) for s, value in seen],
        )

    async with database.reading() as tx:
        found = await usage.count_unique(
            tx, 1, customer="acme", start=HOUR, end=HOUR + 1
        )

    assert found == [("users", "{}", 2)]


async def test_changes_are_found_by_the_events_that_made_them(
    database: Database,
) -> None:
    await fill(database)
    async with database.transaction() as tx:
        late = DAY + DAY_MS + 45 * MINUTE_MS
        await add_window(tx, 2, late, {"calls": 1}, last_event_id=6)

    async with database.reading() as tx:
        span = {"after_event_id": 4, "up_to_event_id": 7}
        hours = await changes.changed_hours(tx, 1, **span)
        customers = await changes.changed_customers(tx, 1, **span)
        nothing = await changes.changed_hours(tx, 1, after_event_id=7, up_to_event_id=9)

    assert hours == [("acme", DAY + DAY_MS), ("b", DAY + DAY_MS)]
    assert sorted(customers) == ["acme", "b"]
    assert nothing == []  # event 8 and 9 are of nobody


async def test_what_has_caught_up_last_is_read_and_what_counts_again_stands_beside_it(
    database: Database,
) -> None:
    async with database.reading() as tx:
        before = await usage.newest_generation(tx)
    async with database.transaction() as tx:
        await add_generation(tx, 1, cursor=100)
        await add_generation(tx, 7, cursor=3)  # ids may have holes
        await add_generation(tx, 8, cursor=2, is_complete=False)
        await add_generation(tx, 9, cursor=1, is_complete=False)

    async with database.reading() as tx:
        newest = await usage.newest_generation(tx)
        beside = await usage.generation_beside(tx, 7)
        none = await usage.generation_beside(tx, 9)
    async with database.transaction() as tx:
        assert beside is not None
        row_id = await generations.end_generation(
            tx, beside.id, ended_ms=5, author="me", reason="a mistake"
        )
        assert row_id == 1
        given_up = await usage.generation_beside(tx, 7)

    assert before is None
    assert newest == Generation(7, "{}", 3, None, 1)
    assert beside == Generation(9, "{}", 1, None, 0)
    assert none is given_up is None  # and not the one before it


async def test_usage_of_everybody_is_read_by_step(database: Database) -> None:
    await fill(database)
    async with database.transaction() as tx:
        await tx.execute_many(
            "INSERT INTO usage_totals (generation, step_ms, start_ms, group_id, totals)"
            " VALUES (?, ?, ?, 1, ?)",
            [
                (1, HOUR_MS, HOUR + HOUR_MS, '{"calls":2}'),
                (1, HOUR_MS, HOUR, '{"calls":1}'),
                (1, HOUR_MS, HOUR + 2 * HOUR_MS, '{"calls":4}'),
                (1, DAY_MS, HOUR, '{"calls":8}'),
                (2, HOUR_MS, HOUR, '{"calls":16}'),
            ],
        )

    async with database.reading() as tx:
        found = await rollups.read_all(
            tx, 1, step_ms=HOUR_MS, start=HOUR, end=HOUR + 2 * HOUR_MS
        )

    assert found == [(HOUR, "{}", {"calls": 1}), (HOUR + HOUR_MS, "{}", {"calls": 2})]


async def test_subjects_are_read_in_pieces(database: Database) -> None:
    await fill(database)

    async with database.reading() as tx:
        first = await subjects.subjects_after(tx, 0, limit=2)
        rest = await subjects.subjects_after(tx, 2, limit=10)

    assert [name for _, name, _ in first] == ["s1", "s2"]
    assert (2, "s2", "acme") in first
    assert [subject_id for subject_id, _, _ in rest] == [3, 4]


async def test_a_fact_is_what_was_said_last_until_it_is_dropped(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        unknown = await facts.get_fact(tx, "alarm")
        await facts.put_fact(tx, "alarm", "one")
        await facts.put_fact(tx, "alarm", "it's two")
        await facts.put_fact(tx, "other", "three")
        said = await facts.get_fact(tx, "alarm")
        await facts.drop_fact(tx, "alarm")
        dropped = await facts.get_fact(tx, "alarm")
        other = await facts.get_fact(tx, "other")

    assert (unknown, said, dropped, other) == (None, "it's two", None, "three")


async def test_usage_of_an_event_that_is_not_counted_is_being_corrected(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        await add_window(tx, 1, HOUR, {"calls": 1}, last_event_id=7)

        assert await generations.is_being_corrected(tx, 1, 6)
        assert not await generations.is_being_corrected(tx, 1, 7)
        assert not await generations.is_being_corrected(tx, 2, 6)
