"""Stripe's own totals against the ledger: what is missing shows, doubts are settled."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.errors import RetryLater
from meterline_sidecar.stripe.by_hand import RowsByHand
from meterline_sidecar.stripe.calls import Method
from meterline_sidecar.stripe.comparison import ReconciledSeries
from meterline_sidecar.stripe.meter_events import meter_event
from meterline_sidecar.stripe.reconcile import Reconciler
from tests.outbox_rows import EARLIER_MS, Shop
from tests.stripe_server.faults import Fault


async def reconcile(shop: Shop) -> list[ReconciledSeries]:
    reconciler = Reconciler(shop.database, shop.stripe(), clock=shop.clock)
    return await reconciler.run(
        start_ms=EARLIER_MS - 40 * DAY_MS, end_ms=shop.clock.now_ms()
    )


async def test_equal_totals_are_equal_whatever_way_they_went(shop: Shop) -> None:
    await shop.add(7)
    await shop.add(-2, part=1)
    await shop.add(5, hour_ms=EARLIER_MS - 26 * HOUR_MS)
    shop.server.faults.queued.extend([Fault.RESET_AFTER, Fault.SAVED_500_AFTER])
    await shop.report()

    (line,) = await reconcile(shop)

    assert (line.verdict, line.ours, line.theirs) == ("equal", 10, Decimal(10))
    assert (line.customer, line.event_name) == ("acme", "api_calls")


async def test_a_silent_loss_is_missing_and_its_hour_is_named(shop: Shop) -> None:
    await shop.add(7)
    await shop.add(5, hour_ms=EARLIER_MS - HOUR_MS)
    shop.server.faults.queued.append(Fault.SILENT_LOSS)
    await shop.report()

    (line,) = await reconcile(shop)

    (hour,) = line.hours
    assert line.verdict == "missing"
    assert line.ours - int(line.theirs) == hour.ours - int(hour.theirs) > 0
    # Whoever reads it knows which row goes again, and that settles it.
    (row_id,) = hour.rows
    customers = {"acme": "cus_acme"}
    rows = RowsByHand(shop.database, customers=customers, clock=shop.clock)
    await rows.retry(row_id, is_certain=True)
    await shop.report()
    (line,) = await reconcile(shop)
    assert (line.verdict, line.theirs) == ("equal", Decimal(12))


async def test_what_somebody_else_reported_is_extra(shop: Shop) -> None:
    row_id = await shop.add(7)
    await shop.report()
    event = meter_event(await shop.row(row_id))
    foreign = type(event)(
        event.event_name, event.stripe_customer, 3, event.time_ms, "foreign", "foreign"
    )
    await shop.stripe().send(foreign)

    (line,) = await reconcile(shop)

    assert (line.verdict, line.ours, line.theirs) == ("extra", 7, Decimal(10))


async def leave_in_doubt(shop: Shop, fault: Fault) -> int:
    """Return a row that was sent once, with this fault, more than 23 hours ago."""
    row_id = await shop.add(7)
    shop.server.faults.queued.append(fault)
    await shop.reporter().run()
    shop.clock.time_ms += 25 * HOUR_MS
    await shop.report()
    assert (await shop.row(row_id)).state == "unresolved"
    return row_id


async def test_a_doubt_that_stripe_counted_is_confirmed(shop: Shop) -> None:
    row_id = await leave_in_doubt(shop, Fault.RESET_AFTER)

    (line,) = await reconcile(shop)

    assert line.verdict == "equal"
    assert (await shop.row(row_id)).state == "confirmed"
    assert shop.total() == 7


async def test_a_doubt_that_stripe_did_not_count_is_said_again(shop: Shop) -> None:
    row_id = await leave_in_doubt(shop, Fault.RESET_BEFORE)

    await reconcile(shop)
    await shop.report()
    (line,) = await reconcile(shop)

    old = await shop.row(row_id)
    new = await shop.row(old.replaced_by or 0)
    assert (old.state, new.state, new.value) == ("dead", "confirmed", 7)
    assert new.identifier != old.identifier
    assert line.verdict == "equal"
    assert shop.total() == 7


async def test_a_doubt_beside_a_difference_is_left_to_a_person(shop: Shop) -> None:
    row_id = await leave_in_doubt(shop, Fault.RESET_BEFORE)
    event = meter_event(await shop.row(row_id))
    foreign = type(event)(
        event.event_name, event.stripe_customer, 3, event.time_ms, "foreign", "foreign"
    )
    await shop.stripe().send(foreign)

    (line,) = await reconcile(shop)

    assert line.verdict == "unresolved"
    assert (await shop.row(row_id)).state == "unresolved"


async def test_a_fresh_doubt_waits_until_stripe_has_settled(shop: Shop) -> None:
    row_id = await leave_in_doubt(shop, Fault.RESET_AFTER)
    async with shop.database.transaction() as tx:
        await tx.execute(
            "UPDATE outbox SET sent_ms = ? WHERE id = ?",
            (shop.clock.now_ms() - HOUR_MS + 1, row_id),
        )

    (line,) = await reconcile(shop)

    assert line.verdict == "unresolved"


async def test_a_set_hour_is_compared_by_its_last_total(shop: Shop) -> None:
    shop.server.account.add_meter("storage", window="hour")
    await shop.add(7, event_name="storage", mode="set")
    await shop.add(4, event_name="storage", mode="set", part=1)
    await shop.add(2, event_name="storage", mode="set", hour_ms=EARLIER_MS - HOUR_MS)
    await shop.report()

    (line,) = await reconcile(shop)

    assert (line.verdict, line.ours, line.theirs) == ("equal", 6, Decimal(6))


async def test_a_latest_meter_is_compared_by_its_last_hour(shop: Shop) -> None:
    shop.server.account.add_meter("storage", formula="last")
    await shop.add(9, event_name="storage", mode="set", hour_ms=EARLIER_MS - HOUR_MS)
    await shop.add(4, event_name="storage", mode="set")
    await shop.report()

    (line,) = await reconcile(shop)

    assert (line.verdict, line.ours) == ("equal", 4)


async def test_what_waits_is_not_missing_and_what_died_is(shop: Shop) -> None:
    await shop.add(7)
    await shop.report()
    await shop.add(5, part=1)
    await shop.add(3, customer="beta", hour_ms=EARLIER_MS)
    async with shop.database.transaction() as tx:
        await tx.execute("UPDATE outbox SET state = 'dead' WHERE customer = 'beta'")

    acme, beta = await reconcile(shop)

    assert (acme.verdict, acme.waiting) == ("equal", 1)
    assert (beta.verdict, beta.failed) == ("missing", 1)


async def test_usage_that_waits_for_a_meter_or_a_customer_is_missing(
    shop: Shop,
) -> None:
    await shop.add(3, event_name="tokens")
    await shop.report()
    nobody = await shop.add(4, customer="beta")
    async with shop.database.transaction() as tx:
        await tx.execute(
            "UPDATE outbox SET state = 'parked', stripe_customer = NULL WHERE id = ?",
            (nobody,),
        )

    tokens, beta = await reconcile(shop)

    assert (tokens.verdict, tokens.ours, tokens.waiting) == ("missing", 3, 1)
    assert (beta.verdict, beta.ours, beta.waiting) == ("missing", 4, 1)
    assert (beta.customer, beta.stripe_customer) == ("beta", None)


async def test_a_row_in_doubt_that_goes_again_is_not_called_extra(shop: Shop) -> None:
    await shop.add(7)
    shop.server.faults.queued.append(Fault.RESET_AFTER)
    await shop.reporter().run()

    (line,) = await reconcile(shop)

    assert (line.verdict, line.ours, line.theirs) == ("unresolved", 0, Decimal(7))


async def test_an_answer_that_is_no_list_is_asked_for_later(shop: Shop) -> None:
    await shop.add(7)
    await shop.report()

    class Elsewhere:
        async def call(
            self,
            method: Method,
            path: str,
            params: Mapping[str, object] | None = None,
            *,
            key: str | None = None,
        ) -> dict[str, Any]:
            return {"object": f"{method} {path} {params} {key}"}

    reconciler = Reconciler(shop.database, Elsewhere(), clock=shop.clock)

    with pytest.raises(RetryLater, match="no list"):
        await reconciler.run(start_ms=0, end_ms=EARLIER_MS + HOUR_MS)


async def test_an_event_name_without_meter_is_missing(shop: Shop) -> None:
    await shop.add(7)
    await shop.report()
    shop.server.account.meters.clear()

    (line,) = await reconcile(shop)

    assert (line.verdict, line.theirs) == ("missing", Decimal(0))


@pytest.mark.parametrize("n_customers", [1, 30])
async def test_one_read_for_a_customer_and_meter_when_all_is_well(
    shop: Shop, n_customers: int
) -> None:
    for c in range(n_customers):
        for hour in range(5):
            hour_ms = EARLIER_MS - hour * HOUR_MS
            await shop.add(1, customer=f"c{c}", hour_ms=hour_ms)
    await shop.report()
    shop.server.reads = 0

    lines = await reconcile(shop)

    assert {line.verdict for line in lines} == {"equal"}
    assert shop.server.reads == n_customers + 1


@pytest.mark.parametrize(
    ("month", "lost"), [(4 * 10**12, 3), (9 * 10**14, 800), (8 * 10**15, 1)]
)
async def test_a_small_loss_beside_a_large_total_is_missing(
    shop: Shop, month: int, lost: int
) -> None:
    for i in range(1 + month // 10**15):
        value = min(month - i * 10**15, 10**15 - 1)
        await shop.add(max(value, 1), hour_ms=EARLIER_MS - (i + 2) * HOUR_MS)
    await shop.report()
    await shop.add(lost)
    shop.server.faults.queued.append(Fault.SILENT_LOSS)
    await shop.report()

    (line,) = await reconcile(shop)

    assert line.verdict == "missing"
    assert line.ours - int(line.theirs) == lost


async def test_hours_that_differ_are_not_equal_though_the_month_is(shop: Shop) -> None:
    await shop.add(7)
    lost = await shop.add(5, hour_ms=EARLIER_MS - HOUR_MS)
    shop.server.faults.queued.append(Fault.SILENT_LOSS)
    await shop.report()
    event = meter_event(await shop.row(lost))
    lost_hour_ms = next(
        ms
        for ms in (EARLIER_MS, EARLIER_MS - HOUR_MS)
        if not any(e.timestamp_s * 1000 == ms for e in shop.server.account.events)
    )
    value = 7 if lost_hour_ms == EARLIER_MS else 5
    elsewhere_ms = EARLIER_MS - 9 * HOUR_MS
    await shop.stripe().send(
        replace(
            event, value=value, time_ms=elsewhere_ms, identifier="other", key="other"
        )
    )

    (line,) = await reconcile(shop)

    assert (line.ours, line.theirs, line.verdict) == (12, Decimal(12), "missing")
    assert [(h.ours, int(h.theirs)) for h in line.hours] == [(0, value), (value, 0)]


async def test_meters_are_found_on_every_page(shop: Shop) -> None:
    for i in range(150):
        shop.server.account.add_meter(f"other_{i}")
    shop.server.account.add_meter("tokens")
    await shop.add(7, event_name="tokens")
    await shop.report()

    (line,) = await reconcile(shop)

    assert line.verdict == "equal"


async def test_a_passing_failure_of_a_read_is_asked_again(shop: Shop) -> None:
    await shop.add(7)
    await shop.report()
    shop.server.read_faults.extend([503, 429, 500])

    (line,) = await reconcile(shop)

    assert line.verdict == "equal"
