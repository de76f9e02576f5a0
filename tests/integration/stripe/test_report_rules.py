"""Rates, accounts, the stream, and two sidecars: the reporter's finer rules."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from meterline_sidecar.access.secret import Secret
from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.store import outbox
from meterline_sidecar.stripe.api import StripeApi
from meterline_sidecar.stripe.enqueue import SETTLE_MS
from meterline_sidecar.stripe.meter_events import (
    MeterEvent,
    Outcome,
    Unknown,
    identifier,
    meter_event,
)
from meterline_sidecar.stripe.pacing import Rate
from meterline_sidecar.stripe.reconcile import Reconciler
from tests.integration.stripe.test_copy_guard import restore
from tests.integration.stripe.test_enqueue import Books
from tests.outbox_rows import EARLIER_MS, Shop
from tests.ports import Port
from tests.stripe_server.faults import Fault

LIVE_KEY = "sk_live_meterline"


def go_live(shop: Shop) -> None:
    shop.keys.append(Secret(LIVE_KEY))
    shop.server.keys.add(LIVE_KEY)


async def test_a_resend_25_hours_later_counts_twice_at_stripe_so_we_do_not(
    shop: Shop,
) -> None:
    row_id = await shop.add(7)
    shop.server.faults.queued.append(
        Fault.RESET_AFTER
    )  # counted; no webhook is configured
    await shop.reporter().run()
    event = meter_event(await shop.row(row_id))
    shop.clock.time_ms += 25 * HOUR_MS

    await shop.report()

    assert shop.total() == 7
    await shop.stripe().send(event)  # what we did not do: Stripe has forgotten it
    assert shop.total() == 14


async def test_an_outage_of_40_days_expires_what_is_too_old_and_sends_the_rest(
    shop: Shop,
) -> None:
    start_ms = EARLIER_MS
    await shop.server.close()
    port = Port(int(shop.base.rsplit(":", 1)[1]))
    rows: dict[int, int] = {}
    for day in range(40):
        shop.clock.time_ms = start_ms + day * DAY_MS + 2 * HOUR_MS
        rows[day] = await shop.add(1, hour_ms=start_ms + day * DAY_MS)
        await shop.reporter().run()
    await shop.server.start(port.number)
    port.close()

    await shop.report()

    states = {day: (await shop.row(row)).state for day, row in rows.items()}
    expired = [day for day, state in states.items() if state == "expired"]
    assert expired == list(range(6))
    assert set(states.values()) == {"expired", "confirmed"}
    assert shop.total() == 34


async def test_a_sandbox_key_and_a_live_one_do_not_share_a_ledger(shop: Shop) -> None:
    await shop.add(7)
    await shop.report()
    late = await shop.add(5, part=1)
    go_live(shop)
    reporter = shop.reporter()

    await reporter.run()

    assert (await shop.row(late)).state == "pending"
    assert "reports to a sandbox" in (reporter.problem or "")
    assert shop.total() == 7


async def test_two_sidecars_on_one_account_add_up(shop: Shop, tmp_path: Path) -> None:
    await shop.add(7)
    other = await Shop.open(tmp_path / "other.db")
    await other.server.close()
    other.base = shop.base
    async with other.database.transaction() as tx:
        row = outbox.NewRow(
            customer="acme",
            stripe_customer="cus_acme",
            meter="api_calls",
            event_name="api_calls",
            mode="delta",
            hour_ms=EARLIER_MS,
            part=0,
            value=5,
            identifier=identifier(
                "another install",
                customer="acme",
                event_name="api_calls",
                hour_ms=EARLIER_MS,
                part=0,
            ),
            created_ms=0,
        )
        await outbox.add(tx, row)

    await asyncio.gather(shop.report(), other.report())

    assert shop.total() == 12
    await other.server.start()
    await other.close()


async def test_the_rate_gives_way_to_a_limit_and_everything_arrives(
    shop: Shop,
) -> None:
    for c in range(60):
        await shop.add(1, customer=f"c{c}")
    shop.server.faults.queued.extend([Fault.LIMIT_ENDPOINT_RATE] * 5)
    reporter = shop.reporter(rate=400)

    for _ in range(50):
        shop.wall.time_ms += 1_000
        await reporter.run()
        if (await shop.counts())["confirmed"] == 60:
            break

    assert (await shop.counts())["confirmed"] == 60
    assert len(shop.server.account.events) == 60


async def test_a_lock_on_one_customer_slows_nobody_else(shop: Shop) -> None:
    rate = Rate(100, 0)
    reporter = shop.reporter(rate=rate)
    shop.server.faults.queued.extend([Fault.LOCK_TIMEOUT, Fault.LIMIT_RESOURCE])
    await shop.add(1, customer="a")
    await shop.add(1, customer="b")

    await reporter.run()

    assert rate.per_s == 100


class Picky:
    """Stripe, with an event name for which every request fails."""

    is_live = False

    def __init__(self, stripe: StripeApi) -> None:
        self._stripe = stripe

    async def send(self, event: MeterEvent) -> Outcome:
        if event.event_name == "broken":
            return Unknown("HTTP 500", needs_new_key=True)
        return await self._stripe.send(event)

    async def stream(self, events: Sequence[MeterEvent], *, key: str) -> Outcome:
        raise NotImplementedError


async def test_an_event_name_that_always_fails_holds_up_no_other(shop: Shop) -> None:
    for c in range(30):
        await shop.add(1, customer=f"c{c}", event_name="broken")
    reporter = shop.reporter(Picky(shop.stripe()))
    for _ in range(5):
        shop.wall.time_ms += 1_000
        await reporter.run()
    problem = reporter.problem
    good = [await shop.add(2, customer=f"c{c}") for c in range(30)]

    reporter.hurry()
    await reporter.run()

    assert problem == "HTTP 500"
    assert {(await shop.row(row_id)).state for row_id in good} == {"confirmed"}


class TestStream:
    async def test_a_large_backlog_goes_a_hundred_rows_at_a_time(
        self, shop: Shop
    ) -> None:
        go_live(shop)
        for c in range(250):
            await shop.add(2, customer=f"c{c}")
        reporter = shop.reporter(stream_above_per_s=1)

        await reporter.run()

        assert (await shop.counts())["confirmed"] == 250
        assert shop.server.streams.requests == 3
        assert all(shop.total(f"c{c}") == 2 for c in range(250))

    async def test_a_small_backlog_goes_one_by_one(self, shop: Shop) -> None:
        go_live(shop)
        for c in range(50):
            await shop.add(2, customer=f"c{c}")

        await shop.reporter(stream_above_per_s=1).run()

        assert (await shop.counts())["confirmed"] == 50
        assert shop.server.streams.requests == 0

    async def test_a_sandbox_has_no_stream(self, shop: Shop) -> None:
        for c in range(70):
            await shop.add(2, customer=f"c{c}")

        await shop.reporter(stream_above_per_s=1).run()

        assert (await shop.counts())["confirmed"] == 70
        assert shop.server.streams.requests == 0

    async def test_corrections_down_go_by_themselves(self, shop: Shop) -> None:
        go_live(shop)
        for c in range(70):
            await shop.add(-1 if c % 10 == 0 else 1, customer=f"c{c}")

        await shop.reporter(stream_above_per_s=1).run()

        assert (await shop.counts())["confirmed"] == 70
        assert shop.total("c0") == -1
        assert shop.server.streams.requests == 1

    @pytest.mark.parametrize(
        "fault", [Fault.RESET_AFTER, Fault.RESET_BEFORE, Fault.HALF_BODY]
    )
    async def test_a_lost_answer_is_asked_for_again_and_counts_once(
        self, shop: Shop, fault: Fault
    ) -> None:
        go_live(shop)
        for c in range(70):
            await shop.add(1, customer=f"c{c}")
        shop.server.faults.queued.append(fault)
        reporter = shop.reporter(stream_above_per_s=1)

        for _ in range(10):
            shop.wall.time_ms += 1_000
            await reporter.run()

        assert (await shop.counts())["confirmed"] == 70
        assert len(shop.server.account.events) == 70

    async def test_a_refused_batch_is_sent_row_by_row(self, shop: Shop) -> None:
        go_live(shop)
        for c in range(70):
            await shop.add(1, customer=f"c{c}")
        shop.server.faults.queued.extend([Fault.REFUSED, Fault.REFUSED])
        reporter = shop.reporter(stream_above_per_s=1)

        for _ in range(10):
            shop.wall.time_ms += 1_000
            await reporter.run()

        counts = await shop.counts()
        assert (counts["confirmed"], counts["dead"]) == (69, 1)

    async def test_an_expired_session_is_opened_again(self, shop: Shop) -> None:
        go_live(shop)
        for c in range(70):
            await shop.add(1, customer=f"c{c}")
        reporter = shop.reporter(stream_above_per_s=1)
        await reporter.run()
        shop.clock.time_ms += HOUR_MS
        for c in range(70):
            await shop.add(1, customer=f"c{c}", part=1)

        for _ in range(5):
            shop.wall.time_ms += 1_000
            await reporter.run()

        assert (await shop.counts())["confirmed"] == 140
        assert len(shop.server.account.events) == 140


@pytest.mark.parametrize(
    ("date", "ahead_s"),
    [("Fri, 02 Jan 1970 00:00:00 GMT", 1_000_000_000), ("garbage", 0), (None, 0)],
)
async def test_a_clock_that_differs_from_stripes_is_noticed(
    shop: Shop, date: str | None, ahead_s: int
) -> None:
    await shop.add(7)
    shop.server.date = date
    api = shop.stripe()

    await shop.reporter(api).run()

    assert (api.clock_ahead_s > ahead_s) if ahead_s else (api.clock_ahead_s == 0)


async def test_hours_that_a_copy_issues_again_are_held_and_confirmed(
    shop: Shop, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    books = Books(shop.database, shop.clock)
    await books.open()
    await books.use({"calls": 7}, time_ms=EARLIER_MS)
    await shop.database.copy_to(copy)
    shop.clock.time_ms += HOUR_MS + SETTLE_MS
    (issued,) = await books.enqueue()
    await shop.report()
    await restore(shop, copy)
    shop.clock.time_ms += 25 * HOUR_MS  # by now Stripe would count it again
    await shop.report()
    books.database = shop.database

    (again,) = await books.enqueue()
    await shop.report()

    assert again.identifier == issued.identifier
    assert (again.state, shop.total()) == ("unresolved", 7)
    shop.clock.time_ms += HOUR_MS  # until now another copy's last words may be missing
    (line,) = await Reconciler(shop.database, shop.stripe(), clock=shop.clock).run(
        start_ms=EARLIER_MS - DAY_MS, end_ms=shop.clock.now_ms()
    )
    assert (line.verdict, line.ours) == ("equal", 7)
    assert ((await shop.row(again.id)).state, shop.total()) == ("confirmed", 7)


async def test_a_meter_that_counts_otherwise_is_not_told_and_holds_up_no_other(
    shop: Shop,
) -> None:
    shop.server.account.add_meter("tokens")
    held = await shop.add(7)
    other = await shop.add(5, event_name="tokens")
    reporter = shop.reporter()
    reporter.hold({"api_calls": "it counts, where ours adds up"})

    for _ in range(3):
        reporter.hurry()
        await reporter.run()

    row = await shop.row(held)
    assert (row.state, row.reason) == ("parked", "it counts, where ours adds up")
    assert (await shop.row(other)).state == "confirmed"
    assert shop.total() == 0

    reporter.hold({})
    await reporter.run()

    assert (await shop.row(held)).state == "confirmed"


async def test_a_row_that_was_parked_for_its_meter_goes_after_a_restart(
    shop: Shop,
) -> None:
    held = await shop.add(7)
    reporter = shop.reporter()
    reporter.hold({"api_calls": "it counts, where ours adds up"})
    await reporter.run()

    await shop.reporter().run()

    assert (await shop.row(held)).state == "confirmed"


async def test_a_clock_that_was_ahead_lets_no_row_wait(shop: Shop) -> None:
    row_id = await shop.add(7)
    shop.server.faults.queued.append(Fault.CONFLICT)
    shop.wall.time_ms += 30 * DAY_MS
    await shop.reporter().run()
    assert (await shop.row(row_id)).state == "pending"
    shop.wall.time_ms -= 30 * DAY_MS

    await shop.reporter().run()

    assert (await shop.row(row_id)).state == "confirmed"
