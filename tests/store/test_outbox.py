"""The outbox: what is added to it, what it says, and how it is counted."""

import pytest

from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.decimals import Number
from meterline_sidecar.meters import Mode
from meterline_sidecar.store import outbox, outbox_hours
from meterline_sidecar.store.outbox import STATES, Cursor, Issued
from meterline_sidecar.store.port import Database
from tests.store.rows import (
    HOUR,
    add_generation,
    add_group,
    add_rows,
    add_subjects,
    add_window,
    end_in,
    new_row,
    row_of,
)


async def test_the_cursor_starts_once_and_keeps_what_is_there(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        before = await outbox.cursor(tx)
        await outbox.start(tx, "first")
        await outbox_hours.note_hours(tx, [], up_to_event_id=12)
        await outbox.bind(tx, is_live=True)
        await outbox.start(tx, "second")
        started = await outbox.cursor(tx)
        await outbox.bind(tx, is_live=False)
        bound = await outbox.cursor(tx)

    assert before is None
    assert started == Cursor("first", 12, is_live=True, sends=0, suspect_ms=0)
    assert bound is not None
    assert bound.is_live is False


async def test_what_is_added_is_what_is_read(database: Database) -> None:
    new = new_row(3, stripe_customer=None, state="parked", reason="no customer yet")
    first, row_id = await add_rows(database, new_row(), new)

    row = await row_of(database, row_id)

    assert row_id > first
    assert {name: getattr(row, name) for name in new.__struct_fields__} == {
        name: getattr(new, name) for name in new.__struct_fields__
    }
    assert (row.id, row.key_no, row.attempts, row.next_ms) == (row_id, 0, 0, 0)
    assert (row.doubt_ms, row.sent_ms, row.settled_ms) == (None, None, None)
    async with database.reading() as tx:
        assert await outbox.get(tx, row_id + 1) is None


async def test_a_query_finds_whole_rows(database: Database) -> None:
    row_id, _ = await add_rows(database, new_row(0), new_row(1))

    async with database.reading() as tx:
        rows = await outbox.read_rows(tx, "FROM outbox WHERE part = ?", (0,))

    assert rows == [await row_of(database, row_id)]


async def test_no_row_is_added_before_the_outbox_is_started(
    database: Database,
) -> None:
    with pytest.raises(AssertionError, match="started before"):
        async with database.transaction() as tx:
            await outbox.add(tx, new_row())


async def test_hours_that_are_not_told_are_noted_or_on_their_way(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        await outbox.start(tx, "install")
        for part in range(3):
            await outbox.add(tx, new_row(part))
        await tx.execute("UPDATE outbox SET state = 'confirmed' WHERE part < 2")
        on_its_way = await outbox_hours.untold(tx)
        await tx.execute("UPDATE outbox SET state = 'confirmed'")
        await outbox_hours.note_hours(tx, [("b", HOUR)], up_to_event_id=5)
        noted = await outbox_hours.untold(tx)

    assert len(on_its_way) == 1
    assert noted == {("b", HOUR)}


async def test_hours_wait_until_they_close_and_are_forgotten(
    database: Database,
) -> None:
    later = HOUR + HOUR_MS
    async with database.transaction() as tx:
        await outbox.start(tx, "install")
        noted = [("b", later), ("b", HOUR), ("acme", HOUR), ("acme", HOUR)]
        await outbox_hours.note_hours(tx, noted, up_to_event_id=5)
        closed = await outbox_hours.closed_hours(tx, closed_ms=later, limit=10)
        first = await outbox_hours.closed_hours(tx, closed_ms=later + 1, limit=1)
        await outbox_hours.forget_hours(tx, [("acme", HOUR)])
        left = await outbox_hours.closed_hours(tx, closed_ms=later + 1, limit=10)

    assert closed == [("acme", HOUR), ("b", HOUR)]
    assert first == [("acme", HOUR)]
    assert left == [("b", HOUR), ("b", later)]


async def test_every_hour_that_subjects_used_is_noted_for_who_pays_now(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        await add_generation(tx, 1, cursor=1)
        await add_generation(tx, 2, cursor=1)
        await add_group(tx, 1, "{}")
        await add_subjects(
            tx, [(1, "s1", "acme"), (2, "s2", "acme"), (3, "s3", None), (4, "s4", "b")]
        )
        for subject_id in (1, 2, 3, 4):
            for at_ms in (HOUR - HOUR_MS, HOUR, HOUR + HOUR_MS // 2):
                await add_window(tx, subject_id, at_ms, {}, generation=2)
        await add_window(tx, 1, HOUR + 5 * HOUR_MS, {}, generation=1)

        await outbox_hours.note_subjects(tx, [1, 2, 3], since_ms=HOUR)
        noted = await outbox_hours.closed_hours(tx, closed_ms=HOUR * 2, limit=10)

    assert noted == [("acme", HOUR)]


async def test_the_hours_of_rows_are_noted_in_pieces(database: Database) -> None:
    ids = await add_rows(
        database,
        *(new_row(i, customer=f"c{i}", hour_ms=HOUR + i * HOUR_MS) for i in range(5)),
    )

    async with database.transaction() as tx:
        reached: list[int | None] = [0]
        while reached[-1] is not None:
            reached.append(
                await outbox_hours.note_issued(
                    tx, reached[-1], since_ms=HOUR + HOUR_MS, limit=2
                )
            )
        noted = await outbox_hours.closed_hours(tx, closed_ms=HOUR * 2, limit=10)

    assert reached == [0, ids[1], ids[3], ids[4], None]
    assert noted == [(f"c{i}", HOUR + i * HOUR_MS) for i in range(1, 5)]


async def test_an_hour_is_said_anew_as_a_whole(database: Database) -> None:
    ids = await add_rows(
        database,
        new_row(0, value=5),
        new_row(1, value=3),
        new_row(2, value=8, mode="set"),
        new_row(3, value=1, hour_ms=HOUR + HOUR_MS),
    )

    async with database.transaction() as tx:
        newest = await outbox.newest_of_hour(
            tx, customer="acme", event_name="api_calls", hour_ms=HOUR
        )
        n_rows = await outbox.replace_hour(
            tx,
            customer="acme",
            event_name="api_calls",
            hour_ms=HOUR,
            before_part=2,
            new_id=newest,
            now_ms=HOUR,
            reason="anew",
        )

    rows = [await row_of(database, row_id) for row_id in ids]
    assert (newest, n_rows) == (ids[2], 2)
    assert [row.replaced_by for row in rows] == [ids[2], ids[2], None, None]
    assert [row.state for row in rows] == ["dead", "dead", "pending", "pending"]


async def test_what_is_issued_adds_up_changes_and_takes_the_last_total(
    database: Database,
) -> None:
    async def said(event_name: str, hour_ms: int) -> Issued | None:
        async with database.reading() as tx:
            return await outbox.issued(
                tx,
                customer="acme",
                event_name=event_name,
                hour_ms=hour_ms,
                value_max=100,
                meters=("calls",),
            )

    old, _, _, new, *_ = await add_rows(
        database,
        new_row(0, value=5),
        new_row(1, value=3),
        new_row(2, value=4, hour_ms=HOUR + HOUR_MS),
        new_row(4, value=6),
        new_row(0, value=7, event_name="set", mode="set", identifier="a"),
        new_row(1, value=9, event_name="set", mode="set", identifier="b"),
    )
    async with database.transaction() as tx:
        await outbox.mark_replaced(tx, old, new_id=new, now_ms=HOUR, reason="r")

    changes = await said("api_calls", HOUR)
    total = await said("set", HOUR)
    nothing = await said("api_calls", HOUR - 1)

    assert changes == Issued("delta", "cus_acme", 9, 5, is_sent=False)
    assert total == Issued("set", "cus_acme", 9, 2, is_sent=False)
    assert nothing is None


@pytest.mark.parametrize(("mode", "rest"), [("delta", 3), ("set", 5)])
async def test_what_other_meters_said_under_the_same_event_name_is_told_apart(
    database: Database, mode: Mode, rest: int
) -> None:
    await add_rows(
        database,
        new_row(0, value=2, mode=mode),
        new_row(1, value=rest, mode=mode, meter="requests"),
    )

    async def of_others(*meters: str) -> Number:
        async with database.reading() as tx:
            known = await outbox.issued(
                tx,
                customer="acme",
                event_name="api_calls",
                hour_ms=HOUR,
                value_max=100,
                meters=meters,
            )
        assert known is not None
        assert known.value == 5
        return known.of_others

    assert await of_others("calls") == 3
    assert await of_others("requests") == 2
    assert await of_others("calls", "requests") == 0
    assert await of_others() == 5


async def test_the_last_part_of_an_hour_is_known_from_any_of_them(
    database: Database,
) -> None:
    ids = await add_rows(
        database, new_row(0), new_row(2), new_row(7, hour_ms=HOUR + HOUR_MS)
    )
    row = await row_of(database, ids[0])

    async with database.reading() as tx:
        part = await outbox.newest_part(tx, row)
        latest = await outbox.latest_of_hour(tx, row)

    assert (part, latest) == (2, ids[1])


async def test_a_replaced_row_is_dead_unless_it_was_rejected(
    database: Database,
) -> None:
    one, two, new = await add_rows(
        database, new_row(0), new_row(1, state="rejected"), new_row(2)
    )
    async with database.transaction() as tx:
        for row_id in (one, two):
            await outbox.mark_replaced(tx, row_id, new_id=new, now_ms=9, reason="why")

    rows = [await row_of(database, row_id) for row_id in (one, two)]

    assert [row.state for row in rows] == ["dead", "rejected"]
    assert {(row.replaced_by, row.settled_ms, row.reason) for row in rows} == {
        (new, 9, "why")
    }


async def test_rows_wait_for_a_mapping_and_go_when_it_is_there(
    database: Database,
) -> None:
    parked = {"stripe_customer": None, "state": "parked", "reason": "no mapping"}
    ids = await add_rows(
        database,
        new_row(0, **parked),
        new_row(1, **parked),
        new_row(2, **{**parked, "customer": "b"}),
        new_row(3, state="parked"),
        new_row(4, **{**parked, "hour_ms": HOUR - HOUR_MS}),
    )

    async with database.transaction() as tx:
        before = await outbox.unmapped(tx)
        n_rows = await outbox.map_customer(
            tx, "acme", "cus_new", suspect_ms=HOUR, reason="a copy"
        )
        after = await outbox.unmapped(tx)

    assert sorted(before) == ["acme", "b"]
    assert (n_rows, after) == (3, ["b"])
    row = await row_of(database, ids[0])
    assert (row.state, row.stripe_customer, row.reason) == ("pending", "cus_new", None)
    assert (await row_of(database, ids[3])).state == "parked"
    held = await row_of(database, ids[4])
    assert (held.state, held.reason) == ("unresolved", "a copy")


async def test_counts_leave_out_what_was_replaced_and_count_no_hole(
    database: Database,
) -> None:
    async def undone() -> None:
        async with database.transaction() as tx:
            await outbox.start(tx, "install")
            await outbox.add(tx, new_row(50))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await undone()
    async with database.reading() as tx:
        empty = await outbox.counts(tx)
    ids = await add_rows(database, *(new_row(i) for i in range(6)))
    await end_in(database, "confirmed", *ids[:3])
    await end_in(database, "dead", *ids[3:5])
    async with database.transaction() as tx:
        # Ids jump where a transaction was undone, or a sequence was cached.
        await tx.execute("UPDATE outbox SET id = id + 1000 WHERE id = ?", (ids[5],))
        await outbox.mark_replaced(
            tx, ids[3], new_id=ids[5] + 1000, now_ms=9, reason="why"
        )

    async with database.reading() as tx:
        counts = await outbox.counts(tx)

    assert empty == dict.fromkeys(STATES, 0)
    assert counts == {**empty, "confirmed": 3, "dead": 1, "pending": 1}


async def test_rows_are_paged_by_state(database: Database) -> None:
    ids = await add_rows(
        database,
        *(new_row(i, state=state) for i, state in enumerate(STATES)),
        new_row(20),
    )

    async with database.reading() as tx:
        all_rows = await outbox.page(tx)
        some = await outbox.page(tx, states=("dead", "pending"))
        behind = await outbox.page(tx, states=("pending",), after_id=ids[0], limit=1)
        first = await outbox.page(tx, limit=2)
        none = await outbox.page(tx, states=())

    assert [row.id for row in all_rows] == ids
    assert [row.state for row in some] == ["pending", "dead", "pending"]
    assert [row.id for row in behind] == [ids[-1]]
    assert [row.id for row in first] == ids[:2]
    assert none == []
