"""Usage and money by properties, as everybody reads them."""

import csv
import io
from collections.abc import Mapping
from typing import Any, Final

import pytest

from meterline.portal import portal_token
from meterline.usage_event import Part, UsageEvent
from meterline_sidecar.config.read import read_config
from meterline_sidecar.errors import ConfigError
from tests.clock import FakeClock
from tests.producer import NOON_MS, event
from tests.sidecar_process import SIDECAR
from tests.web.conftest import OpenWeb, Web

METERLINE: Final = """
[[meter]]
name = "tokens"
title = "Tokens"
aggregation = "sum"
value = "quantities.tokens"
group_by = ["model", "route"]

[[meter]]
name = "vision"
aggregation = "count"
where = { model = ["vision-*", "!vision-test"], route = "/v1/*" }

[properties]
values_max = 4

[[customer]]
id = "acme"
name = "Acme Corp"
subjects = ["acct_1"]
plan = "by model"
"""
PRICING: Final = """
[[plan]]
name = "by model"
version = 1
effective = 2020-01-01
currency = "usd"

[[plan.price]]
meter = "tokens"
model = "matrix"
dimensions = ["model"]
cells = [
  { values = { model = "large" }, unit_amount = "0.03" },
  { values = { model = "small" }, unit_amount = "0.01" },
  { values = { model = "(other)" }, unit_amount = "1" },
  { values = { model = "((other)" }, unit_amount = "0.5" },
  { values = { model = "nobody records this" }, unit_amount = "9" },
]

[[plan.price]]
name = "vision calls"
meter = "vision"
model = "per_unit"
unit_amount = 2
"""
PER_MODEL: Final = """
[[plan]]
name = "by model"
version = 1
effective = 2020-01-01
currency = "usd"

[[plan.price]]
meter = "tokens"
model = "per_group"
by = ["model"]
price = { model = "graduated", tiers = [{ up_to = 100 }, { unit_amount = "0.10" }] }
"""
MONTH_MS: Final = 31 * 86_400_000
HTML: Final = {"Accept": "text/html"}


def tokens(parts: Mapping[str, int], rest: int = 0, **changes: Any) -> UsageEvent:
    """Return an event with tokens by model, and some without."""
    return event(
        quantities={"tokens": sum(parts.values()) + rest},
        parts=[Part("tokens", n, {"model": model}) for model, n in parts.items()],
        **changes,
    )


async def groups(web: Web) -> dict[tuple[str, str], int]:
    """Return acme's tokens by model and route, as the API has them."""
    found = await web.get("/v1/usage", customer="acme")
    (used,) = (m for m in found["usage"][0]["meters"] if m["meter"] == "tokens")
    return {
        (group["labels"]["model"], group["labels"]["route"]): group["quantity"]
        for group in used["groups"]
    }


async def due(web: Web, **query: str) -> str:
    return str((await web.get("/v1/customers/acme/invoice", **query))["due"])


async def test_tokens_are_priced_by_model_to_the_cent(open_web: OpenWeb) -> None:
    async with open_web(meterline=METERLINE, pricing=PRICING) as web:
        await web.ship(
            tokens({"large": 333, "small": 1_001}),
            tokens({"large": 1}, route="/v1/other"),
            event(properties={"model": "vision-2"}),
            event(properties={"model": "vision-test"}),
            event(properties={"model": "vision-2"}, route="/health"),
        )

        assert await groups(web) == {
            ("large", "/v1/items/{id}"): 333,
            ("large", "/v1/other"): 1,
            ("small", "/v1/items/{id}"): 1_001,
        }
        # 334 x 0.03 + 1,001 x 0.01 + 1 x 2.
        assert await due(web) == "22.03"


async def test_each_model_has_tiers_of_its_own_whatever_the_route(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERLINE, pricing=PER_MODEL) as web:
        await web.ship(tokens({"large": 90, "small": 100}, 150))
        await web.ship(tokens({"large": 30}, route="/v1/other"))

        assert await due(web) == "7.00"  # 20 of large, 50 of (none)


async def test_what_is_beyond_the_limit_has_its_own_price_and_is_a_problem(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERLINE, pricing=PRICING) as web:
        await web.ship(tokens({"large": 1, "small": 1, "(other)": 2, "x": 0}))
        assert "values_together" not in str(await web.get("/status"))
        await web.ship(tokens({"new": 3, "large": 1}), tokens({"newer": 4}))
        web.parts.attention.forget()  # look again, now

        problems = (await web.get("/status"))["problems"]
        found = {model: n for (model, _), n in (await groups(web)).items()}

        assert found == {"large": 2, "small": 1, "((other)": 2, "x": 0, "(other)": 7}
        assert await due(web) == "8.07"  # 7 x 1 + 2 x 0.50 + 2 x 0.03 + 0.01
        (told,) = (one for one in problems if one["code"] == "values_together")
        assert told["text"] == (
            "property model has more values than the 4 that are kept apart: the others"
            " are added up as (other)"
        )
        assert "values_max" in told["action"]


