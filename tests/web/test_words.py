"""A wrong parameter is answered in words for whoever typed it."""

import pytest

from tests.web.conftest import Web


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/events?limit=many", "limit='many' is not a whole number"),
        ("/v1/events?limit=0", "limit='0' is not at least 1"),
        ("/v1/events?limit=9999", "limit='9999' is not at most 1000"),
        ("/v1/events?kind=x", "kind='x' is none of request, websocket, use"),
        ("/v1/outbox?state=x", "state='x' is none of pending, "),
        ("/v1/events?method=" + "x" * 40, "method has at most 32 characters"),
        (
            "/v1/customers/acme/invoice/finalize?period=2026-10&accept_gap=perhaps",
            "accept_gap='perhaps' is not true or false",
        ),
        ("/v1/customers/acme/invoice/finalize", "period is missing"),
        ("/v1/outbox/1/drop?reason=", "reason has at least 1 characters"),
        (
            "/v1/customers/acme/invoice/explain?day=2026-02-30",
            "Expected a day: 2026-11-30 - at `day`",
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
