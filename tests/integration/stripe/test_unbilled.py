"""What Stripe will never bill is listed, with what it comes to, and why."""

from decimal import Decimal

import pytest

from meterline_pricing import Calendar, Period
from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.decimals import Number
from meterline_sidecar.meters import Totals
from meterline_sidecar.store.edge import rollups as counting
from meterline_sidecar.store.edge import usage
from meterline_sidecar.store.edge.usage import Key
from meterline_sidecar.store.rollups import DAYS
from meterline_sidecar.stripe.billed import BilledMeter
from meterline_sidecar.stripe.comparison import ByHand
from meterline_sidecar.stripe.unbilled import (
    GRACE_MS,
    LATE,
    NO_SUBSCRIPTION,
    NOBODY,
    TOO_OLD,
    Unbilled,
)
from tests.outbox_rows import EARLIER_MS, Shop

MONTH = Calendar().at(EARLIER_MS)
CALLS = BilledMeter("api_calls", "count", "api_calls", "delta")


def cents(
    customer: str, meter: str, month: Period, before: Number, after: Number
) -> tuple[Decimal, str] | None:
    assert (meter, month.start) == ("api_calls", MONTH.start)
    if customer == "gone":
        return None
    return Decimal(after - before) / 100, "usd"


def unbilled(shop: Shop) -> Unbilled:
    return Unbilled(
        shop.database, shop.stripe(), meters=[CALLS], amounts=cents, clock=shop.clock
    )


async def find(shop: Shop) -> list[ByHand]:
    return await unbilled(shop).find(start_ms=MONTH.start, end_ms=MONTH.end)


async def test_usage_learned_after_the_invoice_is_listed_with_its_amount(
    shop: Shop,
) -> None:
    await shop.add(20)
    await shop.report()
    assert await find(shop) == []
    shop.clock.time_ms = MONTH.end + GRACE_MS
    assert await find(shop) == []
    await shop.add(32, part=1)

    await shop.report()
    (told,) = await find(shop)

    assert (told.customer, told.quantity, told.reason) == ("acme", 32, LATE)
    assert (told.amount, told.currency) == (Decimal("0.32"), "usd")


async def test_usage_that_could_not_be_told_in_time_is_late_as_well(
    shop: Shop,
) -> None:
    await shop.add(20)
    shop.clock.time_ms = MONTH.end + GRACE_MS

    await shop.report()

    (late,) = await find(shop)
    assert (late.quantity, late.reason) == (20, LATE)


async def test_usage_that_is_told_within_the_grace_is_not_late(shop: Shop) -> None:
    await shop.add(20)
    shop.clock.time_ms = MONTH.end + GRACE_MS - 1
    await shop.report()
    shop.clock.time_ms += DAY_MS

    assert await find(shop) == []


@pytest.mark.parametrize(("now", "difference"), [(13, 6), (5, -2), (7, None)])
async def test_of_a_set_hour_the_change_is_late_and_not_the_whole(
    shop: Shop, now: int, difference: int | None
) -> None:
    (meter,) = shop.server.account.meters.values()
    meter.window = "hour"
    await shop.add(7, mode="set")
    await shop.report()
    shop.clock.time_ms = MONTH.end + 2 * GRACE_MS
    await shop.add(now, mode="set", part=1)
    await shop.report()

    found = await find(shop)

    assert [line.quantity for line in found] == ([difference] if difference else [])


async def test_usage_that_got_too_old_is_listed(shop: Shop) -> None:
    await shop.add(20, customer="gone")
    shop.clock.time_ms += 36 * DAY_MS
    await shop.report()

    (line,) = await find(shop)

    assert (line.quantity, line.reason, line.amount) == (20, TOO_OLD, None)


async def test_usage_that_nobody_pays_for_is_listed(shop: Shop) -> None:
    async with shop.database.transaction() as tx:
        generation = (await usage.add_generation(tx, "{}")).id
        await usage.complete(tx, generation)
        await usage.intern_groups(tx, ["{}"])
        await tx.execute("INSERT INTO subjects (id, name) VALUES (1, 's1')")
        key = Key(1, EARLIER_MS, 1)
        totals: Totals = {"api_calls": 9, "free": 4}
        await usage.put_totals(tx, generation, [(key, totals, 1)])
        day = (1, EARLIER_MS // DAY_MS * DAY_MS, 1)
        await counting.put_totals(tx, DAYS, generation, [(day, totals)])

    (line,) = await find(shop)

    assert (line.customer, line.quantity, line.reason) == (None, 9, NOBODY)


async def test_a_customer_without_a_subscription_is_listed(shop: Shop) -> None:
    await shop.add(20)
    await shop.add(5, customer="beta")
    await shop.report()
    (meter,) = shop.server.account.meters.values()
    shop.server.account.subscriptions = [("cus_beta", meter.id), ("cus_acme", "mtr_x")]

    (line,) = await unbilled(shop).without_subscription(
        start_ms=MONTH.start, end_ms=MONTH.end
    )

    assert (line.customer, line.quantity) == ("acme", 20)
    assert (line.reason, line.amount) == (NO_SUBSCRIPTION, Decimal("0.2"))


async def test_a_key_that_may_not_read_subscriptions_says_nothing(shop: Shop) -> None:
    await shop.add(20)
    await shop.report()

    found = await unbilled(shop).without_subscription(
        start_ms=MONTH.start, end_ms=EARLIER_MS + HOUR_MS
    )

    assert found == []
