"""``POST /v1/events``: each event counts once, and gets a verdict of its own."""

import asyncio
import gzip
import json
import time
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from meterline_sidecar.errors import DiskFull
from meterline_sidecar.ingest import external
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.commit import Committer, Piece
from meterline_sidecar.ledger.chain import Head
from meterline_sidecar.web.api import external as endpoint
from meterline_sidecar.web.rights import EVENTS_BYTES_MAX
from tests.clock import FakeClock
from tests.producer import NOON_MS
from tests.sidecar_process import SIDECAR
from tests.web.conftest import OpenWeb, Web
from tests.web.external import NOON, cloud, plain
from tests.web.test_guard import LOCKED, bearer

CLOUD: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
TOKENS: Final = """
[[meter]]
name = "tokens"
aggregation = "sum"
value = "quantities.tokens"

[[customer]]
id = "acme"
subjects = ["acct_1"]
"""


async def post(
    web: Web, content: Any, media_type: str = "application/json", **headers: str
) -> httpx.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return await web.http.post(
        "/v1/events", content=body, headers={"content-type": media_type, **headers}
    )


async def verdicts(web: Web, content: Any, media_type: str = "application/json") -> Any:
    response = await post(web, content, media_type)
    assert response.status_code == 200, response.text
    return [result["verdict"] for result in response.json()["results"]]


async def refused(web: Web, event: Any, media_type: str = "application/json") -> Any:
    """Return the reason for which an event is refused, and its field."""
    response = await post(web, event, media_type)
    assert response.status_code == 400, response.text
    (result,) = response.json()["results"]
    assert result["verdict"] == "refused"
    return result["reason"], result["field"]


async def counted(web: Web) -> int:
    """Return how many tokens the usage comes to."""
    await web.parts.aggregator.run()
    usage = await web.get("/v1/usage", customer="acme", period="2026-11")
    return int(sum(m["quantity"] for one in usage["usage"] for m in one["meters"]))


@pytest.fixture
def open_web(open_web: OpenWeb) -> OpenWeb:
    def open_it(**files: Any) -> Any:
        return open_web(**{"meterline": TOKENS, "pricing": "", **files})

    return open_it


@pytest.fixture
async def web(open_web: OpenWeb) -> Any:
    async with open_web() as web:
        yield web


# --- once, for ever


async def test_an_event_that_is_sent_again_counts_once(web: Web) -> None:
    first = await post(web, [plain(1), plain(2), plain(1)])
    again = await post(web, [plain(2), plain(3)])

    assert first.json() == {
        "accepted": 2,
        "duplicate": 1,
        "conflict": 0,
        "refused": 0,
        "results": [
            {
                "verdict": verdict,
                "source": "jobs",
                "id": external_id,
                "event": event,
                "is_held": False,
                "reason": None,
                "field": None,
            }
            for verdict, external_id, event in (
                ("accepted", "e-1", 1),
                ("accepted", "e-2", 2),
                ("duplicate", "e-1", 1),
            )
        ],
    }
    assert [one["verdict"] for one in again.json()["results"]] == [
        "duplicate",
        "accepted",
    ]
    assert await counted(web) == 15


async def test_what_says_the_same_in_other_words_is_a_duplicate(web: Web) -> None:
    event = plain(quantities={"tokens": 5, "images": 1})
    assert await verdicts(web, [event]) == ["accepted"]

    again = [
        plain(quantities={"images": 1.0, "tokens": 5}),
        plain(quantities={"images": 1, "tokens": 5}, time=NOON_MS, status=None),
        {**event, "time": "2026-11-06T13:00:00.000999+01:00"},
        {**event, "time": "2026-11-06t12:00:00z", "kind": "use", "bytes_in": 0},
    ]

    assert await verdicts(web, again) == ["duplicate"] * 4
    assert await counted(web) == 5


