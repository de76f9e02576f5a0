"""Requests that clients send again under a key of theirs: for a day, one counts."""

from typing import Any, Final

import pytest

from meterline.events import Flag, Kind
from meterline.usage_event import UsageEvent
from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.ingest import request_keys
from meterline_sidecar.store.edge import request_keys as store
from tests.integration.ledger.test_verify import verified
from tests.producer import NOON_MS, event
from tests.sidecar_process import SIDECAR
from tests.web.conftest import OpenWeb, Web
from tests.web.test_ids import flags, ship_as

METERLINE: Final = """
[[meter]]
name = "calls"
aggregation = "count"

[[meter]]
name = "served"
aggregation = "count"
repeated = true

[[meter]]
name = "tokens"
aggregation = "sum"
value = "quantities.tokens"
where = { status = "200-299" }

[[customer]]
id = "acme"
subjects = ["acct_1"]
"""


@pytest.fixture
async def web(open_web: OpenWeb) -> Any:
    async with open_web(meterline=METERLINE, pricing="") as web:
        yield web


def post(key: str | None = "key-1", **changes: Any) -> UsageEvent:
    """Return a request with five tokens, sent under a key of its client's."""
    fields = {"method": "POST", "quantities": {"tokens": 5}, "external_id": key}
    return event(**(fields | changes))


async def usage(web: Web) -> dict[str, int]:
    await web.parts.aggregator.run()
    (acme,) = (await web.get("/v1/usage", customer="acme"))["usage"]
    return {meter["meter"]: meter["quantity"] for meter in acme["meters"]}


async def test_of_requests_under_one_key_one_counts_whoever_serves_them(
    web: Web,
) -> None:
    await web.ship(post(), post())
    await ship_as(web, "b" * 32, post(time_ms=NOON_MS - 60_000), post(status=409))

    assert await usage(web) == {"calls": 1, "served": 4, "tokens": 5}
    assert await flags(web) == [[], ["repeated"], ["repeated"], ["repeated"]]
    assert (await web.get("/status"))["events"]["duplicates"] == 3
    assert (await verified(web.parts.config.sidecar.database)).findings == []


async def test_a_key_is_of_one_subject_method_and_route(web: Web) -> None:
    await web.ship(
        post(),
        post(key="key-2"),
        post(key=None),
        post(method="PUT"),
        post(route="/v1/other"),
        post(subject="acct_2"),
        post(subject=None),
    )

    assert await flags(web) == [[]] * 7


async def test_a_request_that_failed_leaves_its_key_to_the_next(web: Web) -> None:
    await web.ship(*(post(status=status) for status in (503, 429, 0, 201, 201, 500)))

    assert await usage(web) == {"calls": 4, "served": 6, "tokens": 5}
    assert (await flags(web))[3:] == [[], ["repeated"], ["repeated"]]


async def test_after_a_day_a_key_may_be_used_again(web: Web) -> None:
    await web.ship(post())
    web.clock.time_ms += DAY_MS
    await web.ship(post(time_ms=NOON_MS + DAY_MS - 1), post(time_ms=NOON_MS + DAY_MS))
    await web.ship(post(time_ms=NOON_MS + DAY_MS + 1))

    assert await flags(web) == [[], ["repeated"], [], ["repeated"]]


async def test_a_key_stands_for_its_request_for_as_long_as_is_configured(
    open_web: OpenWeb,
) -> None:
    sidecar = f"{SIDECAR}\nidempotency_key_hours = 72\n"
    async with open_web(sidecar=sidecar, meterline=METERLINE, pricing="") as web:
        await web.ship(post())
        web.clock.time_ms = last_ms = NOON_MS + 72 * HOUR_MS
        await web.ship(post("another", time_ms=last_ms))  # forgets what is old
        await web.ship(post(time_ms=last_ms - 1), post(time_ms=last_ms))

        assert await flags(web) == [[], [], ["repeated"], []]


async def test_keys_are_forgotten_so_that_they_are_bounded(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    await web.ship(*(post(key=f"key-{i}") for i in range(10)))
    web.clock.time_ms += 3 * DAY_MS
    await web.ship(post(time_ms=web.clock.time_ms))
    async with web.parts.database.reading() as tx:
        assert await store.count_keys(tx) == 1

    monkeypatch.setattr(request_keys, "KEYS_MAX", 4)
    monkeypatch.setattr(request_keys, "FORGET_ROWS", 1)
    now_ms = web.clock.time_ms
    await web.ship(
        *(post(key=f"new-{i}", time_ms=now_ms - 600_000 + i) for i in range(10))
    )
    async with web.parts.database.reading() as tx:
        assert await store.count_keys(tx) == 4
    found = (await web.get("/status"))["problems"]
    (problem,) = (one for one in found if one["code"] == "request_keys_forgotten")
    assert "kept for 9 min only" in problem["text"]


async def test_a_held_request_takes_no_key_and_uses_have_none(web: Web) -> None:
    await web.ship(
        post(time_ms=NOON_MS + DAY_MS),
        post(),
        post(flags=int(Flag.OF_REQUEST), kind=Kind.USE, external_id=None),
    )

    assert await flags(web) == [["held"], [], ["of_request"]]
    assert await usage(web) == {"calls": 1, "served": 1, "tokens": 10}
