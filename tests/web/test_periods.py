"""Weeks and other periods, from the files to documents and pages."""

from meterline_sidecar.clock import DAY_MS
from tests.plans import HEAD, starter, starter_each
from tests.producer import NOON_MS, event
from tests.sidecar_process import METERLINE
from tests.web.conftest import OpenWeb
from tests.web.test_closing import ask, closed_at, status

WEEKLY = (
    starter_each("0.50").replace("currency", 'period = "week"\ncurrency')
    + '[[plan.price]]\nname = "fee"\nmodel = "flat"\namount = "7"\n'
)
MONTHLY = starter_each("0.50").replace("starter", "monthly")
BETA = '\n[[customer]]\nid = "beta"\nsubjects = ["beta_*"]\nplan = "monthly"\n'
MONDAY_MS = NOON_MS - NOON_MS % DAY_MS - 4 * DAY_MS
"""The 2nd of November 2026."""


async def test_weeks_become_final_one_after_the_other(open_web: OpenWeb) -> None:
    async with open_web(meterline=METERLINE + BETA, pricing=WEEKLY + MONTHLY) as web:
        await web.parts.closer.run()
        later = event(time_ms=MONDAY_MS + 7 * DAY_MS)
        web.clock.time_ms = MONDAY_MS + 8 * DAY_MS
        await web.ship(event(), event(), later, event(subject="beta_1"))
        answer = await web.get("/v1/customers/acme/invoice", period="2026-11-02")
        assert (answer["status"], answer["due"]) == ("draft", "8.00")
        assert answer["period"]["title"] == "2 - 8 Nov 2026"
        assert answer["period"]["end_time"] == "2026-11-09T00:00:00.000Z"

        await closed_at(web, MONDAY_MS + 31 * DAY_MS)

        assert await status(web, period="2026-11-02") == "final 8.00"
        assert await status(web, period="2026-11-09") == "final 7.50"
        assert await status(web, "beta") == "final 0.50"
        listed = await web.get("/v1/invoices", period="2026-11", customer="acme")
        assert [one["period"] for one in listed["documents"]] == [
            *("2026-11-23", "2026-11-16", "2026-11-09", "2026-11-02"),
        ]
        (one,) = (await web.get("/v1/invoices", period="2026-11-09"))["documents"]
        document = await web.get(f"/v1/invoices/{one['number']}")
        assert (document["first_day"], document["last_day"]) == (
            *("2026-11-09", "2026-11-15"),
        )
        page = (await web.http.get("/close")).text
        ended, _, _became = page.partition("Invoices by state")
        assert ended.count('<a href="/invoices?period=2026-11">2026-11</a>') == 1
        page = (await web.http.get("/customers/acme?period=2026-11-09")).text
        assert "Final invoice 9 - 15 Nov 2026" in page
        assert '<a href="?period=2026-11-02">2 - 8 Nov 2026</a>' in page
        page = (await web.http.get("/customers/acme")).text
        assert '<a href="?period=2026-11-23">23 - 29 Nov 2026</a>' in page


async def test_a_month_is_closed_with_all_that_begins_in_it(open_web: OpenWeb) -> None:
    by_hand = METERLINE + BETA + '[billing]\nclose = "by_hand"\n'
    async with open_web(meterline=by_hand, pricing=WEEKLY + MONTHLY) as web:
        await web.ship(event(), event(subject="beta_1"))
        web.clock.time_ms = MONDAY_MS + 40 * DAY_MS

        one = await ask(web, period="2026-11-09", skip_grace=True)
        all_of_it = await ask(web, period="2026-11", skip_grace=True)
        wrong = await web.http.post("/v1/close", params={"period": "2026-11-31"})

        (held,) = one["held"]
        assert held["why"] == "their 2026-11-02 is not final, and comes first"
        closed = [(each["customer"], each["period"]) for each in all_of_it["invoices"]]
        assert sorted(closed) == [
            *(("acme", f"2026-11-{day}") for day in ("02", "09", "16", "23", "30")),
            ("beta", "2026-11"),
        ]
        assert wrong.status_code == 400
        assert "no period is called `2026-11-31`" in wrong.text


async def test_who_has_no_such_period_keeps_nobody_elses_usage_back(
    open_web: OpenWeb,
) -> None:
    later = BETA.replace("plan =", "starts = 2027-02-01\nplan =")
    async with open_web(meterline=METERLINE + later, pricing=WEEKLY + MONTHLY) as web:
        await web.ship(event())

        now = await web.get("/v1/usage")
        last = await web.get("/v1/usage", period="last")
        asked = await web.http.get("/v1/usage", params={"customer": "beta"})
        wrong = await web.http.get("/v1/usage", params={"period": "lats"})

        assert [one["customer"] for one in now["usage"]] == ["acme"]
        assert [one["customer"] for one in last["usage"]] == ["acme"]
        (one,) = now["left_out"]
        assert one["customer"] == "beta"
        assert "before the customer starts on 2027-02-01" in one["why"]
        assert (asked.status_code, wrong.status_code) == (400, 400)


