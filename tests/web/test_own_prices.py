"""Prices of a customer's own by API, and alerts about customers of the API."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from meterline_sidecar.cli.commands import customers as command
from tests.web.conftest import OpenWeb
from tests.web.test_final import BASIC, CALLS, Desk, customer

PRICE: dict[str, Any] = {
    "meter": "calls",
    "model": "per_unit",
    "unit_amount": "0.005",
}
CHEAP = {"plan": "basic", "price": [PRICE]}


@pytest.fixture
async def desk(open_web: OpenWeb, tmp_path: Path) -> AsyncGenerator[Desk]:
    """A sidecar with a customer whom the API looks after, and 100 calls of theirs."""
    async with open_web(meterline=CALLS, pricing="") as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-11-15T12:00:00Z")
        await desk.load(CALLS + customer("filed", subjects="filed_*"), BASIC)
        new = {"id": "acme", "plan": "basic", "subjects": ["acme_*"]}
        await web.http.post("/v1/customers", json=new)
        await desk.use("2026-11-10T00:00:00Z", 100)
        yield desk


async def put(desk: Desk, **body: Any) -> httpx.Response:
    return await desk.web.http.put("/v1/customers/acme", json=body)


async def test_prices_of_their_own_are_set_and_taken_back_with_what_that_does(
    desk: Desk,
) -> None:
    made = (await put(desk, overrides=[CHEAP], **{"from": "2026-11-01"})).json()
    cheap = (await desk.invoice("2026-11"))["due"]
    again = (await put(desk, overrides=[CHEAP], **{"from": "2026-11-01"})).json()
    back = (await put(desk, overrides=[], **{"from": "2026-11-01"})).json()

    assert made["customer"]["own_prices"] == ["basic"]
    (change,) = made["changes"]
    assert change.startswith("from 2026-11-01 acme: overrides none -> own prices on")
    assert '"unit_amount":"0.005"' in change
    assert made["money"]["open"] == [{"amount": "-0.50", "currency": "usd"}]
    assert cheap == "0.50"
    assert (again["changes"], again["money"]["periods"]) == ([], [])
    assert back["money"]["open"] == [{"amount": "0.50", "currency": "usd"}]
    assert (await desk.invoice("2026-11"))["due"] == "1.00"


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({**CHEAP, "plan": "basik"}, "did you mean `basic`?"),
        (
            {"plan": "basic", "price": [{**PRICE, "meter": "call"}]},
            "`calls`",
        ),
        (
            {"plan": "basic", "price": [{**PRICE, "unit_amount": 0.005}]},
            'a float is not exact: write "0.005"',
        ),
        ({"plan": "basic", "prize": []}, "did you mean `price`?"),
        (
            {
                "plan": "basic",
                "price": [
                    {
                        "meter": "calls",
                        "model": "per_group",
                        "by": "method",
                        "price": {"model": "per_unit", "unit_amount": "1"},
                    }
                ],
            },
            "price",
        ),
    ],
)
async def test_prices_that_cannot_be_charged_are_refused(
    desk: Desk, table: dict[str, Any], why: str
) -> None:
    refused = await put(desk, overrides=[table])

    assert refused.status_code == 400
    assert why in refused.json()["detail"]
    assert (await desk.invoice("2026-11"))["due"] == "1.00"


async def test_a_file_of_prices_is_the_same_as_in_the_price_list(
    desk: Desk, tmp_path: Path
) -> None:
    file = tmp_path / "own.toml"
    file.write_text(
        '[[override]]\nplan = "basic"\n'
        '[[override.price]]\nmeter = "calls"\nmodel = "per_unit"\nunit_amount = "0.005"\n'
        '[[override.credit]]\nname = "hello"\namount = "0.20"\nexpires = 2026-12-31\n'
    )
    tables = command.overrides_in(file)
    sent = [
        {**table, "credit": [{**table["credit"][0], "expires": "2026-12-31"}]}
        for table in tables
    ]

    made = await put(desk, overrides=sent, **{"from": "2026-11-01"})

    assert made.status_code == 200, made.text
    assert (await desk.invoice("2026-11"))["due"] == "0.30"


async def test_an_alert_may_be_about_a_customer_of_the_api(
    desk: Desk, tmp_path: Path
) -> None:
    alert = '[[alert]]\nname = "{0}"\ncustomer = "{1}"\namount = "0.10"\n'
    files = CALLS + customer("filed", subjects="filed_*")
    files += alert.format("mine", "acme") + alert.format("typo", "acmee")
    (tmp_path / "meterline.toml").write_text(
        (tmp_path / "meterline.toml").read_text().partition("\n[[")[0] + "\n" + files
    )
    assert (await desk.web.http.post("/v1/reload")).status_code == 200

    await desk.web.parts.standings.refresh()

    raised = (await desk.web.get("/v1/alerts"))["alerts"]
    problems = (await desk.web.get("/status"))["problems"]
    assert {one["customer"] for one in raised} == {"acme"}
    assert [one["text"] for one in problems if one["code"] == "alert_of_nobody"] == [
        "alert typo is about acmee, who is unknown"
    ]
