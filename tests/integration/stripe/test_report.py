"""The reporter against a strict Stripe over real HTTP: every unit counts once."""

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from meterline_sidecar.access.secret import Secret
from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.store import outbox
from meterline_sidecar.store import outbox_sending as sending
from meterline_sidecar.stripe.meter_events import (
    Delivered,
    MeterEvent,
    Outcome,
    meter_event,
)
from tests.outbox_rows import EARLIER_MS, KEY, Shop
from tests.ports import Port
from tests.stripe_server.faults import PASSING, Fault


async def test_a_row_is_counted_once_with_its_hour_and_identifier(shop: Shop) -> None:
    row_id = await shop.add(7)

    await shop.report()

    row = await shop.row(row_id)
    (event,) = shop.server.account.events
    assert row.state == "confirmed"
    assert row.request_id is not None
    assert event.customer == "cus_acme"
    assert event.value == 7
    assert event.timestamp_s * 1000 == EARLIER_MS
    assert event.identifier == row.identifier
    assert event.key == f"{row.identifier}-0"


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.value)
async def test_a_passing_fault_neither_loses_nor_doubles(
    shop: Shop, fault: Fault
) -> None:
    row_id = await shop.add(7)
    shop.server.faults.queued.extend([fault, fault])

    await shop.report()

    row = await shop.row(row_id)
    assert row.state == "confirmed", row.reason
    assert shop.total() == 7


async def test_a_duplicate_answer_means_delivered(shop: Shop) -> None:
    row_id = await shop.add(7)
    shop.server.faults.queued.append(Fault.UNSAVED_500_AFTER)

    await shop.report()

    row = await shop.row(row_id)
    assert (row.state, row.reason) == ("confirmed", "duplicate")
    assert shop.total() == 7


async def test_a_key_that_stripe_knows_with_other_content_asks_for_a_person(
    shop: Shop,
) -> None:
    row_id = await shop.add(7)
    event = meter_event(await shop.row(row_id))
    await shop.stripe().send(replace(event, value=6))

    await shop.report()

    row = await shop.row(row_id)
    assert row.state == "unresolved"
    assert "same parameters" in (row.reason or "")
    assert shop.total() == 6


async def test_a_saved_500_is_not_asked_for_again_under_its_key(shop: Shop) -> None:
    row_id = await shop.add(7)
    shop.server.faults.queued.append(Fault.SAVED_500_BEFORE)

    await shop.report()

    row = await shop.row(row_id)
    assert (row.state, row.key_no) == ("confirmed", 1)
    assert shop.server.seen["replayed"] == 0


async def test_a_lost_answer_is_asked_for_again_under_the_same_key(shop: Shop) -> None:
    row_id = await shop.add(7)
    shop.server.faults.queued.append(Fault.RESET_AFTER)

    await shop.report()

    row = await shop.row(row_id)
    assert (row.state, row.key_no, row.reason) == ("confirmed", 0, "replayed")


async def test_forty_percent_of_faults_leave_exact_totals(shop: Shop) -> None:
    shop.server.faults.rate = 0.4
    shop.server.faults.slow_s = 0.01
    for i in range(300):
        hour_ms = EARLIER_MS - i // 50 * HOUR_MS
        await shop.add(i, customer=f"c{i % 50}", hour_ms=hour_ms)

    await shop.report()

    assert (await shop.counts())["confirmed"] == 300
    for c in range(50):
        assert shop.total(f"c{c}") == sum(range(c, 300, 50))


async def test_a_row_that_was_being_sent_when_we_died_is_sent_again(
    shop: Shop,
) -> None:
    sent = await shop.add(7)
    unsent = await shop.add(5, customer="beta")
    async with shop.database.transaction() as tx:
        rows = await outbox.page(tx)
        await sending.mark_sending(tx, rows, now_ms=shop.clock.now_ms())
    await shop.stripe().send(meter_event(rows[0]))

    await shop.report()

    assert (await shop.row(sent)).state == "confirmed"
    assert (await shop.row(unsent)).state == "confirmed"
    assert (shop.total(), shop.total("beta")) == (7, 5)


async def test_a_row_is_on_disk_as_sending_before_the_request(shop: Shop) -> None:
    row_id = await shop.add(7)
    seen: list[str] = []

    class Spy:
        is_live = False

        async def send(self, event: MeterEvent) -> Outcome:
            seen.append((await shop.row(row_id)).state)
            return Delivered("req_1", "accepted")

        async def stream(self, events: Sequence[MeterEvent], *, key: str) -> Outcome:
            raise NotImplementedError

    await shop.reporter(Spy()).run()

    assert seen == ["sending"]


async def test_a_delta_in_doubt_for_23_hours_is_never_sent_again(shop: Shop) -> None:
    row_id = await shop.add(7)
    shop.server.faults.queued.append(Fault.RESET_AFTER)
    await shop.reporter().run()
    shop.clock.time_ms += 25 * HOUR_MS

    await shop.report()

    row = await shop.row(row_id)
    assert row.state == "unresolved"
    assert shop.total() == 7


async def test_a_set_hour_in_doubt_is_sent_again_a_day_later(shop: Shop) -> None:
    shop.server.account.add_meter("storage", window="hour")
    row_id = await shop.add(7, event_name="storage", mode="set")
    shop.server.faults.queued.append(Fault.RESET_AFTER)
    await shop.reporter().run()
    shop.clock.time_ms += 25 * HOUR_MS

    await shop.report()

    assert (await shop.row(row_id)).state == "confirmed"
    assert shop.total(event_name="storage") == 7


