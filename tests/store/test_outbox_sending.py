"""Outbox rows on their way: what is due, what is sent, and what becomes of it."""

from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.store import outbox
from meterline_sidecar.store import outbox_sending as sending
from meterline_sidecar.store.columns import MARKS_MAX
from meterline_sidecar.store.outbox_sending import Settlement
from meterline_sidecar.store.port import Database
from tests.store.rows import HOUR, add_rows, end_in, new_row, row_of, send, states


async def test_every_series_gets_its_turn(database: Database) -> None:
    ids = await add_rows(
        database,
        new_row(0),
        new_row(1),
        new_row(2),
        new_row(3, stripe_customer="cus_b", customer="b"),
        new_row(4, event_name="tokens"),
        new_row(5, state="parked"),
    )

    async with database.reading() as tx:
        two_each = await sending.due(tx, wall_ms=0, per_series=2, limit=10)
        three = await sending.due(tx, wall_ms=0, per_series=2, limit=3)
        n_due = await sending.count_due(tx, wall_ms=0)

    assert [row.id for row in two_each] == [ids[0], ids[3], ids[4], ids[1]]
    assert [row.id for row in three] == [ids[0], ids[3], ids[4]]
    assert n_due == 5


async def test_a_set_hour_waits_for_its_earlier_parts(database: Database) -> None:
    one, two, other = await add_rows(
        database,
        new_row(0, mode="set", state="parked"),
        new_row(1, mode="set"),
        new_row(2, mode="set", hour_ms=HOUR + HOUR_MS),
    )

    async with database.reading() as tx:
        before = await sending.due(tx, wall_ms=0, per_series=9, limit=9)
    async with database.transaction() as tx:
        await sending.give_up(tx, one, reason="no", now_ms=HOUR)
        after = await sending.due(tx, wall_ms=0, per_series=9, limit=9)

    assert [row.id for row in before] == [other]
    assert [row.id for row in after] == [two, other]


async def test_a_row_waits_for_its_next_attempt_until_it_is_woken(
    database: Database,
) -> None:
    (row_id,) = await add_rows(database, new_row())
    await send(database, row_id)
    async with database.transaction() as tx:
        await sending.settle(tx, [Settlement(row_id, "pending", next_ms=500)])
        early = await sending.count_due(tx, wall_ms=499)
        in_time = await sending.count_due(tx, wall_ms=500)

        await sending.wake(tx)
        woken = await sending.count_due(tx, wall_ms=0)

    assert (early, in_time, woken) == (0, 1, 1)


async def test_what_fails_again_and_again_is_counted_with_a_reason(
    database: Database,
) -> None:
    ids = await add_rows(database, new_row(0), new_row(1), new_row(2))
    for _ in range(2):
        await send(database, *ids[:2])
        async with database.transaction() as tx:
            await sending.settle(
                tx, [Settlement(i, "pending", reason="HTTP 500") for i in ids[:2]]
            )

    async with database.reading() as tx:
        twice = await sending.failing(tx, attempts_min=2)
        more = await sending.failing(tx, attempts_min=3)

    assert twice == (2, "HTTP 500")
    assert more == (0, None)


async def test_only_rows_that_are_as_they_were_read_are_sent(
    database: Database,
) -> None:
    ids = await add_rows(database, new_row(0), new_row(1), new_row(2))
    rows = [await row_of(database, row_id) for row_id in ids]
    async with database.transaction() as tx:
        await sending.give_up(tx, ids[1], reason="dropped", now_ms=HOUR)
        await sending.free(tx, ids[1])  # pending again, under another key

        marked = await sending.mark_sending(tx, rows, now_ms=HOUR, batch_key="k")

    sent = await row_of(database, ids[0])
    async with database.reading() as tx:
        cursor = await outbox.cursor(tx)
    assert marked == {ids[0], ids[2]}
    assert (sent.state, sent.attempts, sent.batch_key) == ("sending", 1, "k")
    assert (sent.sent_ms, sent.doubt_ms) == (HOUR, HOUR)
    assert (await row_of(database, ids[1])).state == "pending"
    assert cursor is not None
    assert cursor.sends == 2


async def test_more_rows_than_one_query_names_are_sent_together(
    database: Database,
) -> None:
    ids = await add_rows(database, *(new_row(i) for i in range(MARKS_MAX + 3)))

    assert await send(database, *ids) == set(ids)


async def test_the_first_send_in_doubt_is_the_one_that_is_kept(
    database: Database,
) -> None:
    (row_id,) = await add_rows(database, new_row())
    await send(database, row_id, now_ms=HOUR)
    async with database.transaction() as tx:
        assert await sending.recover(tx) == 1
    again = await row_of(database, row_id)
    await send(database, row_id, now_ms=HOUR + 5)

    row = await row_of(database, row_id)

    assert (again.state, again.next_ms, again.doubt_ms) == ("pending", 0, HOUR)
    assert (row.doubt_ms, row.sent_ms, row.attempts) == (HOUR, HOUR + 5, 2)


async def test_an_outcome_is_noted_of_a_row_that_is_being_sent_only(
    database: Database,
) -> None:
    one, two, idle = await add_rows(database, new_row(0), new_row(1), new_row(2))
    await send(database, one, two)
    async with database.transaction() as tx:
        never = await sending.last_confirmed(tx)
        await sending.settle(
            tx,
            [
                Settlement(one, "confirmed", request_id="req_1", settled_ms=HOUR + 1),
                Settlement(
                    two,
                    "pending",
                    reason="429",
                    needs_new_key=True,
                    clears_doubt=True,
                    next_ms=77,
                ),
                Settlement(idle, "dead", reason="no", settled_ms=HOUR + 9),
            ],
        )
        confirmed_ms = await sending.last_confirmed(tx)

    done, again = await row_of(database, one), await row_of(database, two)

    assert (never, confirmed_ms) == (None, HOUR + 1)
    assert (done.state, done.request_id, done.settled_ms) == (
        "confirmed",
        "req_1",
        HOUR + 1,
    )
    assert done.doubt_ms == HOUR
    assert (again.state, again.reason, again.key_no) == ("pending", "429", 1)
    assert (again.doubt_ms, again.next_ms) == (None, 77)
    assert (await row_of(database, idle)).state == "pending"


