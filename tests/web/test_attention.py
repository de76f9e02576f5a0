"""What nobody has billed, priced, closed or assigned is told, until somebody has."""

import asyncio
from typing import Any

import pytest

from meterline.wire import Ack
from meterline_sidecar.billing import attention
from meterline_sidecar.clock import DAY_MS, MINUTE_MS
from meterline_sidecar.web import health
from tests.plans import HEAD
from tests.producer import NOON_MS, Connection, batch, event
from tests.sidecar_process import METERLINE, PRICING
from tests.web.conftest import OpenWeb, Web

BY_HAND = '[billing]\nclose = "by_hand"\n'
BETA = """
[[customer]]
id = "beta"
subjects = ["beta_*"]
plan = "starter"
"""
DECEMBER_MS = 1_796_083_200_000
BY_METHOD = (
    HEAD
    + """
[[plan.price]]
meter = "api_calls"
model = "matrix"
dimensions = ["method"]
cells = [{ values = { method = "GET" }, unit_amount = "0.01" }]
"""
)
GROUPED = METERLINE.replace(
    'aggregation = "count"', 'aggregation = "count"\ngroup_by = ["method"]'
)
TOKENS = """
[[meter]]
name = "tokens"
aggregation = "sum"
value = "quantities.tokens"
"""


@pytest.fixture
def open_web(open_web: OpenWeb) -> OpenWeb:
    """Open sidecars in which people close periods."""

    def open_it(meterline: str = METERLINE, **files: Any) -> Any:
        return open_web(meterline=meterline + BY_HAND, **files)

    return open_it


@pytest.fixture(autouse=True)
def looked_for_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "REST", 0)


async def found(web: Web, code: str) -> list[dict[str, Any]]:
    status = await web.get("/status")
    return [problem for problem in status["problems"] if problem["code"] == code]


async def codes(web: Web) -> list[str]:
    return [problem["code"] for problem in (await web.get("/status"))["problems"]]


async def test_all_is_well_with_a_customer_on_a_plan(open_web: OpenWeb) -> None:
    async with open_web() as web:
        await web.ship(event(), event())
        await web.parts.standings.refresh()

        assert await codes(web) == []


async def test_who_was_taken_out_with_unbilled_usage_is_named_with_the_month(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERLINE + BETA) as web:
        await web.ship(event(), event(subject="beta_1", time_ms=NOON_MS - MINUTE_MS))
        assert await codes(web) == []

    async with open_web(meterline=METERLINE) as web:
        (problem,) = await found(web, "removed_not_billed")

        assert problem["severity"] == "warning"
        assert problem["text"] == (
            "1 customer was removed with unbilled usage or fees: beta (2026-11)"
        )
        assert "--finalize" in problem["action"]
        assert await codes(web) == ["removed_not_billed"]


async def test_who_was_taken_out_without_any_usage_is_not_told_of(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERLINE + BETA) as web:
        await web.ship(event())

    async with open_web(meterline=METERLINE) as web:
        assert await codes(web) == []


async def test_who_was_taken_out_with_only_a_fee_due_is_named(
    open_web: OpenWeb,
) -> None:
    fee = HEAD + '[[plan.price]]\nname = "seat"\nmodel = "flat"\namount = "30"\n'
    async with open_web(meterline=METERLINE + BETA, pricing=fee) as web:
        await web.ship(event())

    async with open_web(meterline=METERLINE, pricing=fee) as web:
        (problem,) = await found(web, "removed_not_billed")
        assert problem["text"].endswith("unbilled usage or fees: beta (2026-11)")

        web.clock.time_ms = DECEMBER_MS
        answer = await web.http.post(
            "/v1/customers/beta/invoice/finalize", params={"period": "2026-11"}
        )
        assert answer.json()["due"] == "6.00"  # of 30, for six of 30 days
        assert await found(web, "removed_not_billed") == []


async def test_who_came_back_is_a_customer_again(open_web: OpenWeb) -> None:
    async with open_web(meterline=METERLINE + BETA) as web:
        await web.ship(event(subject="beta_1"))
    async with open_web(meterline=METERLINE):
        pass

    async with open_web(meterline=METERLINE + BETA) as web:
        assert await found(web, "removed_not_billed") == []


async def test_a_month_that_nobody_closed_is_told_of_after_some_days(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERLINE + BETA) as web:
        await web.ship(event())
        web.clock.time_ms = DECEMBER_MS + 4 * DAY_MS
        assert await found(web, "period_not_closed") == []

        web.clock.time_ms = DECEMBER_MS + 6 * DAY_MS
        (problem,) = await found(web, "period_not_closed")

        assert problem["text"] == (
            "2026-11 ended 6 d ago without a final invoice for 2 customers: acme, beta"
        )