async def test_other_content_under_an_id_is_a_conflict_and_changes_nothing(
    web: Web,
) -> None:
    await post(web, plain())

    changes: tuple[dict[str, Any], ...] = (
        {"quantities": {"tokens": 6}},
        {"quantities": {"tokens": 5, "images": 1}},
        {"quantities": None},
        {"subject": "acct_2"},
        {"subject": None},
        {"time": NOON_MS + 1},
        {"time": None},
        {"route": "/v1/x"},
        {"method": "GET"},
        {"status": 200},
        {"kind": "request"},
        {"duration_us": 1},
        {"bytes_in": 1},
        {"bytes_out": 1},
    )
    for change in changes:
        response = await post(web, plain(**change))
        assert response.status_code == 409, change
        (result,) = response.json()["results"]
        assert result["verdict"] == "conflict"
        assert (result["event"], result["field"]) == (1, "id")

    assert await counted(web) == 5


async def test_the_first_of_two_in_one_batch_stays(web: Web) -> None:
    found = await verdicts(web, [plain(), plain(quantities={"tokens": 9}), plain()])

    assert found == ["accepted", "conflict", "duplicate"]
    assert await counted(web) == 5


async def test_an_id_is_unique_within_its_source(web: Web) -> None:
    found = await verdicts(
        web, [plain(), plain(source="other"), plain(source=None), plain(source=None)]
    )

    assert found == ["accepted", "accepted", "accepted", "duplicate"]
    assert await counted(web) == 15


async def test_an_event_without_a_time_is_the_same_whenever_it_comes(web: Web) -> None:
    event = plain()
    del event["time"]
    assert await verdicts(web, [event]) == ["accepted"]

    web.clock.time_ms += 3_600_000

    assert await verdicts(web, [event]) == ["duplicate"]
    (shown,) = (await web.get("/v1/events", period="2026-11"))["events"]
    assert shown["time"] == "2026-11-06T12:00:00.000Z"


async def test_many_requests_at_once_count_each_event_once(web: Web) -> None:
    batches = [[plain(i % 40) for i in range(start, start + 20)] for start in range(40)]

    found = await asyncio.gather(*(verdicts(web, batch) for batch in batches))

    assert sum(one.count("accepted") for one in found) == 40
    assert sum(one.count("duplicate") for one in found) == 760
    assert await counted(web) == 200


async def test_it_counts_once_over_a_restart(tmp_path: Path, open_web: OpenWeb) -> None:
    async with open_web() as web:
        await post(web, [plain(1), plain(2)])

    async with open_web() as web:
        found = await verdicts(web, [plain(1), plain(2), plain(3)])
        assert await counted(web) == 15

    assert found == ["duplicate", "duplicate", "accepted"]


