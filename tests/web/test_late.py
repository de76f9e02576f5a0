"""Usage that comes when its period is final: by itself, or when a person says so."""

import asyncio
from typing import Any

from meterline_sidecar.clock import DAY_MS
from tests.producer import event
from tests.web.conftest import OpenWeb, Web, form
from tests.web.test_corrections import CALLS, revert
from tests.web.test_credits import JANUARY_MS, due, finalize

REPORTS = """
[[meter]]
name = "api_calls"
aggregation = "count"
late = "report"

[[customer]]
id = "acme"
subjects = ["acct_1"]
plan = "starter"
"""


async def decide(web: Web, late: int, verb: str, status: int = 200) -> Any:
    answer = await web.http.post(f"/v1/late/{late}/{verb}", params={"reason": "agreed"})
    assert answer.status_code == status, answer.text
    return answer.json()


async def states(web: Web) -> list[str]:
    return [one["state"] for one in (await web.get("/v1/late"))["late"]]


async def late_for_november(web: Web, n_events: int) -> None:
    await web.ship(*(event() for _ in range(n_events)))
    web.clock.time_ms = JANUARY_MS - 20 * DAY_MS
    assert await finalize(web, "2026-11") == f"{n_events}.00"
    await web.ship(event(), event())
    await web.ship(event(time_ms=web.clock.time_ms))


async def test_late_usage_waits_until_a_person_accepts_it(open_web: OpenWeb) -> None:
    async with open_web(pricing=CALLS, meterline=REPORTS) as web:
        await late_for_november(web, 5)

        # What belongs to the running month counts; what is late does not.
        assert await due(web, "2026-12") == "draft 1.00"
        (late,) = (await web.get("/v1/late"))["late"]
        assert (late["customer"], late["period"]) == ("acme", "2026-11")
        assert (late["events"], late["state"]) == (2, "waiting")
        problems = (await web.get("/status"))["problems"]
        assert "late_usage_waits" in [one["code"] for one in problems]

        assert (await decide(web, late["late"], "accept"))["author"] == "local"
        assert await due(web, "2026-12") == "draft 3.00"
        assert await states(web) == ["accepted"]
        problems = (await web.get("/status"))["problems"]
        assert "late_usage_waits" not in [one["code"] for one in problems]
        await decide(web, late["late"], "accept", status=409)
        await decide(web, late["late"], "reject", status=409)
        await web.ship(event(time_ms=web.clock.time_ms))
        assert await states(web) == ["accepted"]
        answer = await web.get("/v1/customers/acme/invoice", period="2026-12")
        assert [one["period"] for one in answer["adjustments"]] == ["2026-11"]


async def test_what_is_rejected_is_not_billed(open_web: OpenWeb) -> None:
    async with open_web(pricing=CALLS, meterline=REPORTS) as web:
        await late_for_november(web, 5)
        (late,) = (await web.get("/v1/late"))["late"]

        where, why = f"/v1/late/{late['late']}/reject", {"reason": "agreed"}
        tabs = [web.http.post(where, params=why) for _ in range(2)]
        at_once = [answer.status_code for answer in await asyncio.gather(*tabs)]
        assert sorted(at_once) == [200, 409]
        await decide(web, late["late"], "reject", status=409)
        assert await states(web) == ["rejected"]
        web.clock.time_ms = JANUARY_MS + 1
        assert await finalize(web, "2026-12") == "1.00"
        acts = (await web.get("/v1/audit"))["acts"]
        assert "late usage rejected" in [act["what"] for act in acts]

        # A person may think better of it.
        await decide(web, late["late"], "accept")
        assert await due(web, "2027-01") == "draft 2.00"
        await decide(web, 99, "accept", status=404)


async def test_a_period_whose_invoice_is_void_is_open_to_what_comes_late(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=CALLS, meterline=REPORTS) as web:
        await late_for_november(web, 5)
        path = "/v1/invoices/INV-0001/void"
        await web.http.post(path, json={"reason": "a test"})

        await web.ship(event(), event(), event())

        assert [one["events"] for one in (await web.get("/v1/late"))["late"]] == [2]
        assert await finalize(web, "2026-11") == "8.00"
        await web.ship(event())
        assert [one["events"] for one in (await web.get("/v1/late"))["late"]] == [1, 2]


async def test_nothing_is_billed_that_is_about_to_be_held_back(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=CALLS, meterline=REPORTS) as web:
        await web.ship(*(event() for _ in range(5)))
        web.clock.time_ms = JANUARY_MS + 1
        await finalize(web, "2026-11")
        n_runs = 0

        async def screen() -> None:
            nonlocal n_runs
            n_runs += 1
            if n_runs > 2:  # as if it came right before the transaction that closes
                await web.parts.late.screen()

        web.parts.aggregator.when_counted(screen)
        await web.ship(event(), event())

        assert await finalize(web, "2026-12") == "0.00"
        assert n_runs > 2
        assert await states(web) == ["waiting"]
        final = await web.get("/v1/customers/acme/invoice", period="2026-12")
        assert final["adjustments"] == []


async def test_without_that_it_is_an_adjustment_as_ever(open_web: OpenWeb) -> None:
    meterline = REPORTS.replace('late = "report"', "")
    async with open_web(pricing=CALLS, meterline=meterline) as web:
        await late_for_november(web, 5)

        assert await due(web, "2026-12") == "draft 3.00"
        assert (await web.get("/v1/late"))["late"] == []


async def test_what_a_person_corrects_does_not_wait_as_well(open_web: OpenWeb) -> None:
    async with open_web(pricing=CALLS, meterline=REPORTS) as web:
        await web.ship(*(event() for _ in range(5)))
        web.clock.time_ms = JANUARY_MS - 20 * DAY_MS
        await finalize(web, "2026-11")
        body = {"events": [1], "set": {"properties": {"a": "b"}}, "reason": "a test"}
        answer = await web.http.post("/v1/corrections", json=body)
        assert answer.status_code == 200, answer.text

        assert await due(web, "2026-12") == "draft 0.00"
        await revert(web, 1)
        assert await due(web, "2026-12") == "draft 0.00"
        assert (await web.get("/v1/late"))["late"] == []


async def test_a_person_decides_on_a_page(open_web: OpenWeb) -> None:
    async with open_web(pricing=CALLS, meterline=REPORTS) as web:
        html = (await web.http.get("/late")).text
        assert "No late usage: usage of api_calls" in html
        await late_for_november(web, 5)
        (late,) = (await web.get("/v1/late", customer="acme"))["late"]
        assert (await web.get("/v1/late", customer="zeta"))["late"] == []
        html = (await web.http.get("/close")).text
        assert "2 late events of final periods</a>" in html
        typed = {"late": str(late["late"]), "decision": "reject"}

        without = await web.http.post("/late", data=form(**typed))
        answer = await web.http.post("/late", data=form(**typed, reason="<too late>"))

        assert (without.status_code, answer.status_code) == (400, 303)
        assert await states(web) == ["rejected"]
        html = (await web.http.get("/late?customer=acme")).text
        assert "&lt;too late&gt;, by local" in html
        assert f"{typed['late']}: acme, 2026-11, rejected" in html
        assert "late events of" not in (await web.http.get("/close")).text
        again = {**typed, "decision": "accept", "reason": "agreed"}
        await web.http.post("/late", data=form(**again))
        assert await states(web) == ["accepted"]
        assert (await web.http.post("/late", data=form(**again))).status_code == 409
        assert "<form" not in (await web.http.get("/late")).text
        assert (
            await web.http.post("/late", data=form(**{**again, "late": "99"}))
        ).status_code == 404
