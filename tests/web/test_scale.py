"""Quantities that are not whole, as everybody reads them."""

import csv
import io
from decimal import Decimal
from typing import Any, Final

import pytest

from meterline.portal import portal_token
from meterline.usage_event import Part
from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.config.read import read_config
from meterline_sidecar.errors import ConfigError
from tests.producer import NOON_MS, event
from tests.sidecar_process import SIDECAR
from tests.web.conftest import OpenWeb, Web

METERLINE: Final = """
[[meter]]
name = "gpu_seconds"
title = "GPU seconds"
aggregation = "sum"
value = "quantities.gpu_seconds"
scale = 3
group_by = ["card"]

[[meter]]
name = "peak"
aggregation = "max"
value = "quantities.gpu_seconds"
scale = 1

[[meter]]
name = "level"
aggregation = "latest"
value = "quantities.gpu_seconds"
scale = 6

[[meter]]
name = "whole_seconds"
aggregation = "sum"
value = "quantities.gpu_seconds"

[[customer]]
id = "acme"
name = "Acme Corp"
subjects = ["acct_1"]
plan = "gpu"
"""
PRICING: Final = """
[[plan]]
name = "gpu"
version = 1
effective = 2020-01-01
currency = "usd"

[[plan.price]]
meter = "gpu_seconds"
model = "per_unit"
unit_amount = "0.50"
"""
HTML: Final = {"Accept": "text/html"}


async def ship(web: Web) -> None:
    """Have 6.234 seconds used: 1.234 on one card, and 5 on another."""
    await web.ship(
        event(
            quantities={"gpu_seconds": "1.234"},
            parts=[Part("gpu_seconds", "1.234", {"card": "a100"})],
        ),
        event(
            quantities={"gpu_seconds": 5},
            parts=[Part("gpu_seconds", 5, {"card": "h100"})],
        ),
    )


async def meters(web: Web) -> dict[str, Any]:
    found = await web.get("/v1/usage", customer="acme")
    return {meter["meter"]: meter for meter in found["usage"][0]["meters"]}


async def codes(web: Web) -> dict[str, str]:
    await web.parts.attention.problems()
    found = await web.get("/status")
    return {one["code"]: one["text"] for one in found["problems"]}


async def test_fractions_are_shown_and_priced_to_the_last_digit(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERLINE, pricing=PRICING) as web:
        await ship(web)

        found = await meters(web)
        assert found["gpu_seconds"]["quantity"] == "6.234"
        assert [group["quantity"] for group in found["gpu_seconds"]["groups"]] == [
            "1.234",
            "5.000",
        ]
        assert found["peak"]["quantity"] == "5.0"
        assert found["level"]["quantity"] == "5.000000"
        assert found["whole_seconds"]["quantity"] == 5

        invoice = await web.get("/v1/customers/acme/invoice")
        assert invoice["due"] == "3.12"  # 3.117
        (line,) = (
            li for li in invoice["invoice"]["lines"] if li["meter"] == "gpu_seconds"
        )
        assert Decimal(line["quantity"]) == Decimal("6.234")


async def test_pages_and_files_show_them(open_web: OpenWeb) -> None:
    async with open_web(meterline=METERLINE, pricing=PRICING) as web:
        await ship(web)
        for path in ("/", "/usage?meter=gpu_seconds", "/customers/acme", "/events"):
            page = await web.http.get(path, headers=HTML)
            assert page.status_code == 200, path
            assert "6.234" in page.text or path == "/events", path
        token = portal_token("acme", key=web.parts.portal_key, now_s=NOON_MS // 1000)
        for path, column in (("usage.csv", "GPU seconds"), ("groups.csv", "quantity")):
            text = (await web.http.get(f"/portal/{path}?token={token}")).text
            rows = list(csv.DictReader(io.StringIO(text)))
            total = sum(Decimal(row[column] or 0) for row in rows)
            assert total >= Decimal("6.234"), path
        events = (await web.get("/v1/events"))["events"]
        assert [one["quantities"]["gpu_seconds"] for one in events] == ["1.234", 5]
        assert events[0]["parts"][0]["amount"] == "1.234"


async def test_what_a_meter_could_not_take_is_named_until_it_is_counted_again(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERLINE, pricing=PRICING) as web:
        await ship(web)
        found = await codes(web)
        assert "1 value of meter whole_seconds" in found["fraction_not_counted"]
        assert "1 value of meter peak" in found["fraction_rounded"]


@pytest.mark.parametrize(
    ("meter", "words"),
    [
        ('aggregation = "sum"\nvalue = "bytes_out"', "only a meter that adds up"),
        ('aggregation = "count"', "only a meter that adds up"),
        ('aggregation = "unique"\nvalue = "quantities.x"', "only a meter"),
    ],
)
def test_a_scale_where_it_says_nothing_is_refused(
    tmp_path: Any, meter: str, words: str
) -> None:
    file = tmp_path / "meterline.toml"
    file.write_text(f'{SIDECAR}\n[[meter]]\nname = "m"\nscale = 3\n{meter}\n')
    (tmp_path / "pricing.toml").write_text(PRICING.replace("gpu_seconds", "m"))

    with pytest.raises(ConfigError, match=words):
        read_config(file, environment={})


async def test_what_stripe_is_told_is_shown_with_its_digits(open_web: OpenWeb) -> None:
    first = 'scale = 3\ngroup_by = ["card"]\n'
    billed = METERLINE.replace(first, f'{first}bill_through = "meter"\n', 1)
    async with open_web(meterline=billed, pricing=PRICING) as web:
        await ship(web)
        web.clock.time_ms += 2 * HOUR_MS
        await web.http.post("/v1/report")

        (row,) = (await web.get("/v1/outbox"))["rows"]
        assert row["value"] == "6.234"
        page = await web.http.get("/outbox", headers=HTML)
        assert "6.234" in page.text
