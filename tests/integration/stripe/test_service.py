"""The scheduled part: what is compared by itself, when, and at what cost."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.config.shape import (
    Config,
    MeterConfig,
)
from meterline_sidecar.config.sidecar import SidecarConfig
from meterline_sidecar.config.stripe import StripeConfig
from meterline_sidecar.daemon.assemble_stripe import open_stripe
from meterline_sidecar.errors import RetryLater
from meterline_sidecar.meters import Meter
from meterline_sidecar.stripe.health import read_health
from meterline_sidecar.stripe.service import StripeService
from meterline_sidecar.terms.book import Terms
from tests.outbox_rows import EARLIER_MS, KEY, Shop
from tests.stripe_server.account import Meter as AtStripe
from tests.stripe_server.faults import Fault


@pytest.fixture
async def stripe(shop: Shop, tmp_path: Path) -> AsyncGenerator[StripeService]:
    config = Config(
        file=None,
        sidecar=SidecarConfig(
            socket=tmp_path / "s", database=shop.database.path, spool_dir=tmp_path / "p"
        ),
        stripe=StripeConfig(mode="send", api_base=shop.base),
    )
    environ = {"METERLINE_STRIPE_API_KEY": KEY}
    stripe = open_stripe(
        *(lambda: config, shop.database),
        terms=Terms(),
        clock=shop.clock,
        environ=environ,
    )
    yield stripe
    await stripe.close()


async def test_a_day_is_compared_once_however_often_it_is_asked(
    shop: Shop, stripe: StripeService
) -> None:
    await shop.add(7)
    await shop.report()
    shop.clock.time_ms += 5 * HOUR_MS

    for _ in range(5):
        await stripe.reconcile_if_due()
    reads = shop.server.reads
    shop.clock.time_ms += DAY_MS
    await stripe.reconcile_if_due()

    status = (await read_health(stripe)).reconciliation
    assert reads == 2  # the meters, and the hours
    assert shop.server.reads == 5  # the meters, the total, and the hours since then
    assert (status.checked_ms, status.different) == (shop.clock.now_ms(), 0)
    shop.clock.time_ms += HOUR_MS
    assert (await read_health(stripe)).reconciliation.age_s == 3_600


async def test_a_run_compares_those_that_were_compared_longest_ago(
    shop: Shop, stripe: StripeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterline_sidecar.stripe.service.SERIES_PER_RUN", 2)
    for c in range(3):
        await shop.add(7, customer=f"c{c}")
    await shop.report()
    await shop.add(7, customer="c3")
    shop.server.faults.queued.append(Fault.SILENT_LOSS)  # of this row, no other
    await shop.report()
    found: list[int] = []

    for _ in range(3):
        shop.clock.time_ms += DAY_MS
        await stripe.reconcile_if_due()
        found.append((await read_health(stripe)).reconciliation.different)

    assert found == [0, 1, 1]
    assert shop.server.reads <= 3 * (1 + 2 + 1)


async def test_what_was_just_sent_is_not_called_missing_by_itself(
    shop: Shop, stripe: StripeService
) -> None:
    await shop.add(7, hour_ms=EARLIER_MS - 5 * HOUR_MS)
    shop.server.faults.queued.append(Fault.SILENT_LOSS)
    await shop.report()

    await stripe.reconcile_if_due()
    early = (await read_health(stripe)).reconciliation
    shop.clock.time_ms += DAY_MS
    await stripe.reconcile_if_due()

    assert early.checked_ms is None
    assert (await read_health(stripe)).reconciliation.different == 1
    (problem,) = (await read_health(stripe)).problems
    assert problem.code == "stripe_differs"
    assert "1 pair of a customer and a meter" in problem.text


async def test_a_row_that_fails_again_and_again_is_told_of(
    shop: Shop, stripe: StripeService
) -> None:
    await shop.add(7)
    shop.server.faults.queued.extend([Fault.SAVED_500_BEFORE] * 6)
    reporter = shop.reporter()
    said: list[bool] = []

    for _ in range(6):
        shop.wall.time_ms += 1_000
        await reporter.run()
        said.append(
            any(
                p.code == "outbox_failing" and "keeps failing: HTTP 500" in p.text
                for p in (await read_health(stripe)).problems
            )
        )

    assert said == [False] * 5 + [True]


async def test_a_mismatch_that_was_mended_is_forgotten(
    shop: Shop, stripe: StripeService
) -> None:
    row_id = await shop.add(7)
    shop.server.faults.queued.append(Fault.SILENT_LOSS)
    await shop.report()
    shop.clock.time_ms += DAY_MS
    await stripe.reconcile_if_due()
    before = (await read_health(stripe)).reconciliation
    await stripe.by_hand.retry(row_id, is_certain=True)
    await shop.report()
    shop.clock.time_ms += DAY_MS

    await stripe.reconcile_if_due()

    assert before.different == 1
    assert (await read_health(stripe)).reconciliation.different == 0


async def test_a_comparison_that_failed_is_tried_again_in_an_hour(
    shop: Shop, stripe: StripeService
) -> None:
    await shop.add(7)
    await shop.report()
    shop.clock.time_ms += DAY_MS
    shop.server.read_faults.extend([503] * 4)

    with pytest.raises(RetryLater):
        await stripe.reconcile_if_due()
    await stripe.reconcile_if_due()
    early = (await read_health(stripe)).reconciliation
    shop.clock.time_ms += HOUR_MS
    await stripe.reconcile_if_due()

    assert early.checked_ms is None
    assert (await read_health(stripe)).reconciliation.checked_ms == shop.clock.now_ms()


async def test_the_last_month_is_compared_until_it_is_equal_a_day_after(
    shop: Shop, stripe: StripeService
) -> None:
    await shop.add(7)  # in November
    await shop.report()
    shop.clock.time_ms += 25 * DAY_MS
    reads: list[int] = []

    for _ in range(4):
        shop.server.reads = 0
        shop.clock.time_ms += DAY_MS
        await stripe.reconcile_if_due()
        reads.append(shop.server.reads)

    assert reads[0] > 0
    assert reads[-1] == 0


@pytest.mark.parametrize(
    "drift", [{"formula": "count"}, {"window": "hour"}, {"value_key": "n"}]
)
async def test_nothing_is_told_to_a_meter_that_is_another(
    shop: Shop, tmp_path: Path, drift: dict[str, str]
) -> None:
    meter = MeterConfig(
        meter=Meter("api_calls", "count"),
        bill_through="meter",
        stripe_event_name="api_calls",
        stripe_mode="delta",
    )
    config = Config(
        file=None,
        sidecar=SidecarConfig(
            socket=tmp_path / "s", database=shop.database.path, spool_dir=tmp_path / "p"
        ),
        meters=(meter,),
        stripe=StripeConfig(mode="send", api_base=shop.base),
    )
    (at_stripe,) = shop.server.account.meters.values()
    for name, value in drift.items():
        setattr(at_stripe, name, value)
    row_id = await shop.add(7)
    environ = {"METERLINE_STRIPE_API_KEY": KEY}
    stripe = open_stripe(
        *(lambda: config, shop.database),
        terms=Terms(),
        clock=shop.clock,
        environ=environ,
    )

    await stripe.report()
    told = list(shop.server.account.events)
    row = await shop.row(row_id)
    problems = (await read_health(stripe)).problems
    for name in drift:
        setattr(at_stripe, name, getattr(AtStripe("m", "api_calls", ""), name))
    await stripe.check_meters()
    await stripe.report()
    await stripe.close()

    assert (told, row.state) == ([], "parked")
    assert any(
        problem.code == "stripe_meter" and problem.text.startswith("meter api_calls")
        for problem in problems
    )
    assert (await shop.row(row_id)).state == "confirmed"


async def test_a_key_that_may_not_read_meters_tells_as_ever(
    shop: Shop, stripe: StripeService
) -> None:
    row_id = await shop.add(7)
    shop.server.read_faults.append(403)

    await stripe.report()

    assert (await shop.row(row_id)).state == "confirmed"
