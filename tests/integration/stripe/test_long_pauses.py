"""Days without Stripe, and clocks that are set: nothing is given up that can be told."""

import pytest

from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.store import outbox
from meterline_sidecar.stripe import report
from meterline_sidecar.stripe.reconcile import Reconciler
from tests.integration.stripe.test_report_rules import go_live
from tests.outbox_rows import EARLIER_MS, Shop
from tests.stripe_server.faults import Fault


async def rows(shop: Shop) -> list[outbox.OutboxRow]:
    async with shop.database.reading() as tx:
        return await outbox.page(tx, limit=1_000)


async def test_an_outage_of_days_puts_few_rows_in_doubt(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each probe of another row would be one more that only a comparison settles."""
    monkeypatch.setattr(report, "_now_s", lambda: shop.wall.now_ms() / 1000)
    for c in range(400):
        await shop.add(1, customer=f"c{c}")
    shop.server.faults.every = Fault.UNSAVED_500_BEFORE
    reporter = shop.reporter()
    n_doubted: list[int] = []
    for n_runs in (30, 150):
        for _ in range(n_runs):
            shop.wall.time_ms += 61_000
            await reporter.run()
        n_doubted.append(sum(row.doubt_ms is not None for row in await rows(shop)))

    assert shop.server.seen["500"] >= 180  # a probe each time
    assert n_doubted[1] - n_doubted[0] <= 10

    shop.server.faults.every = None
    for _ in range(5):
        shop.wall.time_ms += 61_000
        await reporter.run()
    assert (await shop.counts())["confirmed"] == 400
    assert len(shop.server.account.events) == 400


async def test_what_a_clock_that_was_ahead_took_for_too_old_goes_after_all(
    shop: Shop,
) -> None:
    row_id = await shop.add(7)
    reporter = shop.reporter()
    shop.clock.time_ms += 40 * DAY_MS
    await reporter.run()
    assert (await shop.row(row_id)).state == "expired"
    shop.clock.time_ms -= 40 * DAY_MS

    await reporter.run()

    row = await shop.row(row_id)
    assert (row.state, shop.total()) == ("confirmed", 7)


async def test_so_it_does_after_a_restart_and_parked_rows_are_parked_again(
    shop: Shop,
) -> None:
    told = await shop.add(7)
    async with shop.database.transaction() as tx:
        unmapped = await outbox.add(
            tx,
            outbox.NewRow(
                *("beta", None, "api_calls", "api_calls", "delta", EARLIER_MS, 0, 5),
                identifier="unmapped",
                created_ms=shop.clock.now_ms(),
                state="parked",
            ),
        )
    shop.clock.time_ms += 40 * DAY_MS
    await shop.reporter().run()
    shop.clock.time_ms -= 40 * DAY_MS

    await shop.reporter().run()

    assert (await shop.row(told)).state == "confirmed"
    assert (await shop.row(unmapped)).state == "parked"


async def test_a_clock_that_is_behind_brings_nothing_back(shop: Shop) -> None:
    row_id = await shop.add(7)
    reporter = shop.reporter()
    shop.clock.time_ms += 36 * DAY_MS
    await reporter.run()

    shop.clock.time_ms = DAY_MS  # 1970, as without a battery
    await reporter.run()

    assert (await shop.row(row_id)).state == "expired"
    assert shop.server.account.events == []


@pytest.mark.parametrize("streams", [False, True])
async def test_hours_that_stripe_takes_for_the_future_wait_for_its_clock(
    shop: Shop, streams: bool
) -> None:
    """This machine's clock is ahead, and closed hours that have not begun."""
    if streams:
        go_live(shop)
    ids = [await shop.add(7, customer=f"c{c}") for c in range(3)]
    shop.server.account.now_s = lambda: (shop.clock.now_ms() - 5 * HOUR_MS) / 1000
    reporter = shop.reporter()
    for _ in range(3):
        shop.wall.time_ms += 61_000
        await reporter.run()

    found = [await shop.row(row_id) for row_id in ids]
    assert {(row.state, row.doubt_ms) for row in found} == {("pending", None)}
    assert "in the future" in str(found[0].reason)
    shop.server.account.now_s = lambda: shop.clock.now_ms() / 1000
    await shop.report()
    assert (await shop.counts())["confirmed"] == 3
    assert shop.total("c0") == 7


async def test_what_stripe_takes_for_too_old_is_too_old_and_not_refused(
    shop: Shop,
) -> None:
    """This machine's clock is behind."""
    row_id = await shop.add(7)
    shop.server.account.now_s = lambda: (shop.clock.now_ms() + 40 * DAY_MS) / 1000

    await shop.reporter().run()

    row = await shop.row(row_id)
    assert row.state == "expired"
    assert "more than 35 days in past" in str(row.reason)


async def test_the_comparison_by_itself_begins_with_what_is_in_doubt(
    shop: Shop,
) -> None:
    for c in range(5):
        await shop.add(1, customer=f"a{c}")
    await shop.report()
    shop.server.faults.queued.append(Fault.RESET_AFTER)
    doubted = await shop.add(1, customer="z")
    await shop.reporter().run()
    shop.clock.time_ms += 25 * HOUR_MS
    await shop.reporter().run()
    assert (await shop.row(doubted)).state == "unresolved"

    reconciler = Reconciler(shop.database, shop.stripe(), clock=shop.clock)
    start_ms = EARLIER_MS - DAY_MS
    end_ms = shop.clock.now_ms() // HOUR_MS * HOUR_MS
    n_done = await reconciler.watch(start_ms=start_ms, end_ms=end_ms, series_max=1)

    assert n_done == 1
    assert (await shop.row(doubted)).state == "confirmed"
