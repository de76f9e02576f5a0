"""Uses with an id of the app's own: each counts once for ever, by whatever way it comes."""

import asyncio
from typing import Any, Final

import pytest
from msgspec.structs import replace

from meterline.events import Flag, Kind
from meterline.usage_event import UsageEvent
from meterline_sidecar.ingest import names
from meterline_sidecar.store.sqlite.driver import SqliteReader
from tests.integration.ledger.test_verify import verified
from tests.producer import NOON_MS, Connection, batch, event
from tests.web.conftest import OpenWeb, Web
from tests.web.external import plain
from tests.web.test_external_events import TOKENS, post, verdicts

APP: Final = "tests"  # what tests.producer says hello as


def job(number: int = 1, **changes: Any) -> UsageEvent:
    """Return five tokens of a job, as ``record(..., id=...)`` sends them."""
    fields: dict[str, Any] = {
        "kind": Kind.USE,
        "method": None,
        "route": None,
        "status": 0,
        "duration_us": 0,
        "bytes_in": 0,
        "bytes_out": 0,
        "quantities": {"tokens": 5},
        "external_id": f"job-{number}",
    }
    return event(**(fields | changes))


@pytest.fixture
async def web(open_web: OpenWeb) -> Any:
    async with open_web(meterline=TOKENS, pricing="") as web:
        yield web


async def tokens(web: Web) -> int:
    await web.parts.aggregator.run()
    (acme,) = (await web.get("/v1/usage", customer="acme"))["usage"]
    return int(acme["meters"][0]["quantity"])


async def flags(web: Web) -> list[list[str]]:
    return [one["flags"] for one in (await web.get("/v1/events"))["events"]]


async def ship_as(web: Web, producer: str, *events: UsageEvent) -> None:
    """Send events as another worker of the same app."""
    async with Connection(web.parts.config.sidecar.socket) as connection:
        last_seq = await connection.hello(producer)
        await connection.ship(batch(*events, first_seq=last_seq + 1))


async def test_a_use_with_an_id_counts_once_whoever_tries_again_and_when(
    web: Web,
) -> None:
    await web.ship(job(), job())
    await ship_as(web, "b" * 32, job(time_ms=NOON_MS - 86_400_000, route="/other"))
    in_a_request: dict[str, Any] = {
        "flags": int(Flag.OF_REQUEST),
        "status": 500,
        "method": "POST",
    }
    await ship_as(web, "c" * 32, job(1, **in_a_request), job(2))

    assert await tokens(web) == 10
    assert await flags(web) == [
        ["named"],
        ["named", "duplicate"],
        ["named", "duplicate"],
        ["of_request", "named", "duplicate"],
        ["named"],
    ]
    status = (await web.get("/status"))["events"]
    assert (status["ingested"], status["duplicates"]) == (5, 3)
    assert (await verified(web.parts.config.sidecar.database)).findings == []


async def test_other_content_under_an_id_is_kept_told_and_not_counted(web: Web) -> None:
    others = (
        job(quantities={"tokens": 6}),
        job(subject="acct_2"),
        job(properties={"model": "large"}),
    )
    await web.ship(job(), *others)

    assert await tokens(web) == 5
    assert (await flags(web))[1:] == [["named", "conflict"]] * len(others)
    found = await web.get("/status")
    (problem,) = (
        one for one in found["problems"] if one["code"] == "external_id_conflict"
    )
    assert (
        f"3 events came under an id that another event has, the last one as job-1 of {APP}"
        in (problem["text"])
    )
    assert (await verified(web.parts.config.sidecar.database)).findings == []


async def test_the_page_of_events_says_which_are_not_counted(web: Web) -> None:
    await web.ship(job(), job(), job(quantities={"tokens": 6}))
    await web.parts.aggregator.run()

    page = (await web.http.get("/events", params={"period": "2026-11"})).text

    assert page.count("not counted: duplicate") == 1
    assert page.count("not counted: conflict") == 1
    assert page.count("not counted") == 2


async def test_an_id_is_unique_within_its_source_alone(web: Web) -> None:
    await web.ship(job(), job(source="nightly"), job(source=APP), job(source="nightly"))

    assert await tokens(web) == 10


async def test_apps_and_senders_over_http_share_the_names_of_a_source(web: Web) -> None:
    await web.ship(job(1, source="jobs"))
    named = plain(1, id="job-1")
    del named["time"]  # an app's is when it was recorded

    assert await verdicts(web, named) == ["duplicate"]
    assert await verdicts(web, plain(2, id="job-2")) == ["accepted"]
    other = plain(3, id="job-1", subject="acct_9")
    assert (await post(web, other)).json()["results"][0]["verdict"] == "conflict"
    await web.ship(job(2, source="jobs"))

    assert await tokens(web) == 10


async def test_a_name_that_an_app_took_meanwhile_is_no_error(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = SqliteReader.read
    is_first = True

    async def read(self: SqliteReader, work: Any) -> Any:
        """Let an app store the name right behind the look of the sender over HTTP."""
        nonlocal is_first
        found = await looked_up(self, work)
        if is_first:
            is_first = False
            await asyncio.create_task(ship_as(web, "d" * 32, job(source="jobs")))
        return found

    monkeypatch.setattr(SqliteReader, "read", read)
    named = plain(1, id="job-1")
    del named["time"]

    assert await verdicts(web, [named, plain(7)]) == ["duplicate", "accepted"]
    assert await tokens(web) == 10
    assert (await verified(web.parts.config.sidecar.database)).findings == []


async def test_both_in_one_commit_count_once(web: Web) -> None:
    named = plain(1, id="job-1")
    del named["time"]
    for number in range(20):
        await asyncio.gather(
            post(web, {**named, "id": f"n-{number}"}),
            web.ship(job(source="jobs", external_id=f"n-{number}")),
        )

    assert await tokens(web) == 100
    assert (await verified(web.parts.config.sidecar.database)).findings == []


async def test_one_that_is_held_is_counted_once_when_its_time_has_come(
    web: Web,
) -> None:
    ahead = job(time_ms=NOON_MS + 3_600_000)
    await web.ship(ahead, replace(ahead, time_ms=NOON_MS + 3_600_001))
    assert await tokens(web) == 0

    web.clock.time_ms = NOON_MS + 7_200_000

    assert await tokens(web) == 5
    assert (await verified(web.parts.config.sidecar.database)).findings == []


async def test_beyond_the_limit_of_sources_a_use_counts_and_is_flagged(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "SOURCES_MAX", 1)

    await web.ship(job(), job(source="b"), job(source="b"), job())

    assert await tokens(web) == 15
    assert (await flags(web))[1:3] == [["bad_id"]] * 2
    assert (await web.get("/status"))["events"]["bad_quantities"] == 2
    assert (await verified(web.parts.config.sidecar.database)).findings == []
