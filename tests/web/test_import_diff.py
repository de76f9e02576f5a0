"""What an import would change is said before it is committed, and is what it does then."""

import random
from typing import Any, Final

import pytest

from meterline_sidecar.clock import format_time_ms, parse_time_ms
from tests.producer import event
from tests.web.conftest import OpenWeb, Web
from tests.web.test_imports import begin, post, put, text

METERS: Final = {
    "used": 'aggregation = "sum"\nvalue = "quantities.used"\ngroup_by = ["model"]',
    "peak": 'aggregation = "max"\nvalue = "quantities.used"',
    "seats": 'aggregation = "latest"\nvalue = "quantities.seats"',
    "kinds": 'aggregation = "unique"\nvalue = "quantities.seats"',
    "calls": 'aggregation = "count"\nwhere = { kind = "request" }',
}
FILES: Final = {
    "meterline": "".join(
        f'[[meter]]\nname = "{name}"\n{rest}\n' for name, rest in METERS.items()
    )
    + "".join(
        f'[[customer]]\nid = "{name}"\nplan = "all"\nsubjects = ["{name}_*"]\n{zone}\n'
        for name, zone in (("acme", 'time_zone = "Asia/Tokyo"'), ("beta", ""))
    ),
    "pricing": '[[plan]]\nname = "all"\ncurrency = "usd"\n'
    + "".join(
        f'[[plan.price]]\nmeter = "{name}"\nmodel = "per_unit"\nunit_amount = "0.{n}"\n'
        for n, name in enumerate(METERS, 1)
    ),
}
YEARS_AGO: Final = "2023-12-10T00:00:00Z"
OCTOBER_MS: Final = parse_time_ms("2026-10-02T00:00:00Z")
SPAN_MS: Final = 40 * 86_400_000
SUBJECTS: Final = ("acme_1", "acme_2", "acme_new", "beta_1", "nobody")
CUSTOMERS: Final = ("acme", "beta")
PERIODS: Final = ("2026-10", "2026-11")


def some_event(chance: random.Random, number: int) -> dict[str, Any]:
    """Return an event in plain JSON, as it may stand in a file."""
    return {
        "id": f"e-{number}",
        "source": "jobs",
        "time": format_time_ms(OCTOBER_MS + chance.randrange(SPAN_MS)),
        "subject": chance.choice(SUBJECTS),
        "kind": chance.choice(("use", "request")),
        "route": chance.choice(("/v1/a", "/v1/b")),
        "quantities": {"used": chance.randrange(9), "seats": chance.randrange(5)},
        "properties": {"model": chance.choice(("small", "large"))},
    }


async def billed(web: Web) -> dict[tuple[str, str], str]:
    """Return what each open period comes to."""
    found: dict[tuple[str, str], str] = {}
    for customer in CUSTOMERS:
        for period in PERIODS:
            path = f"/v1/customers/{customer}/invoice"
            answer = await web.http.get(path, params={"period": period})
            if answer.status_code == 200:
                found[customer, period] = answer.json()["due"]
    return found


async def used(web: Web) -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {}
    for month, start, end in (
        ("2026-10", "2026-10-01", "2026-11-01"),
        ("2026-11", "2026-11-01", "2026-12-01"),
    ):
        span = {"start": f"{start}T00:00:00Z", "end": f"{end}T00:00:00Z"}
        for one in (await web.get("/v1/usage", **span))["usage"]:
            for meter in one["meters"]:
                key = f"{one['customer']} {meter['meter']}"
                found[key, month] = meter["quantity"]
    return found


