"""Every aggregation, all the way: from the file over usage to the invoice and back."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from meterline.portal import portal_token
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.ledger.verify import verify
from meterline_sidecar.meters import AGGREGATIONS, Aggregation
from tests.producer import NOON_MS, event
from tests.web.conftest import OpenWeb, Web
from tests.web.test_final import Desk

VALUES = (7, 3, 12, 3)
COMES_TO: dict[Aggregation, int] = {
    "count": 4,
    "sum": 25,
    "max": 12,
    "min": 3,
    "latest": 3,
    "unique": 3,
}
FILE = """
[[meter]]
name = "seats"
aggregation = "{aggregation}"
value = "quantities.seats"
{group_by}

[[customer]]
id = "acme"
subjects = ["acct_1", "acct_2"]
plan = "starter"
"""
PRICING = """
[[plan]]
name = "starter"
currency = "usd"

[[plan.price]]
meter = "seats"
model = "per_unit"
unit_amount = 2
"""


async def use(web: Web, **changes: Any) -> None:
    """Use it at different times by two subjects, counted in two steps."""
    events = [
        event(
            time_ms=NOON_MS + i * 3_600_000,
            subject=f"acct_{i % 2 + 1}",
            quantities={"seats": value},
            **changes,
        )
        for i, value in enumerate(VALUES)
    ]
    web.clock.time_ms = NOON_MS + 5 * 3_600_000
    await web.ship(*events[2:])
    await web.ship(*events[:2])


async def verified(web: Web) -> Report:
    parts = web.parts
    chain = ChainFiles(parts.config.sidecar.database)
    return await verify(
        parts.database,
        key=chain.key(has_batches=True),
        head=None,
        progress=lambda what, done, total: None,
    )


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
async def test_an_aggregation_is_counted_priced_shown_and_counted_again(
    open_web: OpenWeb, aggregation: Aggregation
) -> None:
    quantity = COMES_TO[aggregation]
    meterline = FILE.format(aggregation=aggregation, group_by="")
    async with open_web(meterline=meterline, pricing=PRICING) as web:
        await use(web)

        usage = await web.get("/v1/usage", customer="acme")
        invoice = await web.get("/v1/customers/acme/invoice")
        portal = await web.http.get("/customers/acme")
        chart = await web.http.get("/usage", params={"customer": "acme"})
        report = await verified(web)

    (seats,) = usage["usage"][0]["meters"]
    assert (seats["aggregation"], seats["quantity"]) == (aggregation, quantity)
    assert seats["groups"] == []
    assert invoice["due"] == f"{2 * quantity}.00"
    assert (portal.status_code, chart.status_code) == (200, 200)
    assert f'<strong data-meter="seats">{quantity}</strong>' in portal.text
    row = AGGREGATIONS[aggregation]
    what = "" if row.grows_with_time else f" ({row.shown_as})"
    caption = re.search("<figcaption>([^<]*)<", chart.text)
    assert caption is not None
    assert caption[1].strip() == f"{quantity} seats in 24h by acme{what}"
    assert f"seats <b>{quantity}</b>" in chart.text
    assert f"seats <b>{quantity}</b>" in portal.text
    assert f"<small>{row.shown_as}</small>" in portal.text
    assert report.findings == []


@pytest.mark.parametrize(
    ("aggregation", "group_by", "quantity"),
    [("max", "", "5"), ("latest", "", "3"), ("latest", 'group_by = ["space"]', "8")],
)
async def test_a_level_is_of_a_whole_customer_and_of_one_period(
    open_web: OpenWeb, aggregation: Aggregation, group_by: str, quantity: str
) -> None:
    files = FILE.format(aggregation=aggregation, group_by=group_by)
    async with open_web(meterline=files, pricing=PRICING) as web:
        for i, (subject, seats) in enumerate((("acct_1", 5), ("acct_2", 3))):
            used = event(
                time_ms=NOON_MS + i,
                subject=subject,
                quantities={"seats": seats},
                properties={"space": subject},
            )
            await web.ship(used)
        month = await web.get("/v1/customers/acme/invoice", period="2026-11")
        web.clock.time_ms += 30 * 86_400_000
        after = await web.get("/v1/customers/acme/invoice", period="2026-12")

    assert [line["quantity"] for line in month["invoice"]["lines"]] == [quantity]
    assert [line["quantity"] for line in after["invoice"]["lines"]] == ["0"]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
async def test_a_grouped_meter_comes_to_the_sum_over_its_groups(
    open_web: OpenWeb, aggregation: Aggregation
) -> None:
    quantity = COMES_TO[aggregation]
    meterline = FILE.format(aggregation=aggregation, group_by='group_by = ["route"]')
    async with open_web(meterline=meterline, pricing=PRICING) as web:
        await use(web, route="/a")
        await use(web, route="/b")

        usage = await web.get("/v1/usage", customer="acme")
        invoice = await web.get("/v1/customers/acme/invoice")
        report = await verified(web)

    (seats,) = usage["usage"][0]["meters"]
    assert seats["groups"] == [
        {"labels": {"route": route}, "quantity": quantity} for route in ("/a", "/b")
    ]
    assert seats["quantity"] == 2 * quantity
    assert invoice["due"] == f"{4 * quantity}.00"
    assert report.findings == []


BY_DAY: dict[Aggregation, list[int | None]] = {
    "count": [2, 0, 2],
    "sum": [10, 0, 15],
    "max": [7, None, 12],
    "min": [3, None, 3],
    "latest": [3, None, 3],
    "unique": [2, 0, 2],
}
"""Of 7 and 3 on one day, nothing on the next, 12 and 3 on the third."""


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
async def test_charts_never_add_up_what_does_not_add_up(
    open_web: OpenWeb, aggregation: Aggregation
) -> None:
    meterline = FILE.format(aggregation=aggregation, group_by="")
    async with open_web(meterline=meterline, pricing=PRICING) as web:
        for i, value in enumerate(VALUES):
            time_ms = NOON_MS + i // 2 * 2 * 86_400_000 + i * 3_600_000
            web.clock.time_ms = time_ms
            await web.ship(event(time_ms=time_ms, quantities={"seats": value}))
        token = portal_token(
            "acme", key=web.parts.portal_key, now_s=web.clock.time_ms // 1000
        )
        pages = [
            (await web.http.get(path, headers={"Accept": "text/html"})).text
            for path in (
                "/customers/acme?meter=seats",
                "/usage?meter=seats&customer=acme&range=30d",
                f"/portal?token={token}",
            )
        ]
        theirs = await web.get("/portal/usage.json", token=token)
        csv = (await web.http.get("/portal/usage.csv", params={"token": token})).text

    total, by_day = COMES_TO[aggregation], BY_DAY[aggregation]
    for html in pages:
        (data,) = re.findall('data-plot="([^"]*)"', html)
        (line,) = json.loads(unescape(data))["lines"]
        first = next(i for i, value in enumerate(line["values"]) if value)
        assert line["values"][first : first + 3] == by_day
        assert line["total"] == total
        assert f"seats <b>{total}</b>" in html
        assert f"<figcaption>{total} seats" in html
    (seats,) = theirs["meters"]
    assert seats["quantity"] == total
    assert [day["quantity"] for day in seats["days"][5:8]] == by_day
    assert seats["shown_as"] == AGGREGATIONS[aggregation].shown_as
    assert csv.splitlines()[6:9] == [
        f"2026-11-{6 + i:02},{'' if value is None else value}"
        for i, value in enumerate(by_day)
    ]


async def test_different_values_of_everybody_together_are_asked_of_one_customer(
    open_web: OpenWeb,
) -> None:
    meterline = FILE.format(aggregation="unique", group_by="")
    async with open_web(meterline=meterline, pricing=PRICING) as web:
        answer = await web.http.get(
            "/usage", params={"meter": "seats"}, headers={"Accept": "text/html"}
        )
        overview = await web.http.get("/", headers={"Accept": "text/html"})

    assert answer.status_code == 400
    assert "choose a customer" in answer.text
    assert '<option value="seats" selected>seats</option>' in answer.text
    assert overview.status_code == 200


@pytest.mark.parametrize("group_by", ["", 'group_by = ["method"]'])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
async def test_a_price_that_stays_over_a_change_of_its_plan_is_charged_once(
    open_web: OpenWeb, tmp_path: Path, aggregation: Aggregation, group_by: str
) -> None:
    files = FILE.format(aggregation=aggregation, group_by=group_by)
    with_fee = f'{PRICING}\n[[plan.price]]\nname = "fee"\nmodel = "flat"\namount = 30\n'
    async with open_web(meterline=files, pricing=PRICING) as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-11-16T12:00:00Z")
        await desk.load(files, with_fee)
        desk.clock("2026-11-18T12:00:00Z")
        for day, value in zip((14, 15, 16, 17), VALUES, strict=True):
            at = f"2026-11-{day}T06:00:00Z"
            await desk.use(at, 1, "acct_1", quantities={"seats": value})

        november = await desk.invoice("2026-11")

    assert november["due"] == f"{2 * COMES_TO[aggregation] + 15}.00"
