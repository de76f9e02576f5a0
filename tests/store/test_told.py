"""Invoices, alerts, comparisons with Stripe, and what it told by webhook."""

from msgspec.structs import replace

from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.store import alerts, invoices, reconciliation, stripe_events
from meterline_sidecar.store.alerts import AlertRow
from meterline_sidecar.store.invoices import NewFinal
from meterline_sidecar.store.port import Database
from meterline_sidecar.store.reconciliation import Comparison
from meterline_sidecar.store.stripe_events import StripeEvent
from tests.store.rows import HOUR, add_rows, end_in, new_row, row_of, send, states


async def test_final_invoices_are_read_with_the_earliest_period_first(
    database: Database,
) -> None:
    later = NewFinal("acme", HOUR, HOUR * 2, HOUR * 2 + 1, '{"n":"1.10"}', "2")
    async with database.transaction() as tx:
        await invoices.add_final(tx, later)
        await invoices.add_final(
            tx, later._replace(period_start_ms=1, document="{}", period="1")
        )
        await invoices.add_final(tx, later._replace(customer="b"))

    async with database.reading() as tx:
        found = await invoices.finals_of(tx, "acme")
        nothing = await invoices.finals_of(tx, "c")

    assert [row.period_start_ms for row in found] == [1, HOUR]
    assert tuple(found[1])[1:] == tuple(later)
    assert found[0].document == "{}"
    assert nothing == []


async def test_final_periods_say_what_their_invoices_count(database: Database) -> None:
    document = '{"counted_up_to_event":7}'
    final = NewFinal("acme", HOUR, HOUR * 2, HOUR * 2 + 1, document, "1")
    async with database.transaction() as tx:
        await invoices.add_final(tx, final)
        later = final._replace(
            period_start_ms=HOUR * 2, period_end_ms=HOUR * 3, period="2"
        )
        await invoices.add_final(tx, later)

        found = await invoices.counted_periods(tx, since_ms=HOUR * 2)

    assert found == [invoices.CountedPeriod("acme", "2", HOUR * 2, HOUR * 3, 7)]


ALERT = AlertRow(
    id=0,
    rule="budget",
    customer="acme",
    since_ms=HOUR,
    level=80,
    kind="budget",
    message="80 % of the budget",
    body="{}",
    raised_ms=HOUR + 1,
    state="pending",
    attempts=0,
    next_ms=0,
    delivered_ms=None,
    error=None,
)


async def test_an_alert_is_raised_once(database: Database) -> None:
    async with database.transaction() as tx:
        first = await alerts.raise_once(tx, ALERT)
        again = await alerts.raise_once(tx, ALERT._replace(message="other"))
        higher = await alerts.raise_once(tx, ALERT._replace(level=100))
        levels = await alerts.known_levels(tx, "budget", "acme", HOUR)
        nothing = await alerts.known_levels(tx, "budget", "b", HOUR)

    async with database.reading() as tx:
        (newest, oldest) = await alerts.newest(tx, before=1 << 62, limit=5)
        below = await alerts.newest(tx, before=newest.id, limit=5)
    assert (first, again, higher) == (True, False, True)
    assert (levels, nothing) == ({80, 100}, set())
    assert oldest._replace(id=0) == ALERT
    assert newest.level == 100
    assert below == [oldest]