async def test_who_waits_no_longer_does_not_free_the_name(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking: list[object] = []
    take = external.External.take

    def noted(self: external.External, *given: Any, **more: Any) -> Any:
        taking.append(given)
        return take(self, *given, **more)

    await verdicts(web, [plain(7)])
    monkeypatch.setattr(external.External, "take", noted)
    async with web.parts.database.transaction():  # nobody else commits meanwhile
        # The request is given up while its event is on the way to the disk.
        first = asyncio.create_task(verdicts(web, [plain()]))
        while not web.parts.ingest.waiting_s:
            await asyncio.sleep(0)
        first.cancel()
        again = asyncio.create_task(verdicts(web, [plain()]))
        while len(taking) < 2:
            await asyncio.sleep(0)

    assert await again == ["duplicate"]
    assert await counted(web) == 10


# --- forms


async def test_cloudevents_come_alone_in_batches_and_in_headers(web: Web) -> None:
    alone = await post(web, cloud(1), CLOUD + "; charset=utf-8")
    batch = await post(web, [cloud(2), cloud(3)], BATCH)
    binary = await post(
        web,
        {"quantities": {"tokens": 5}},
        "application/json",
        **{
            "ce-specversion": "1.0",
            "ce-id": "e%2D4",
            "ce-source": "jobs",
            "ce-type": '"com.\\example.job"',
            "ce-time": NOON,
            "ce-subject": "acct_1",
        },
    )
    again = await post(web, [cloud(1), cloud(4)], BATCH)

    for response, n_accepted in ((alone, 1), (batch, 2), (binary, 1)):
        assert (response.status_code, response.json()["accepted"]) == (200, n_accepted)
    assert again.json()["duplicate"] == 2
    page = await web.get("/v1/events", period="2026-11", kind="use")
    assert {(one["source"], one["route"]) for one in page["events"]} == {
        ("jobs", "com.example.job")
    }
    assert [one["external_id"] for one in page["events"]] == [
        f"e-{i}" for i in range(1, 5)
    ]


async def test_what_a_cloudevent_adds_of_its_own_is_allowed(web: Web) -> None:
    event = cloud(dataschema="https://example.com/1", traceparent="00-1", partition=3)

    assert await verdicts(web, [event], BATCH) == ["accepted"]
    assert await verdicts(web, [cloud()], BATCH) == ["duplicate"]


async def test_a_request_of_another_service_is_a_request(web: Web) -> None:
    data = {"kind": "request", "method": "HEAD", "route": "/v1/x", "status": 200}

    await post(web, cloud(data={**data, "bytes_out": 9, "duration_us": 1_500}), CLOUD)

    (shown,) = (await web.get("/v1/events", period="2026-11"))["events"]
    assert shown["kind"] == "request"
    assert (shown["method"], shown["route"], shown["status"]) == ("HEAD", "/v1/x", 200)
    assert (shown["bytes_out"], shown["duration_us"]) == (0, 1_500)
    assert shown["flags"] == ["external"]


async def test_what_cannot_be_taken_is_refused_with_its_field(web: Web) -> None:
    for event, field in (
        (plain(quantities={"tokens": 1.5}), "quantities.tokens"),
        (plain(route="\ud800"), "route"),
        (plain(**{"\ud800": 1}), "\\ud800"),
        (None, None),
    ):
        reason, found = await refused(web, event)
        assert found == field
        assert reason
    assert (await refused(web, cloud(type=""), CLOUD))[1] == "type"
    assert await counted(web) == 0


async def test_whole_numbers_are_whole_however_they_are_written(web: Web) -> None:
    for i, text in enumerate(("5.0", "5e0", "0.5E1", "50e-1")):
        body = json.dumps(plain(i)).replace('"tokens": 5', f'"tokens": {text}')
        assert await verdicts(web, body.encode()) == ["accepted"], text
    for text in ("0.99999999999999999999", "5e-1", "1e999", "0e99999999999999999999"):
        body = json.dumps(plain(9)).replace('"tokens": 5', f'"tokens": {text}')
        assert (await post(web, body.encode())).status_code in (200, 400), text

    assert await counted(web) == 20


# --- bodies that cannot be read


async def test_a_body_that_cannot_be_read_is_an_error_that_says_why(web: Web) -> None:
    for body, words in (
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"[1] x", "no JSON"),
        (b"\xff{}", "not UTF-8"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a": NaN}', "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a": ]', "the body is no JSON: line 1, column 7: expecting value"),
        (b'{"a":' * 150_000, "nested too deeply"),
        (b'{"id":' + b"1" * 5_000 + b"}", "digits"),
        (json.dumps([plain()] * 1_001).encode(), "1,000 events"),
    ):
        response = await post(web, body)
        assert response.status_code in (400, 413), words
        assert words in response.json()["detail"]
        assert response.headers["content-type"] == "application/problem+json"

    assert await counted(web) == 0


async def test_what_a_cloudevent_nests_too_deeply_is_an_error(web: Web) -> None:
    for depth in (3_000, 30_000):
        response = await post(web, b'{"more":' * depth + b"1" + b"}" * depth, CLOUD)

        assert response.status_code == 400
        assert "nested too deeply" in response.json()["detail"]


async def test_what_is_given_twice_is_refused_and_the_others_are_not(web: Web) -> None:
    twice = b'{"id": "a", "quantities": {"tokens": 1, "tokens": 2}}'
    names = b'{"id": "a", "id": "b"}'
    good = json.dumps(plain()).encode()

    response = await post(web, b"[" + b",".join((twice, names, good)) + b"]")

    results = response.json()["results"]
    assert [one["verdict"] for one in results] == ["refused", "refused", "accepted"]
    assert results[0]["reason"] == results[1]["reason"] == "is given twice"
    assert (results[0]["field"], results[1]["field"]) == ("quantities.tokens", "id")
    assert await counted(web) == 5


async def test_a_large_object_with_something_twice_costs_little(web: Web) -> None:
    members = ",".join(f'"k{i}":0' for i in range(80_000))

    began_s = time.process_time()  # whatever else the machine does
    response = await post(web, f'{{"k1":1,{members}}}'.encode())

    assert response.status_code == 400
    assert time.process_time() - began_s < 5


async def test_a_body_in_another_form_is_told_which_there_are(web: Web) -> None:
    body = gzip.compress(json.dumps(plain()).encode())
    for media_type, headers in (
        ("text/plain", {}),
        ("", {}),
        ("application/xml", {}),
        ("application/json; charset=utf-16", {}),
        ("application/json", {"content-encoding": "gzip"}),
    ):
        response = await post(web, body, media_type, **headers)
        assert response.status_code == 415, response.text


async def test_a_batch_is_a_list(web: Web) -> None:
    assert (await post(web, cloud(), BATCH)).status_code == 400
    assert await verdicts(web, [], BATCH) == []
    assert await refused(web, [cloud()], CLOUD) == (
        "must be an object, not a list",
        None,
    )


async def test_a_body_is_as_long_as_it_may_be_and_no_longer(web: Web) -> None:
    events = [plain(i) for i in range(1_000)]
    padded = json.dumps(events).encode().ljust(EVENTS_BYTES_MAX)

    assert (await post(web, padded)).json()["accepted"] == 1_000
    assert (await post(web, padded + b" ")).status_code == 413


async def test_all_bodies_together_take_no_more_room_than_they_may(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps(plain()).encode()
    monkeypatch.setattr(endpoint, "HELD_BYTES_MAX", len(body))

    busy = await post(web, body + b" ")
    good = [(await post(web, body)).status_code for _ in range(3)]

    assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
    assert good == [200] * 3


# --- when it cannot be stored


async def test_a_full_disk_is_a_503_and_what_is_sent_again_counts_once(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_committer: Committer, _group: object) -> None:
        raise DiskFull("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Committer, "write", full)
        response = await post(web, [plain(1), plain(2)])

    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert "the disk is full" in response.json()["detail"]
    assert await verdicts(web, [plain(1), plain(2)]) == ["accepted", "accepted"]
    assert await counted(web) == 10


async def test_two_who_send_one_event_to_a_full_disk_are_both_told(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_committer: Committer, _group: object) -> None:
        raise DiskFull("the disk is full")

    monkeypatch.setattr(Committer, "write", full)
    responses = await asyncio.gather(*(post(web, plain()) for _ in range(5)))

    assert [response.status_code for response in responses] == [503] * 5


async def test_while_too_much_waits_for_the_disk_nothing_more_is_taken(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Ingest, "has_room", property(lambda _: False))
        response = await post(web, plain())

    assert response.status_code == 503
    assert await verdicts(web, [plain()]) == ["accepted"]


async def test_what_is_not_stored_in_time_is_a_503_and_counts_once(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits, write = asyncio.Event(), Committer.write

    async def slow(committer: Committer, group: list[Piece]) -> Head | None:
        await commits.wait()
        return await write(committer, group)

    monkeypatch.setattr(external, "STORE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(Committer, "write", slow)
    late = [(await post(web, plain())).status_code for _ in range(2)]
    commits.set()

    assert late == [503] * 2
    monkeypatch.setattr(external, "STORE_TIMEOUT_S", 30)
    assert await verdicts(web, [plain()]) == ["duplicate"]
    assert await counted(web) == 5


# --- time


async def test_an_impossible_time_is_held_and_said_so(web: Web) -> None:
    response = await post(web, [plain(1, time=0), plain(2, time=NOON_MS + 86_400_000)])

    assert [one["is_held"] for one in response.json()["results"]] == [True, True]
    assert await counted(web) == 0
    held = (await web.get("/v1/held"))["events"]
    assert [(one["app"], one["state"]) for one in held] == [
        ("external events", "waiting")
    ] * 2

    web.clock.time_ms += 86_400_000
    await web.parts.held.release()

    assert await counted(web) == 5
    assert await verdicts(web, [plain(2, time=NOON_MS + 86_400_000)]) == ["duplicate"]


# --- who may


async def test_only_a_token_for_it_sends_and_it_does_nothing_else(
    open_web: OpenWeb,
) -> None:
    async with open_web(sidecar=LOCKED) as web:
        made = {
            scope: web.tokens.create(scope, scope, now_ms=0).text
            for scope in ("status", "read", "write", "ingest")
        }
        sent = {
            scope: (await post(web, plain(), **bearer(text))).status_code
            for scope, text in made.items()
        }
        nobody = (await post(web, plain())).status_code
        others = {
            path: (await web.http.get(path, headers=bearer(made["ingest"]))).status_code
            for path in (
                "/status",
                "/metrics",
                "/v1/events",
                "/v1/usage",
                "/",
                "/events",
            )
        }
        changed = await web.http.post(
            "/v1/held/accept", headers=bearer(made["ingest"]), params={"all": True}
        )

    assert sent == {"status": 403, "read": 403, "write": 403, "ingest": 200}
    assert nobody == 401
    assert set(others.values()) == {403}
    assert changed.status_code == 403


async def test_a_token_of_a_source_sends_of_no_other(open_web: OpenWeb) -> None:
    async with open_web(sidecar=LOCKED) as web:
        token = web.tokens.create("jobs", "ingest", now_ms=0, source="jobs").text
        response = await post(
            web,
            [plain(1), plain(2, source="other"), plain(1, source=None)],
            **bearer(token),
        )

    results = response.json()["results"]
    assert [one["verdict"] for one in results] == ["accepted", "refused", "duplicate"]
    assert results[1]["field"] == "source"


async def test_a_page_of_another_site_sends_nothing(web: Web) -> None:
    response = await post(web, plain(), origin="https://evil.example")

    assert response.status_code == 403


async def test_who_sends_too_often_is_told_when_to_come_back(open_web: OpenWeb) -> None:
    slow = SIDECAR + "http_requests_per_s = 2\n"
    async with open_web(sidecar=slow) as web:
        # All at once: what one takes may be as long as it takes to be let in again.
        responses = await asyncio.gather(*(post(web, plain(i)) for i in range(6)))

    assert [one.status_code for one in responses] == [200] * 4 + [429] * 2
    assert responses[-1].headers["retry-after"] == "1"


# --- what is told of it


async def test_status_and_metrics_count_what_came(web: Web) -> None:
    await post(web, [plain(1), plain(2), plain(1), plain(1, subject="x"), {"id": 7}])

    status = await web.get("/status")
    metrics = (await web.http.get("/metrics")).text

    assert status["external"] == {
        "accepted": 2,
        "duplicate": 1,
        "conflict": 1,
        "refused": 1,
        "conflicts_ever": 1,
    }
    (problem,) = (
        one for one in status["problems"] if one["code"] == "external_id_conflict"
    )
    assert "e-1" in problem["text"]
    assert "event 1" in problem["text"]
    assert status["events"]["recorded"] == status["events"]["ingested"] == 2
    assert 'meterline_external_events_total{verdict="accepted"} 2.0' in metrics
    assert 'meterline_external_events_total{verdict="refused"} 1.0' in metrics


async def test_a_conflict_is_told_of_after_a_restart(
    tmp_path: Path, open_web: OpenWeb
) -> None:
    async with open_web() as web:
        await post(web, [plain(), plain(status=1), plain(status=2)])

    async with open_web(clock=FakeClock()) as web:
        status = await web.get("/status")

    assert status["external"]["conflicts_ever"] == 2
    assert "external_id_conflict" in [one["code"] for one in status["problems"]]


async def test_an_event_is_found_by_what_its_sender_calls_it(web: Web) -> None:
    await post(web, [plain(1), plain(2), plain(2, source="other")])

    page = await web.get(
        "/v1/events", period="2026-11", source="jobs", external_id="e-2"
    )
    of_source = await web.get("/v1/events", period="2026-11", source="other")
    whole = await web.get("/v1/events/2")

    assert [one["id"] for one in page["events"]] == [2]
    assert [one["id"] for one in of_source["events"]] == [3]
    assert (whole["event"]["source"], whole["event"]["external_id"]) == ("jobs", "e-2")
    assert (await web.http.get("/events/2")).text.count("e-2") >= 1