async def test_what_has_no_price_is_said_and_the_rest_is_charged(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERLINE, pricing=PRICING) as web:
        await web.ship(tokens({"large": 100, 'a,"b"\nc': 5}, 7))

        invoice = await web.get("/v1/customers/acme/invoice")

    assert invoice["due"] == "3.00"
    assert {
        group["values"]["model"]: group["quantity"]
        for group in invoice["invoice"]["unpriced_groups"]
    } == {'a,"b"\nc': "5", "(none)": "7"}


async def test_a_final_invoice_keeps_its_groups(open_web: OpenWeb) -> None:
    clock = FakeClock()
    async with open_web(meterline=METERLINE, pricing=PRICING, clock=clock) as web:
        await web.ship(tokens({"large": 100}))
        clock.time_ms += MONTH_MS
        path = "/v1/customers/acme/invoice/finalize"
        final = await web.http.post(path, params={"period": "2026-11"})
        assert final.status_code == 200, final.text
        before = await web.get("/v1/customers/acme/invoice", period="2026-11")
        await web.ship(tokens({"small": 5}, time_ms=NOON_MS))
        after = await web.get("/v1/customers/acme/invoice", period="2026-11")
        now = await web.get("/v1/customers/acme/invoice")

    assert (before["status"], before["due"]) == ("final", "3.00")
    assert (after["usage"], after["invoice"]) == (before["usage"], before["invoice"])
    assert now["due"] == "0.05"


async def test_the_page_shows_a_line_for_each_value(open_web: OpenWeb) -> None:
    evil = "<script>alert(1)</script>"
    async with open_web(meterline=METERLINE, pricing=PRICING) as web:
        await web.ship(tokens({"large": 5, evil: 9, "__proto__": 2}, 1))

        query = {"meter": "tokens", "group_by": "model"}
        html = (await web.http.get("/usage", params=query, headers=HTML)).text
        whose = query | {"customer": "acme"}
        one = (await web.http.get("/usage", params=whose, headers=HTML)).text
        wrong = query | {"group_by": "region"}
        refused = await web.http.get("/usage", params=wrong, headers=HTML)

    for page in (html, one):
        assert evil not in page
        for label in ("large", "__proto__", "(none)", "&lt;script&gt;"):
            assert label in page
        assert "<option selected>model</option>" in page
    assert refused.status_code == 400
    assert "not measured by region" in refused.text


async def test_a_customer_sees_their_usage_by_property_and_not_by_route(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERLINE, pricing=PRICING) as web:
        many = {f"m{i}": i for i in range(1, 3)}
        await web.ship(tokens({"=1+1": 5, 'a,"b"': 9} | many, 1))
        await web.ship(tokens({"=1+1": 5}, route="/v1/secret"))
        token = portal_token("acme", key=web.parts.portal_key, now_s=NOON_MS // 1000)
        query = {"token": token, "meter": "tokens"}

        html = (await web.http.get("/portal", params=query, headers=HTML)).text
        told = await web.get("/portal/usage.json", **query)
        table = (await web.http.get("/portal/groups.csv", params=query)).text

    by_model = [
        ("=1+1", 10), ('a,"b"', 9), ("m2", 2), ("(none)", 1), ("m1", 1)
    ]  # fmt: skip
    (used,) = (meter for meter in told["meters"] if meter["meter"] == "tokens")
    assert [(g["labels"]["model"], g["quantity"]) for g in used["groups"]] == by_model
    assert list(csv.reader(io.StringIO(table))) == [
        ["meter", "model", "quantity"],
        ["Tokens", "'=1+1", "10"],
        *(["Tokens", label, str(n)] for label, n in by_model[1:]),
    ]
    assert '<table id="groups">' in html
    assert "/v1/secret" not in html + str(told) + table


def mistakes(tmp_path: Any, **changes: tuple[str, str]) -> str:
    texts = {"meterline": SIDECAR + METERLINE, "pricing": PRICING}
    for name, (old, new) in changes.items():
        assert old in texts[name]
        texts[name] = texts[name].replace(old, new)
    (tmp_path / "meterline.toml").write_text(texts["meterline"])
    (tmp_path / "pricing.toml").write_text(texts["pricing"])
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path / "meterline.toml", environment={})
    return str(caught.value)


def test_a_price_by_a_property_that_the_meter_does_not_add_up_by_is_a_mistake(
    tmp_path: Any,
) -> None:
    told = mistakes(tmp_path, pricing=('["model"]', '["model", "region"]'))

    assert "`region` is not in the group_by of meter `tokens`" in told