async def test_a_later_total_waits_for_the_earlier_one(shop: Shop) -> None:
    shop.server.account.add_meter("storage", window="hour")
    await shop.add(7, event_name="storage", mode="set")
    await shop.add(9, event_name="storage", mode="set", part=1)
    shop.server.faults.queued.extend([Fault.UNSAVED_500_BEFORE] * 3)

    await shop.report()

    assert [int(e.value) for e in shop.server.account.events] == [7, 9]
    assert shop.total(event_name="storage") == 9


async def test_a_refused_row_dies_alone(shop: Shop) -> None:
    both = await shop.add(7), await shop.add(5, customer="beta")
    shop.server.faults.queued.append(Fault.REFUSED)

    await shop.report()

    # Both are sent at once: whichever comes first is refused.
    rows = sorted([await shop.row(one) for one in both], key=lambda row: row.state)
    assert [row.state for row in rows] == ["confirmed", "dead"]
    assert "Something is wrong with this" in (rows[1].reason or "")


async def test_an_event_name_without_meter_waits_and_holds_up_nobody(
    shop: Shop,
) -> None:
    for hour in range(3):
        await shop.add(1, event_name="tokens", hour_ms=EARLIER_MS - hour * HOUR_MS)
    good = await shop.add(5)
    reporter = shop.reporter()
    await reporter.run()
    parked = await shop.counts()
    shop.server.account.add_meter("tokens")

    await reporter.run()
    unasked = await shop.counts()
    reporter.hurry()
    await reporter.run()

    assert (parked["parked"], unasked["parked"]) == (3, 3)
    assert (await shop.row(good)).state == "confirmed"
    assert (await shop.counts())["confirmed"] == 4
    assert shop.total(event_name="tokens") == 3


async def test_a_revoked_key_stops_everything_and_loses_nothing(shop: Shop) -> None:
    for c in range(5):
        await shop.add(1, customer=f"c{c}")
    shop.server.keys = {"sk_test_new"}
    reporter = shop.reporter()

    await reporter.run()

    assert (await shop.counts())["pending"] == 5
    assert "401" in (reporter.problem or "")
    assert KEY not in (reporter.problem or "")

    shop.keys.append(Secret("sk_test_new"))
    for _ in range(20):
        shop.wall.time_ms += 1_000
        await asyncio.sleep(0.005)
        await reporter.run()

    assert (await shop.counts())["confirmed"] == 5
    assert reporter.problem is None


async def test_the_key_is_in_no_reason_even_if_stripe_repeats_it(shop: Shop) -> None:
    row_id = await shop.add(1)
    shop.server.keys.clear()

    await shop.reporter().run()

    reason = (await shop.row(row_id)).reason or ""
    assert "Invalid API Key provided: [secret]" in reason


async def test_usage_of_34_days_ago_is_shown_as_expired(shop: Shop) -> None:
    old = await shop.add(7, hour_ms=EARLIER_MS - 34 * DAY_MS)
    young = await shop.add(5, hour_ms=EARLIER_MS - 33 * DAY_MS)

    await shop.report()

    assert (await shop.row(old)).state == "expired"
    assert (await shop.row(young)).state == "confirmed"
    assert shop.total() == 5


async def test_never_two_in_flight_for_one_customer_and_meter(shop: Shop) -> None:
    shop.server.latency_s = 0.002
    for i in range(120):
        hour_ms = EARLIER_MS - i // 3 * HOUR_MS
        await shop.add(1, customer=f"c{i % 3}", hour_ms=hour_ms)

    await shop.report(runs=1)

    assert shop.server.most_at_once == 1
    assert (await shop.counts())["confirmed"] == 120


async def test_a_long_backlog_of_one_customer_does_not_starve_another(
    shop: Shop,
) -> None:
    for hour in range(100):
        await shop.add(1, customer="whale", hour_ms=EARLIER_MS - hour * HOUR_MS)
    await shop.add(1, customer="minnow")

    await shop.report(runs=1)

    places = [e.customer for e in shop.server.account.events]
    assert places.index("cus_minnow") < 5
    assert len(places) == 101


async def test_no_network_is_no_doubt_even_after_a_month(shop: Shop) -> None:
    row_id = await shop.add(7)
    await shop.server.close()
    port = Port(int(shop.base.rsplit(":", 1)[1]))
    for _ in range(3):
        await shop.reporter().run()

    row = await shop.row(row_id)
    assert (row.state, row.doubt_ms) == ("pending", None)

    await shop.server.start(port.number)
    port.close()
    shop.clock.time_ms += 30 * DAY_MS
    await shop.report()

    assert (await shop.row(row_id)).state == "confirmed"
    assert shop.total() == 7


async def test_no_key_sends_nothing_and_says_so(shop: Shop) -> None:
    row_id = await shop.add(7)
    shop.keys.clear()
    reporter = shop.reporter()

    await reporter.run()

    assert (await shop.row(row_id)).state == "pending"
    assert "no Stripe key" in (reporter.problem or "")


async def test_a_stopped_reporter_settles_what_is_in_flight(shop: Shop) -> None:
    for c in range(50):
        await shop.add(1, customer=f"c{c}")
    shop.server.latency_s = 0.02
    reporter = shop.reporter(rate=40)
    running = asyncio.create_task(reporter.run())
    while not shop.server.account.events:
        await asyncio.sleep(0.001)

    await reporter.stop()
    await running

    counts = await shop.counts()
    assert counts["sending"] == 0
    assert counts["confirmed"] == len(shop.server.account.events) < 50