async def test_alerts_wait_until_they_are_told_or_never_will_be(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        nothing = await alerts.waiting(tx)
        for level in (1, 2, 3):
            await alerts.raise_once(tx, ALERT._replace(level=level))
        one, two, three = await alerts.due(tx, now_ms=0, limit=5)
        await alerts.settle(
            tx, one.id, state="failed", next_ms=0, delivered_ms=None, error="HTTP 500"
        )
        await alerts.settle(
            tx, two.id, state="pending", next_ms=50, delivered_ms=None, error="refused"
        )
        early = await alerts.due(tx, now_ms=49, limit=5)
        both = await alerts.due(tx, now_ms=50, limit=5)
        first = await alerts.due(tx, now_ms=50, limit=1)
        waiting = await alerts.waiting(tx)
        await alerts.settle(
            tx, two.id, state="delivered", next_ms=0, delivered_ms=60, error=None
        )
        left = await alerts.waiting(tx)

    async with database.reading() as tx:
        told = next(
            row
            for row in await alerts.newest(tx, before=99, limit=5)
            if row.id == two.id
        )
    assert (nothing, waiting, left) == ((0, 0), (2, 1), (1, 1))
    assert [row.id for row in early] == [three.id]
    assert [row.id for row in both] == [two.id, three.id]
    assert [row.id for row in first] == [two.id]
    assert (told.state, told.attempts) == ("delivered", 2)
    assert (told.delivered_ms, told.error) == (60, None)


async def test_series_of_a_span_are_found_with_their_rows(database: Database) -> None:
    ids = await add_rows(
        database,
        new_row(0, hour_ms=HOUR + HOUR_MS),
        new_row(1),
        new_row(2, event_name="Tokens"),
        new_row(3, stripe_customer="cus_b"),
        new_row(4, stripe_customer=None, customer="b"),
        new_row(5, stripe_customer=None),
        new_row(6, hour_ms=HOUR + 9 * HOUR_MS),
    )
    span = {"start_ms": HOUR, "end_ms": HOUR + 2 * HOUR_MS}

    async with database.reading() as tx:
        series = await reconciliation.series(tx, **span)
        unmapped = await reconciliation.unmapped(tx, **span)
        rows = await reconciliation.rows_of(tx, "api_calls", "cus_acme", **span)

    # By their bytes: capitals come first.
    assert series == [
        ("Tokens", "cus_acme"),
        ("api_calls", "cus_acme"),
        ("api_calls", "cus_b"),
    ]
    assert [row.id for row in unmapped] == [ids[5], ids[4]]
    assert [row.id for row in rows] == [ids[1], ids[0]]


async def test_series_with_a_row_in_doubt_are_found(database: Database) -> None:
    await add_rows(
        database,
        new_row(0),
        new_row(1, state="unresolved"),
        new_row(2, state="unresolved"),
        new_row(3, state="unresolved", stripe_customer="cus_b"),
        new_row(4, state="dead", stripe_customer="cus_c"),
    )

    async with database.reading() as tx:
        doubted = await reconciliation.doubted(tx)

    assert doubted == {("api_calls", "cus_acme"), ("api_calls", "cus_b")}


async def test_what_was_told_after_a_time_is_found_and_what_is_too_old(
    database: Database,
) -> None:
    ids = await add_rows(
        database,
        new_row(0),
        new_row(1),
        new_row(2, state="expired"),
        new_row(3, created_ms=HOUR + 9),
        new_row(4, state="dead", created_ms=HOUR + 9),
        new_row(5, hour_ms=HOUR + 9 * HOUR_MS, created_ms=HOUR + 9),
    )
    await end_in(database, "confirmed", ids[1])
    sent_ms = (await row_of(database, ids[1])).sent_ms or 0
    span = {"start_ms": HOUR, "end_ms": HOUR + HOUR_MS}

    async with database.reading() as tx:
        late = await reconciliation.told_after(tx, HOUR + 9, limit=9, **span)
        first = await reconciliation.told_after(tx, HOUR + 9, limit=1, **span)
        sent = await reconciliation.told_after(tx, sent_ms, limit=9, **span)

    assert [row.id for row in late] == [ids[2], ids[3]]
    assert [row.id for row in first] == [ids[2]]
    assert ids[1] in [row.id for row in sent]


async def test_only_what_is_in_doubt_is_confirmed_after_all(
    database: Database,
) -> None:
    doubted, dead = await add_rows(database, new_row(0), new_row(1))
    await end_in(database, "unresolved", doubted)
    await end_in(database, "dead", dead)

    async with database.transaction() as tx:
        await reconciliation.confirm(
            tx, [doubted, dead], reason="the total says so", now_ms=HOUR + 7
        )

    row = await row_of(database, doubted)
    assert await states(database) == ["confirmed", "dead"]
    assert (row.settled_ms, row.reason) == (HOUR + 7, "the total says so")


COMPARISON = Comparison(
    start_ms=HOUR,
    end_ms=HOUR + 1,
    event_name="api_calls",
    stripe_customer="cus_acme",
    ours=5,
    theirs="4",
    unresolved=0,
    verdict="short",
    checked_ms=HOUR + 2,
)


async def test_the_newest_comparison_of_a_series_is_kept(database: Database) -> None:
    old = COMPARISON
    new = replace(old, end_ms=HOUR + 3, ours=6, theirs="6.5", checked_ms=HOUR + 4)
    other = replace(old, stripe_customer="cus_b", verdict="equal")
    async with database.transaction() as tx:
        never = await reconciliation.last(tx)
        for found in (old, other, new, replace(old, start_ms=HOUR - 1)):
            await reconciliation.save(tx, found)

    async with database.reading() as tx:
        last = await reconciliation.last(tx)
        kept = await reconciliation.kept(tx, start_ms=HOUR)

    assert never == (None, 0)
    assert last == (HOUR + 4, 2)
    assert kept == {("api_calls", "cus_acme"): new, ("api_calls", "cus_b"): other}


async def test_a_webhook_is_stored_once_and_acted_on_in_order(
    database: Database,
) -> None:
    first, second = StripeEvent("evt_1", "t", "{}"), StripeEvent("evt_2", "t", "[]")
    async with database.transaction() as tx:
        was_new = await stripe_events.store(tx, second, now_ms=HOUR + 1)
        was_first = await stripe_events.store(tx, first, now_ms=HOUR)
        was_again = await stripe_events.store(tx, first, now_ms=HOUR + 5)
        both = await stripe_events.waiting(tx, limit=5)
        one = await stripe_events.waiting(tx, limit=1)
        none_dropped = await stripe_events.unexplained(tx)
        await stripe_events.finish(tx, "evt_1", errors=5, found=2, reason="r")
        await stripe_events.finish(tx, "evt_2", errors=1, found=1, reason="r")
        left = await stripe_events.waiting(tx, limit=5)
        dropped = await stripe_events.unexplained(tx)
        await stripe_events.forget(tx, before_ms=HOUR + 1)
        forgotten = await stripe_events.unexplained(tx)
        again = await stripe_events.store(tx, second, now_ms=HOUR)

    assert (was_new, was_first, was_again, again) == (True, True, False, False)
    assert both == [first, second]
    assert one == [first]
    assert left == []
    assert (none_dropped, dropped, forgotten) == (0, 3, 0)
    assert isinstance(dropped, int)


async def test_rows_are_found_by_the_key_that_they_went_with(
    database: Database,
) -> None:
    ids = await add_rows(database, *(new_row(i) for i in range(3)))
    await send(database, *ids[:2], batch_key="batch")

    async with database.reading() as tx:
        own = await stripe_events.rows_of_key(tx, "batch", "id-2")
        together = await stripe_events.rows_of_key(tx, "batch", "unknown")
        nothing = await stripe_events.rows_of_key(tx, "unknown", "unknown")

    assert [row.id for row in own] == [ids[2]]
    assert [row.id for row in together] == ids[:2]
    assert nothing == []


async def test_what_was_counted_is_taken_back_once(database: Database) -> None:
    counted, dead = await add_rows(database, new_row(0), new_row(1))
    await end_in(database, "confirmed", counted)
    await end_in(database, "dead", dead)

    async with database.transaction() as tx:
        news = [
            await stripe_events.reject(
                tx, row_id, state="rejected", reason="late", now_ms=HOUR + 3
            )
            for row_id in (counted, counted, dead)
        ]

    row = await row_of(database, counted)
    assert news == [True, False, False]
    assert (row.state, row.reason, row.settled_ms) == ("rejected", "late", HOUR + 3)