async def test_who_begins_within_a_week_pays_for_its_rest(open_web: OpenWeb) -> None:
    starts = METERLINE.replace("plan =", "starts = 2026-11-06\nplan =", 1)
    async with open_web(meterline=starts, pricing=WEEKLY) as web:
        answer = await web.get("/v1/customers/acme/invoice")

        assert answer["period"]["name"] == "2026-11-02"
        assert answer["period"]["title"] == "6 - 8 Nov 2026"
        assert answer["due"] == "3.00"


async def test_an_anchor_holds_from_the_next_period_on(open_web: OpenWeb) -> None:
    pricing = HEAD + '[[plan.price]]\nname = "fee"\nmodel = "flat"\namount = "30"\n'
    async with open_web(meterline="", pricing=pricing) as web:
        body = {"id": "acme", "plan": "starter", "subjects": ["acme_*"]}
        await web.http.post("/v1/customers", json=body)

        answer = await web.http.put("/v1/customers/acme", json={"anchor": "2026-01-31"})

        assert answer.status_code == 200, answer.text
        assert answer.json()["changes"] == [
            "from 2026-12-01 acme: anchor none -> 2026-01-31"
        ]
        web.clock.time_ms = MONDAY_MS + 40 * DAY_MS
        december = await web.get("/v1/customers/acme/invoice")
        assert december["period"]["name"] == "2026-12-01"
        assert december["due"] == "29.03"  # 30 of the 31 days from 30 November on
        assert (await web.get("/v1/customers/acme"))["anchor"] == "2026-01-31"


async def test_a_trial_is_free_and_fees_begin_behind_it(open_web: OpenWeb) -> None:
    trial = WEEKLY.replace('period = "week"', "trial_days = 10").replace('"7"', '"30"')
    starts = METERLINE.replace("plan =", "starts = 2026-11-06\nplan =", 1)
    async with open_web(meterline=starts, pricing=trial) as web:
        web.clock.time_ms = MONDAY_MS + 20 * DAY_MS
        await web.ship(event(), event(), event(time_ms=MONDAY_MS + 14 * DAY_MS))

        answer = await web.get("/v1/customers/acme/invoice", period="2026-11")

        lines = [
            (line["description"], line["amount"], line["explanation"])
            for line in answer["invoice"]["lines"]
        ]
        assert lines == [
            (
                "api_calls (2026-11-06 to 2026-11-15)",
                "0.00",
                "2 x $0.50 - $1.00 100% free trial = $0.00",
            ),
            (
                "fee (2026-11-06 to 2026-11-15)",
                "0.00",
                "$30.00 flat x 10/30 - $10.00 100% free trial = $0.00",
            ),
            ("api_calls (2026-11-16 to 2026-11-30)", "0.50", "1 x $0.50 = $0.50"),
            ("fee (2026-11-16 to 2026-11-30)", "15.00", "$30.00 flat x 15/30 = $15.00"),
        ]
        assert answer["due"] == "15.50"


async def test_tiers_go_on_over_a_change_of_plan_where_the_new_one_says_so(
    open_web: OpenWeb,
) -> None:
    tiers = '[{{ up_to = 3, unit_amount = "{}" }}, {{ unit_amount = "0.25" }}]'
    price = 'model = "graduated"\ntiers = '
    first = starter(price + tiers.format("1"))
    other = starter(price + tiers.format("2")).replace("starter", "other")
    going_on = other.replace("currency", 'tiers_on_change = "continue"\ncurrency')
    async with open_web(meterline=METERLINE, pricing=first + going_on) as web:
        await web.ship(event(), event(), event(time_ms=MONDAY_MS + 14 * DAY_MS))
        web.clock.time_ms = MONDAY_MS + 20 * DAY_MS
        await web.ship(event(time_ms=MONDAY_MS + 15 * DAY_MS))
        await web.http.post("/v1/customers/acme/adopt", params={"owner": "api"})
        change = {"plan": "other", "from": "2026-11-10"}

        await web.http.put("/v1/customers/acme", json=change)

        answer = await web.get("/v1/customers/acme/invoice")
        assert [line["explanation"] for line in answer["invoice"]["lines"]] == [
            "2 x $1.00 = $2.00",
            "3 x $2.00 + 1 x $0.25 - 2 x $2.00 before = $2.25",
        ]
