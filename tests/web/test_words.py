"""A wrong parameter is answered in words for whoever typed it."""

import gzip
import re
from typing import Final

import pytest

from tests.web.conftest import Web


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (
            "/v1/events?limit=many",
            "`limit` must be a whole number from 1 to 1000, not 'many'",
        ),
        (
            "/v1/events?limit=0",
            "`limit` must be a whole number from 1 to 1000, not '0'",
        ),
        (
            "/v1/events?limit=9999",
            "`limit` must be a whole number from 1 to 1000, not '9999'",
        ),
        ("/v1/events?kind=x", "`kind` must be request, use or websocket, not 'x'"),
        ("/v1/outbox?state=x", "`state` must be confirmed, dead, expired, "),
        ("/v1/events?method=" + "x" * 40, "`method` has at most 32 characters, not 40"),
        (
            "/v1/customers/acme/invoice/finalize?period=2026-10&accept_gap=perhaps",
            "`accept_gap` must be true or false, not 'perhaps'",
        ),
        ("/v1/customers/acme/invoice/finalize", "`period` is missing"),
        ("/v1/outbox/1/drop?reason=", "`reason` is empty"),
        (
            "/v1/customers/acme/invoice/explain?day=2026-02-30",
            "`day` must be a day such as 2026-11-30, not '2026-02-30'",
        ),
        ("/v1/events?status=5xy", "status='5xy' is no HTTP status; write 404, 5xx, "),
        ("/v1/events?status=99", "status='99' is no HTTP status"),
        ("/v1/events?status=499-400", "status='499-400' is no HTTP status"),
    ],
)
async def test_a_parameter_is_refused_in_words_that_name_it(
    web: Web, path: str, words: str
) -> None:
    is_change = "finalize" in path or "drop" in path
    response = await web.http.request("POST" if is_change else "GET", path)

    assert response.status_code == 400
    assert words in response.json()["detail"]


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("200", 4),
        ("5xx", 1),
        ("400-499", 0),
        ("200-500", 5),
        ("404,5xx", 1),
        ("200, 304", 4),
        ("0", 0),
    ],
)
async def test_events_are_found_by_ranges_of_statuses(
    web: Web, status: str, found: int
) -> None:
    page = await web.http.get("/events", params={"status": status})
    answer = await web.get("/v1/events", status=status)

    assert len(answer["events"]) == found
    assert page.text.count('<th scope="row">') == found


CREDITS: Final = "/v1/customers/acme/credits"


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        (CREDITS, b"", "the body is empty; send a JSON object with `amount`, `reason`"),
        (CREDITS, b"{", "the body is no JSON"),
        (CREDITS, b'{"amount": NaN, "reason": "x"}', "NaN is no number"),
        (CREDITS, b"\xff", "the body is not UTF-8"),
        (CREDITS, b"[" * 20_000, "nested too deeply"),
        (CREDITS, b'{"amount": "5"}', "`reason` is missing"),
        (CREDITS, b"[]", "the body must be an object, not a list"),
        (
            CREDITS,
            rb'{"amount": "5", "reason": "\ud800"}',
            "half of a surrogate pair is no Unicode",
        ),
        (
            "/v1/customers/acme",
            b'{"own_prices": [{"price": "a", "price": "b"}]}',
            "`own_prices[0].price` stands in the body more than once",
        ),
        ("/v1/close", b'{"dry_run": true}', "this takes no body; `period`, "),
        ("/v1/archive/run", b'{"x": 1}', "this takes no body, and has no parameters"),
    ],
)
async def test_a_body_is_refused_in_words_and_changes_nothing(
    web: Web, path: str, content: bytes, words: str
) -> None:
    before = await web.get("/v1/audit")
    method = "PUT" if path.endswith("acme") else "POST"
    response = await web.http.request(method, path, content=content)

    assert (response.status_code, response.headers["content-type"]) == (
        400,
        "application/problem+json",
    )
    assert words in response.json()["detail"]
    assert (await web.get("/v1/audit")) == before


async def test_a_body_that_says_nothing_is_as_good_as_none(web: Web) -> None:
    for content in (b"", b"{}", b" {}\n"):
        answer = await web.http.post("/v1/reload", content=content)
        assert answer.status_code == 200


async def test_a_body_that_is_compressed_is_refused_as_such(web: Web) -> None:
    body = gzip.compress(b'{"amount": "5", "reason": "x"}')

    response = await web.http.post(
        CREDITS, content=body, headers={"content-encoding": "gzip"}
    )

    assert response.status_code == 415
    assert response.json()["detail"] == "send the body without Content-Encoding"


async def test_a_path_names_every_method_that_it_takes(web: Web) -> None:
    paths = (await web.get("/openapi.json"))["paths"]
    for path, operations in paths.items():
        taken = {method.upper() for method in operations}
        taken |= {"HEAD"} if "GET" in taken else set()
        for method in ("DELETE", "PATCH", "OPTIONS", "TRACE"):
            answer = await web.http.request(method, re.sub(r"{\w+}", "1", path))

            assert answer.status_code == 405, path
            assert set(answer.headers["allow"].split(", ")) == taken, path
            assert answer.json()["status"] == 405


async def test_an_answer_that_has_not_changed_is_documented(web: Web) -> None:
    operations = (await web.get("/openapi.json"))["paths"]["/v1/customers"]

    answer = await web.http.get("/v1/customers", headers={"if-none-match": "*"})

    assert answer.status_code == 304
    assert ("304" in operations["get"]["responses"]) is True
    assert ("304" in operations["post"]["responses"]) is False


async def test_events_are_sent_without_parameters(web: Web) -> None:
    answer = await web.http.post("/v1/events?dry_run=true", json={"id": "a"})

    assert answer.status_code == 400
    assert answer.json()["detail"] == (
        "this has no parameters: all of it stands in the body"
    )
    assert (await web.get("/status"))["events"]["ingested"] == 5