@pytest.mark.parametrize("seed", range(4))
async def test_what_it_would_change_is_what_it_changes(
    open_web: OpenWeb, seed: int
) -> None:
    chance = random.Random(seed)
    async with open_web(**FILES) as web:
        web.clock.time_ms = OCTOBER_MS + SPAN_MS + 1
        there = [some_event(chance, number) for number in range(30)]
        answer = await web.http.post("/v1/events", json=there)
        assert answer.json()["accepted"] == 30
        await web.parts.aggregator.run()
        again = [there[0], {**there[1], "status": 500}]
        new = [some_event(chance, number) for number in range(40, 80)]
        new += [new[3], {**new[4], "status": 500}]
        await begin(web, "more")
        await put(web, "more", text(*new[:20], *again))
        await put(web, "more", text(*new[20:]), first_line=23)
        await post(web, "/more/stage")
        usage, money = await used(web), await billed(web)

        found = await web.get("/v1/imports/more/diff")

        assert (await used(web), await billed(web)) == (usage, money)
        await post(web, "/more/commit")
        await web.parts.imports.run()
        await web.parts.aggregator.run()
        done = await web.get("/v1/imports/more")
        assert (found["events"], found["duplicates"], found["conflicts"]) == (40, 2, 2)
        assert (done["accepted"], done["duplicates"], done["conflicts"]) == (40, 2, 2)
        nobodys = sum(one["subject"] == "nobody" for one in new[:40])
        assert (found["without_customer"], found["without_subject"]) == (nobodys, 0)
        changed = {
            (f"{one['customer']} {one['meter']}", one["month"]): (
                one["before"],
                one["after"],
            )
            for one in found["usage"]
        }
        after = await used(web)
        assert changed == {
            key: (usage[key], after[key]) for key in usage if usage[key] != after[key]
        }
        said = {
            (one["customer"], one["period"]): (
                one["before"]["amount"],
                one["after"]["amount"],
            )
            for one in found["money"]["periods"]
        }
        now = await billed(web)
        assert said == {
            key: (money[key], now[key]) for key in money if money[key] != now[key]
        }


async def test_of_a_final_period_it_says_the_adjustment(open_web: OpenWeb) -> None:
    async with open_web(**FILES) as web:
        web.clock.time_ms = parse_time_ms("2026-12-03T00:00:00Z")
        await web.ship(event(subject="beta_1", quantities={"used": 5}))
        closed = await web.http.post(
            "/v1/customers/beta/invoice/finalize", params={"period": "2026-11"}
        )
        assert closed.status_code == 200, closed.text
        one = some_event(random.Random(1), 1)
        one |= {"subject": "beta_1", "time": "2026-11-03T00:00:00Z"}
        one |= {"quantities": {"used": 7}, "kind": "use"}
        await begin(web, "late")
        older = one | {"id": "older", "time": "2026-09-03T00:00:00Z"}
        await put(web, "late", text(one, older))
        early = await web.http.get("/v1/imports/late/diff")
        assert (early.status_code, "only a staged one" in early.text) == (409, True)
        await post(web, "/late/stage")

        found = await web.get("/v1/imports/late/diff")

        assert {(it["period"], it["status"]) for it in found["money"]["periods"]} == {
            ("2026-11", "final"),
            ("2026-09", "open"),
        }
        assert (
            "not made final by itself: beta (2026-09);" in found["money"]["summary"][-1]
        )
        (owed,) = found["money"]["adjustments"]
        await post(web, "/late/commit")
        await web.parts.imports.run()
        await web.parts.aggregator.run()
        next_one = await web.get("/v1/customers/beta/invoice", period="2026-12")
        (late,) = next_one["adjustments"]
        assert (late["period"], late["amount"]) == ("2026-11", owed["amount"])


async def test_of_months_before_a_customer_was_known_it_says_the_amounts(
    open_web: OpenWeb,
) -> None:
    async with open_web(**FILES) as web:
        web.clock.time_ms = parse_time_ms("2026-11-10T00:00:00Z")
        one = some_event(random.Random(1), 1) | {"subject": "beta_1", "kind": "request"}
        used = {"time": "2026-03-10T00:00:00Z", "quantities": {"used": 5}}
        await begin(web, "old")
        await put(web, "old", text(one | used))
        await post(web, "/old/stage")

        recent = (await web.get("/v1/imports/old/diff"))["money"]

        (period,) = recent["periods"]
        # 5 used at 0.1, a peak of 5 at 0.2, and a call at 0.5
        assert (period["period"], period["after"]["amount"]) == ("2026-03", "2.00")
        await begin(web, "older")
        await put(web, "older", text(one | used | {"time": YEARS_AGO}))
        await post(web, "/older/stage")
        older = (await web.get("/v1/imports/older/diff"))["money"]
        assert older["periods"] == []
        assert "12 open periods of longer ago are not in these" in older["summary"][-1]
