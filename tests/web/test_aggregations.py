"""Every aggregation, all the way: from the file over usage to the invoice and back."""

from typing import Any

import pytest

from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.verify import Report, verify
from meterline_sidecar.meters import AGGREGATIONS, Aggregation
from tests.producer import NOON_MS, event
from tests.web.conftest import OpenWeb, Web

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
    if AGGREGATIONS[aggregation].has_chart:
        assert f"{quantity} seats in" in chart.text
    assert report.findings == []


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
