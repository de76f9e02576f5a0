"""Long runs of the reporter: ``make soak``. The suite has small versions of them."""

import os
import random
import resource
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.store import outbox
from meterline_sidecar.stripe.meter_events import identifier
from tests.outbox_rows import EARLIER_MS, Shop

pytestmark = [
    pytest.mark.fault,
    pytest.mark.timeout(1_200),
    pytest.mark.skipif("SOAK" not in os.environ, reason="takes minutes: make soak"),
]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncGenerator[Shop]:
    shop = await Shop.open(tmp_path / "meterline.db")
    yield shop
    await shop.close()


async def fill(shop: Shop, n_rows: int, *, n_customers: int) -> dict[str, int]:
    """Add rows of random values; return what each customer must be billed."""
    dice = random.Random(n_rows)
    totals: dict[str, int] = {}
    async with shop.database.transaction() as tx:
        for i in range(n_rows):
            customer = f"c{i % n_customers}"
            hour_ms = EARLIER_MS - i // n_customers * HOUR_MS
            value = dice.randint(1, 1_000)
            totals[customer] = totals.get(customer, 0) + value
            await outbox.add(
                tx,
                outbox.NewRow(
                    customer=customer,
                    stripe_customer=f"cus_{customer}",
                    meter="api_calls",
                    event_name="api_calls",
                    mode="delta",
                    hour_ms=hour_ms,
                    part=0,
                    value=value,
                    identifier=identifier(
                        "install",
                        customer=customer,
                        event_name="api_calls",
                        hour_ms=hour_ms,
                        part=0,
                    ),
                    created_ms=0,
                ),
            )
    return totals


async def test_ten_thousand_rows_with_forty_percent_faults(shop: Shop) -> None:
    totals = await fill(shop, 10_000, n_customers=500)
    shop.server.faults.rate = 0.4
    shop.server.faults.slow_s = 0.01

    await shop.report(runs=2_000)

    assert (await shop.counts())["confirmed"] == 10_000
    assert {c: shop.total(c) for c in totals} == totals


async def test_five_thousand_rows_at_25_a_second_starve_nobody(shop: Shop) -> None:
    totals = await fill(shop, 5_000, n_customers=40)
    shop.server.latency_s = 0.02
    reporter = shop.reporter(rate=25)

    for _ in range(6):
        await reporter.run()

    sent = [event.customer for event in shop.server.account.events]
    first = {customer: sent.index(customer) for customer in set(sent)}
    assert (await shop.counts())["confirmed"] == 5_000
    assert max(first.values()) < 80
    assert {c: shop.total(c) for c in totals} == totals
    assert shop.server.most_at_once == 1


async def test_memory_is_flat_over_a_hundred_thousand_rows(shop: Shop) -> None:
    await fill(shop, 100_000, n_customers=2_000)
    reporter = shop.reporter()
    await reporter.run()  # warm: about a minute
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    while (await shop.counts())["pending"]:
        shop.server.account.forget_events()
        await reporter.run()

    after_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (await shop.counts())["confirmed"] == 100_000
    assert after_kib - before_kib < 64 * 1024