async def test_a_month_is_told_of_no_more_once_it_is_closed(open_web: OpenWeb) -> None:
    async with open_web() as web:
        await web.ship(event())
        web.clock.time_ms = DECEMBER_MS + 6 * DAY_MS
        (problem,) = await found(web, "period_not_closed")
        assert problem["action"] == (
            "`meterline close --customer acme --period 2026-11`"
        )

        path = "/v1/customers/acme/invoice/finalize"
        answer = await web.http.post(path, params={"period": "2026-11"})

        assert answer.status_code == 200, answer.text
        assert await found(web, "period_not_closed") == []
        web.clock.time_ms = DECEMBER_MS + 40 * DAY_MS
        (problem,) = await found(web, "period_not_closed")
        assert problem["text"].startswith("2026-12 ended")


async def close(web: Web, period: str) -> Any:
    path = "/v1/customers/acme/invoice/finalize"
    answer = await web.http.post(path, params={"period": period})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_month_that_was_passed_over_is_told_of_until_it_is_closed(
    open_web: OpenWeb,
) -> None:
    async with open_web() as web:
        await web.ship(event())
        web.clock.time_ms = DECEMBER_MS + 64 * DAY_MS
        for period in ("2026-12", "2027-01"):
            await close(web, period)

        (problem,) = await found(web, "period_not_closed")

        assert problem["text"].startswith("2026-11 ended")
        await close(web, "2026-11")
        assert await found(web, "period_not_closed") == []


async def test_of_very_many_customers_each_look_works_out_some_more(
    open_web: OpenWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "PERIODS_PER_LOOK", 1)
    async with open_web(meterline=METERLINE + BETA) as web:
        web.clock.time_ms = DECEMBER_MS + 6 * DAY_MS

        (first,) = await found(web, "period_not_closed")
        (second,) = await found(web, "period_not_closed")

        assert first["text"].endswith("for 1 customer: acme")
        assert second["text"].endswith("for 2 customers: acme, beta")


async def test_without_a_plan_there_is_nothing_to_close(open_web: OpenWeb) -> None:
    nobody = METERLINE.replace('plan = "starter"\n', "")
    async with open_web(meterline=nobody) as web:
        await web.ship(event())
        web.clock.time_ms = DECEMBER_MS + 6 * DAY_MS

        assert await found(web, "period_not_closed") == []


@pytest.mark.parametrize(
    ("mode", "bill_through", "is_ours"),
    [("send", "meter", False), ("dry_run", "meter", True), ("send", "none", True)],
)
async def test_where_stripe_makes_the_invoices_nobody_is_to_close_a_month_here(
    open_web: OpenWeb, mode: str, bill_through: str, is_ours: bool
) -> None:
    at_stripe = METERLINE.replace(
        'aggregation = "count"',
        f'aggregation = "count"\nbill_through = "{bill_through}"',
    ).replace('plan = "starter"', 'plan = "starter"\nstripe_customer = "cus_acme"')
    stripe = f'[stripe]\nmode = "{mode}"\napi_base = "http://127.0.0.1:9"\n'
    async with open_web(meterline=at_stripe + stripe) as web:
        web.clock.time_ms = DECEMBER_MS + 6 * DAY_MS

        assert bool(await found(web, "period_not_closed")) == is_ours


async def test_a_value_that_nobody_priced_is_named(open_web: OpenWeb) -> None:
    async with open_web(meterline=GROUPED, pricing=BY_METHOD) as web:
        await web.ship(event(), event(method="PROPFIND"))
        await web.parts.standings.refresh()

        (problem,) = await found(web, "value_not_priced")

        assert problem["text"] == (
            "used but without a price: acme (api_calls: method PROPFIND)"
        )


async def test_a_meter_that_a_plan_does_not_charge_for_is_worth_knowing(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERLINE + TOKENS) as web:
        await web.ship(event(quantities={"tokens": 7}))
        await web.parts.standings.refresh()

        (problem,) = await found(web, "meter_not_priced")

        assert problem["severity"] == "info"
        assert problem["text"] == "not charged for: acme (tokens)"


async def test_a_plan_that_cannot_be_applied_is_an_error(open_web: OpenWeb) -> None:
    later = PRICING.replace("2026-01-01", "2026-12-01")
    async with open_web(pricing=later) as web:
        await web.parts.standings.refresh()

        (problem,) = await found(web, "no_draft")

        assert problem["severity"] == "error"
        assert "acme" in problem["text"]
        assert "not effective" in problem["text"]


