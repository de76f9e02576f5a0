"""The event stream under attack: sessions that end, and batches of which half is taken."""

from meterline_sidecar.access.secret import Secret
from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.stripe.pacing import Rate
from meterline_sidecar.stripe.reconcile import Reconciler
from meterline_sidecar.stripe.webhooks import Webhooks
from tests.integration.stripe.test_report_rules import go_live
from tests.outbox_rows import EARLIER_MS, Shop
from tests.stripe_server.faults import Fault
from tests.stripe_server.v2 import sign

SECRET = "whsec_test"


def webhooks(shop: Shop) -> Webhooks:
    return Webhooks(
        shop.database,
        shop.stripe(),
        secrets=lambda: [Secret(SECRET)],
        clock=shop.clock,
        wall=shop.wall,
    )


async def hear(shop: Shop, hooks: Webhooks) -> None:
    for body in shop.server.streams.notify():
        header = sign(body, SECRET, at_s=shop.clock.now_ms() // 1000)
        assert await hooks.receive(body, header)
    await hooks.process()


async def reconcile(shop: Shop) -> None:
    shop.clock.time_ms += HOUR_MS + 1
    await Reconciler(shop.database, shop.stripe(), clock=shop.clock).run(
        start_ms=EARLIER_MS - DAY_MS, end_ms=shop.clock.now_ms()
    )


async def test_a_session_that_ended_under_many_batches_is_opened_once_again(
    shop: Shop,
) -> None:
    go_live(shop)
    for c in range(500):
        await shop.add(1, customer=f"c{c}")
    reporter = shop.reporter(stream_above_per_s=1)
    await reporter.run()
    assert (shop.server.streams.sessions, shop.server.streams.requests) == (1, 5)
    shop.clock.time_ms += HOUR_MS
    for c in range(500):
        await shop.add(1, customer=f"c{c}", part=1)

    for _ in range(5):
        shop.wall.time_ms += 1_000
        await reporter.run()

    assert (await shop.counts())["confirmed"] == 1_000
    assert len(shop.server.account.events) == 1_000
    assert shop.server.streams.sessions == 2


async def test_a_batch_of_which_half_is_dropped_is_settled_by_comparing(
    shop: Shop,
) -> None:
    go_live(shop)
    shop.server.account.customers = {f"cus_c{c}" for c in range(35)}
    for c in range(70):
        await shop.add(2, customer=f"c{c}")
    reporter = shop.reporter(stream_above_per_s=1)
    await reporter.run()
    assert (await shop.counts())["confirmed"] == 70
    hooks = webhooks(shop)

    await hear(shop, hooks)
    assert (await shop.counts())["unresolved"] == 70  # which ones is not said

    shop.server.account.customers = None  # somebody made the others meanwhile
    await reconcile(shop)
    counts = await shop.counts()
    assert (counts["confirmed"], counts["pending"]) == (35, 35)
    shop.wall.time_ms += 1_000
    await reporter.run()
    assert (await shop.counts())["confirmed"] == 70
    assert {shop.total(f"c{c}") for c in range(70)} == {2}


async def test_a_limit_on_the_stream_slows_it_and_loses_nothing(shop: Shop) -> None:
    go_live(shop)
    for c in range(600):
        await shop.add(1, customer=f"c{c}")
    shop.server.faults.queued.extend([Fault.LIMIT_ENDPOINT_RATE] * 4)
    rate = Rate(400, 0)
    reporter = shop.reporter(rate=rate, stream_above_per_s=1)

    for _ in range(20):
        shop.wall.time_ms += 1_000
        await reporter.run()

    assert rate.per_s < 400
    assert (await shop.counts())["confirmed"] == 600
    assert len(shop.server.account.events) == 600