async def test_rows_of_a_meter_that_is_not_there_are_held_and_let_go(
    database: Database,
) -> None:
    ids = await add_rows(
        database,
        new_row(0),
        new_row(1),
        new_row(2, stripe_customer=None, state="parked"),
        new_row(3, event_name="tokens"),
    )

    async with database.transaction() as tx:
        n_held = await sending.park(tx, "api_calls", "no such meter")
        heads = await sending.parked_heads(tx)
        await sending.probe(tx, ids[0])
        await sending.probe(tx, ids[3])
    probed = await states(database)
    async with database.transaction() as tx:
        n_freed = await sending.unpark(tx, "api_calls")

    assert (n_held, n_freed) == (2, 1)
    assert heads == [("api_calls", ids[0])]
    assert probed == ["pending", "parked", "parked", "pending"]
    assert await states(database) == ["pending", "pending", "parked", "pending"]
    assert (await row_of(database, ids[1])).reason is None


async def test_what_got_too_old_is_taken_out_and_what_is_in_doubt_before_it(
    database: Database,
) -> None:
    old = HOUR - 10 * HOUR_MS
    ids = await add_rows(
        database,
        new_row(0),  # sent, in doubt for long
        new_row(1, mode="set"),  # the same, but it cannot count twice
        new_row(2, hour_ms=old, mode="set"),  # sent, and its hour is too old
        new_row(3, hour_ms=old),
        new_row(4),
    )
    await send(database, *ids[:3], now_ms=HOUR)
    async with database.transaction() as tx:
        await sending.recover(tx)

        found = await sending.sweep(
            tx, expired_ms=old + 1, doubted_ms=HOUR, expired_reason="too old"
        )

    assert found == (2, 1)
    assert await states(database) == [
        "unresolved",
        "pending",
        "unresolved",
        "expired",
        "pending",
    ]
    assert (await row_of(database, ids[3])).reason == "too old"


async def test_what_was_not_too_old_goes_after_all(database: Database) -> None:
    young = HOUR + HOUR_MS
    ids = await add_rows(
        database,
        new_row(0, state="expired"),
        new_row(1, state="expired", hour_ms=young),
        new_row(2, state="expired", hour_ms=young, stripe_customer=None),
        new_row(3, state="dead", hour_ms=young),
        new_row(4, state="expired", hour_ms=young, created_ms=young + 2),
    )

    async with database.transaction() as tx:
        n_revived = await sending.revive(tx, expired_ms=young, now_ms=young + 1)

    assert n_revived == 2
    assert await states(database) == [
        *("expired", "pending", "parked", "dead", "expired"),
    ]
    assert (await row_of(database, ids[1])).settled_ms is None


async def test_what_an_older_copy_may_send_again_is_held(database: Database) -> None:
    ids = await add_rows(
        database, new_row(0), new_row(1), new_row(2, stripe_customer=None)
    )
    await end_in(database, "confirmed", ids[1])

    async with database.transaction() as tx:
        n_held = await sending.suspect(tx, before_ms=HOUR + HOUR_MS, reason="a copy")
        cursor = await outbox.cursor(tx)

    assert n_held == 1
    assert await states(database) == ["unresolved", "confirmed", "pending"]
    assert cursor is not None
    assert cursor.suspect_ms == HOUR + HOUR_MS


async def test_a_doubt_about_copies_leaves_what_is_out_and_what_is_later(
    database: Database,
) -> None:
    ids = await add_rows(
        database, new_row(0), new_row(1), new_row(2, hour_ms=HOUR + HOUR_MS)
    )
    await send(database, ids[0])

    async with database.transaction() as tx:
        await sending.suspect(tx, before_ms=HOUR + 1, reason="no", holds_sent=False)
        await sending.suspect(tx, before_ms=HOUR, reason="an earlier time")
        cursor = await outbox.cursor(tx)

    assert await states(database) == ["sending", "unresolved", "pending"]
    assert cursor is not None
    assert cursor.suspect_ms == HOUR + 1


async def test_a_freed_row_goes_under_a_new_key_unless_it_waits_already(
    database: Database,
) -> None:
    dead, waiting, flying = await add_rows(database, new_row(0), new_row(1), new_row(2))
    await end_in(database, "dead", dead)
    await send(database, flying)

    async with database.transaction() as tx:
        for row_id in (dead, waiting, flying):
            await sending.free(tx, row_id)

    rows = [await row_of(database, row_id) for row_id in (dead, waiting, flying)]
    assert [row.state for row in rows] == ["pending", "pending", "sending"]
    assert [row.key_no for row in rows] == [1, 0, 0]
    assert rows[0].settled_ms is None


async def test_what_is_on_its_way_or_counted_is_not_given_up(
    database: Database,
) -> None:
    waiting, flying, counted = await add_rows(
        database, new_row(0), new_row(1), new_row(2)
    )
    await end_in(database, "confirmed", counted)
    await send(database, flying)

    async with database.transaction() as tx:
        for row_id in (waiting, flying, counted):
            await sending.give_up(tx, row_id, reason="by hand", now_ms=HOUR + 2)

    row = await row_of(database, waiting)
    assert await states(database) == ["dead", "sending", "confirmed"]
    assert (row.reason, row.settled_ms) == ("by hand", HOUR + 2)