@pytest.mark.parametrize(("n_events", "is_told"), [(0, False), (1, True)])
async def test_usage_without_a_plan_is_told_of_where_there_are_plans(
    open_web: OpenWeb, n_events: int, is_told: bool
) -> None:
    async with open_web(meterline=METERLINE.replace('plan = "starter"', "")) as web:
        if n_events:
            await web.ship(event())
        await web.parts.standings.refresh()

        assert bool(await found(web, "no_plan")) == is_told


async def test_subjects_that_nobody_pays_for_are_named(open_web: OpenWeb) -> None:
    async with open_web() as web:
        await web.ship(event(subject="stranger"), event(), event(subject=None))

        (problem,) = await found(web, "usage_unassigned")
        assert problem["text"] == "nobody pays for what 1 subject used: stranger"
        assert problem["severity"] == "info"

        web.clock.time_ms = NOON_MS + 40 * DAY_MS
        assert await found(web, "usage_unassigned") == []


async def test_a_worker_in_memory_that_was_killed_is_not_told_of_for_ever(
    open_web: OpenWeb,
) -> None:
    async with open_web() as web:
        async with Connection(web.parts.config.sidecar.socket) as app:
            await app.hello(spool="memory: Permission denied")
            await app.ship(batch(event()))
        web.clock.time_ms = NOON_MS + DAY_MS
        (problem,) = await found(web, "events_in_memory")
        web.clock.time_ms += 1

        assert problem["text"].startswith("1 worker with events in memory only")
        assert await found(web, "events_in_memory") == []


async def test_what_a_silent_worker_has_not_sent_is_told_of_after_a_minute(
    open_web: OpenWeb,
) -> None:
    async with open_web() as web:
        async with Connection(web.parts.config.sidecar.socket) as app:
            await app.hello(recorded_seq=113)
            await app.ship(batch(event()))
        assert await found(web, "events_missing") == []

        web.clock.time_ms = NOON_MS + 2 * MINUTE_MS
        (problem,) = await found(web, "events_missing")

        assert problem["text"].startswith(
            "112 events recorded by 1 silent worker have not arrived: tests, process 1"
        )


async def test_what_somebody_accepted_as_missing_is_not_told_of_until_it_is_more(
    open_web: OpenWeb,
) -> None:
    async with open_web() as web:
        async with Connection(web.parts.config.sidecar.socket) as app:
            await app.hello(recorded_seq=113)
            await app.ship(batch(event()))
        web.clock.time_ms = DECEMBER_MS
        answer = await web.http.post(
            "/v1/customers/acme/invoice/finalize",
            params={"period": "2026-11", "accept_gap": "true"},
        )
        assert len(answer.json()["accepted_gaps"]) == 1
        assert await found(web, "events_missing") == []

        async with Connection(web.parts.config.sidecar.socket) as app:
            await app.hello(recorded_seq=114)
        web.clock.time_ms += 2 * MINUTE_MS
        (problem,) = await found(web, "events_missing")
        assert problem["text"].startswith("113 events recorded by 1 silent worker")


async def test_an_event_of_the_future_says_that_a_clock_is_wrong(
    open_web: OpenWeb,
) -> None:
    async with open_web() as web:
        await web.ship(event(time_ms=NOON_MS + 4 * MINUTE_MS))

        (problem,) = await found(web, "clock_behind_events")

        assert problem["text"] == "the newest event is 4 min in the future"


async def test_a_series_of_metrics_stands_for_each_code(open_web: OpenWeb) -> None:
    async with open_web() as web:
        await web.ship(event(subject="stranger"))
        text = (await web.http.get("/metrics")).text

    assert 'meterline_problems{code="usage_unassigned",severity="info"} 1.0' in text
    assert 'meterline_problems{code="outbox_dead",severity="error"} 0.0' in text


async def test_pages_lead_from_a_problem_to_where_it_can_be_looked_at(
    open_web: OpenWeb,
) -> None:
    async with open_web() as web:
        await web.ship(event(subject="stranger"))
        web.clock.time_ms = DECEMBER_MS + 6 * DAY_MS
        await web.parts.standings.refresh()
        page = (await web.http.get("/")).text

    assert '<a href="/close">2026-11 ended 6 d ago' in page
    assert "<code>meterline close --customer acme --period 2026-11</code>" in page
    assert "1 thing to look at" in page


async def test_a_batch_that_waits_for_its_commit_is_a_problem(
    open_web: OpenWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "WAITING_S_MAX", 0.05)
    async with open_web() as web, Connection(web.parts.receiver.path) as app:
        await app.hello()
        async with web.parts.database.transaction():
            await app.send(batch(event()))
            while not (problems := await found(web, "events_not_stored")):
                await asyncio.sleep(0.01)
            (problem,) = problems
        assert await app.receive() == Ack(1)

        assert "is not stored yet" in problem["text"]
        assert await found(web, "events_not_stored") == []
