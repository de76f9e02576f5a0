"""Several plans of a customer: files, API, invoice, documents and pages."""

from pathlib import Path
from typing import Any

import pytest

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.errors import ConfigError
from tests.plans import starter_each
from tests.producer import event
from tests.sidecar_process import METERLINE
from tests.web.conftest import OpenWeb, configure
from tests.web.test_closing import closed_at
from tests.web.test_final import BASIC, CALLS, Desk, customer
from tests.web.test_periods import MONDAY_MS

TOKENS = """
[[meter]]
name = "tokens"
aggregation = "sum"
value = "quantities.tokens"
"""
ADDON = """
[[plan]]
name = "addon"
currency = "usd"
[[plan.price]]
meter = "tokens"
model = "per_unit"
unit_amount = "0.01"
[[plan.price]]
name = "fee"
model = "flat"
amount = "30"
"""
CLASH = ADDON.replace("addon", "clash").replace('"tokens"', '"api_calls"')
PRICING = starter_each("0.50") + ADDON + CLASH
METERS = TOKENS + METERLINE.partition("[[customer]]")[0]
WITH_ADDON = METERLINE.replace(
    'plan = "starter"',
    'plan = "starter"\nplans = [{ plan = "addon", from = 2026-11-16 }]',
)


async def test_all_plans_are_on_one_invoice(open_web: OpenWeb) -> None:
    async with open_web(meterline=TOKENS + WITH_ADDON, pricing=PRICING) as web:
        await web.parts.closer.run()
        web.clock.time_ms = MONDAY_MS + 20 * DAY_MS
        used = event(quantities={"tokens": 300}, time_ms=MONDAY_MS + 15 * DAY_MS)
        await web.ship(event(), used)

        answer = await web.get("/v1/customers/acme/invoice")
        await closed_at(web, MONDAY_MS + 31 * DAY_MS)

        lines = [
            (line["description"], line["amount"]) for line in answer["invoice"]["lines"]
        ]
        assert lines == [
            ("api_calls", "1.00"),
            ("tokens (2026-11-16 to 2026-11-30)", "3.00"),
            ("fee (2026-11-16 to 2026-11-30)", "15.00"),
        ]
        (entry,) = (await web.get("/v1/invoices"))["documents"]
        document = await web.get(f"/v1/invoices/{entry['number']}")
        assert (document["amount"], document["bill"]["plan"]) == (
            *("19.00", "starter + addon"),
        )
        explained = await web.get(
            "/v1/customers/acme/invoice/explain", period="2026-11"
        )
        assert [part["plan"] for part in explained["parts"]] == [
            *("starter", "starter + addon"),
        ]
        page = (await web.http.get("/customers/acme")).text
        assert "plan starter, addon from 2026-11-16" in page


async def test_a_program_adds_and_ends_one(open_web: OpenWeb) -> None:
    async with open_web(meterline=METERS, pricing=PRICING) as web:
        new: dict[str, Any] = {"id": "acme", "plan": "starter"}
        await web.http.post("/v1/customers", json=new)

        added = await web.http.put(
            "/v1/customers/acme", json={"plans": [{"plan": "addon"}]}
        )
        ended = await web.http.put(
            "/v1/customers/acme",
            json={"plans": [{"plan": "addon", "to": "2026-11-20"}]},
        )

        assert added.json()["changes"] == ["from 2026-11-06 acme: plans none -> addon"]
        assert added.json()["customer"]["plans"] == [
            {"plan": "addon", "from": None, "to": None}
        ]
        assert "25.00" in str(added.json()["money"])
        assert ended.json()["changes"] == [
            "from 2026-11-21 acme: plans addon -> addon to 2026-11-20"
        ]
        draft = await web.get("/v1/customers/acme/invoice")
        assert draft["due"] == "15.00"


@pytest.mark.parametrize(
    ("plans", "status", "why"),
    [
        ([{"plan": "clash"}], 409, "both have a price for the meter `api_calls`"),
        ([{"plan": "adon"}], 400, "did you mean `addon`"),
        ([{"plan": "addon", "until": "2026-11-20"}], 400, "until"),
        (
            [{"plan": "addon", "from": "2026-11-20", "to": "2026-11-19"}],
            409,
            "`addon` ends on 2026-11-19, before 2026-11-20",
        ),
    ],
)
async def test_what_cannot_be_had_changes_nothing(
    open_web: OpenWeb, plans: list[dict[str, str]], status: int, why: str
) -> None:
    async with open_web(meterline=METERS, pricing=PRICING) as web:
        new: dict[str, Any] = {"id": "acme", "plan": "starter"}
        await web.http.post("/v1/customers", json=new)

        answer = await web.http.put("/v1/customers/acme", json={"plans": plans})

        assert answer.status_code == status, answer.text
        assert why in answer.text
        assert (await web.get("/v1/customers/acme"))["plans"] == []


@pytest.mark.parametrize(
    ("plans", "why"),
    [
        ('[{ plan = "clash" }]', "both have a price for the meter `api_calls`"),
        ('[{ plan = "adon" }]', "did you mean `addon`"),
        ('[{ plan = "starter" }]', "`starter` is there twice at one time"),
    ],
)
def test_files_that_want_it_are_mistaken(tmp_path: Any, plans: str, why: str) -> None:
    wanted = METERLINE.replace('plan = "starter"', f'plan = "starter"\nplans = {plans}')

    with pytest.raises(ConfigError, match="plans") as raised:
        configure(tmp_path, meterline=TOKENS + wanted, pricing=PRICING)

    assert why in str(raised.value)


async def test_the_first_one_without_dates_is_the_plan(open_web: OpenWeb) -> None:
    written = METERLINE.replace(
        'plan = "starter"', 'plans = [{ plan = "starter" }, { plan = "addon" }]'
    )
    async with open_web(meterline=TOKENS + written, pricing=PRICING) as web:
        shown = await web.get("/v1/customers/acme")

        assert shown["plan"] == "starter"
        assert [held["plan"] for held in shown["plans"]] == ["addon"]


async def test_a_credit_is_not_there_again_as_a_plan_with_one_comes_beside(
    open_web: OpenWeb, tmp_path: Path
) -> None:
    credit = "[[plan.credit]]\namount = 100\n"
    support = '[[plan]]\nname = "support"\ncurrency = "usd"\n' + credit
    support += '[[plan.price]]\nname = "support"\nmodel = "flat"\namount = 30\n'
    pricing = BASIC.replace("0.01", "1") + credit + support
    async with open_web(meterline=CALLS, pricing="") as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-11-15T12:00:00Z")
        await desk.load(CALLS + customer(), pricing)
        await desk.use("2026-11-10T00:00:00Z", 80)
        desk.clock("2026-12-01T12:00:00Z")
        assert (await desk.close("2026-11"))["due"] == "0.00"

        beside = 'plans = [{ plan = "support" }]'
        await desk.load(CALLS + customer(more=beside), pricing)
        await desk.use("2026-12-01T11:00:00Z", 80)
        december = (await desk.invoice("2026-12"))["invoice"]

    paid = [
        (x["name"], x["amount"]) for x in december["lines"] if x["kind"] == "credit"
    ]
    assert paid == [("credit", "-20.00"), ("credit (support)", "-30.00")]
    assert december["total"] == "60.00"
