"""Corrections by the API: what they come to, and what of them is billed when."""

from typing import Any

from meterline_sidecar.clock import DAY_MS
from tests.producer import event
from tests.web.conftest import OpenWeb, Web, form
from tests.web.test_credits import JANUARY_MS, due, finalize

PATH = "/v1/corrections"
CALLS = (
    '[[plan]]\nname = "starter"\nversion = 1\neffective = 2026-01-01\n'
    'currency = "usd"\n[[plan.price]]\nmeter = "api_calls"\nmodel = "per_unit"\n'
    'unit_amount = "1"\n'
)
NOVEMBER: dict[str, Any] = {"customer": "acme", "period": "2026-11"}


async def correct(
    web: Web, status: int = 200, *, dry_run: bool = False, **body: Any
) -> Any:
    answer = await web.http.post(
        PATH,
        params={"dry_run": "true"} if dry_run else {},
        json={"reason": "a test"} | body,
    )
    assert answer.status_code == status, answer.text
    return answer.json() if status == 200 else answer.json()["detail"]


async def revert(web: Web, correction: int, status: int = 200) -> Any:
    answer = await web.http.post(
        f"{PATH}/{correction}/revert", params={"reason": "no test"}
    )
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_a_final_period_is_adjusted_by_what_was_corrected_and_back(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=CALLS) as web:
        await web.ship(*(event() for _ in range(5)))
        web.clock.time_ms = JANUARY_MS - 20 * DAY_MS
        assert await finalize(web, "2026-11") == "5.00"
        before = await web.get("/v1/customers/acme/invoice", period="2026-11")

        made = await correct(web, **NOVEMBER, meter="api_calls")
        assert (made["void"], made["correction"]["is_counted"]) == (5, True)
        assert await due(web, "2026-12") == "draft -5.00"
        assert before == await web.get("/v1/customers/acme/invoice", period="2026-11")
        await revert(web, 1)
        assert await due(web, "2026-12") == "draft 0.00"

        # On an invoice, and made up for on the next one.
        await revert(web, 2)
        web.clock.time_ms = JANUARY_MS + 1
        assert await finalize(web, "2026-12") == "-5.00"
        knew = await web.get("/v1/customers/acme/invoice", period="2026-12")
        assert (before["known_correction"], knew["known_correction"]) == (0, 3)
        await revert(web, 3)
        assert await due(web, "2027-01") == "draft 5.00"


async def test_a_dry_run_says_what_comes_of_it_and_does_nothing(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=CALLS) as web:
        await web.ship(*(event() for _ in range(5)))

        void = await correct(web, dry_run=True, events=[1, 2])
        added = await correct(
            web,
            dry_run=True,
            add=[{"subject": "acme_9", "time": TIME, "kind": "request", "status": 200}],
        )
        amended = await correct(web, dry_run=True, events=[1], set={"subject": "other"})

        for answer, amount in ((void, "3.00"), (added, "6.00"), (amended, "4.00")):
            (period,) = answer["money"]["periods"]
            assert (period["before"]["amount"], period["status"]) == ("5.00", "open")
            assert period["after"]["amount"] == amount
            assert answer["correction"] is None
        assert await due(web, "2026-11") == "draft 5.00"
        assert (await web.get(PATH))["corrections"] == []

        # Done, each comes to what was said of it.
        await correct(web, events=[1, 2])
        assert await due(web, "2026-11") == "draft 3.00"
        await correct(
            web,
            add=[{"subject": "acme_9", "time": TIME, "kind": "request", "status": 200}],
        )
        assert await due(web, "2026-11") == "draft 4.00"
        await correct(web, events=[3], set={"subject": "other"})
        assert await due(web, "2026-11") == "draft 3.00"


async def test_corrections_are_listed_with_who_and_why(web: Web) -> None:
    made = await correct(web, events=[1], key="ticket 7")
    assert await correct(web, events=[1], key="ticket 7") == made | {
        "first": None,
        "last": None,
    }
    await revert(web, 1)

    back, first = (await web.get(PATH))["corrections"]
    assert (first["kind"], first["author"], first["reason"]) == (
        "void",
        "local",
        "a test",
    )
    assert (first["asked"], first["key"]) == ({"events": [1]}, "ticket 7")
    assert (first["reverted_by"], back["reverts"]) == (2, 1)
    page = await web.get(PATH, limit=1)
    assert page["next_after"] == 2
    acts = (await web.get("/v1/audit"))["acts"]
    assert [act["about"] for act in acts[:2]] == ["correction 2", "correction 1"]


async def test_an_event_says_by_what_it_is_void(web: Web) -> None:
    await correct(web, events=[2])

    event_ = (await web.get("/v1/events/2"))["event"]
    assert (event_["voided_by"], event_["flags"]) == (1, [])
    assert "void by correction 1" in (await web.http.get("/events")).text
    await revert(web, 1)
    assert (await web.get("/v1/events/2"))["event"]["voided_by"] is None
    # What the ledger stores for itself was recorded by nobody.
    assert (await web.get("/status"))["events"]["ingested"] == 5


async def test_what_is_wrong_is_refused_and_changes_nothing(web: Web) -> None:
    wrong: tuple[tuple[int, dict[str, Any], str], ...] = (
        (400, {}, "say of which time"),
        (400, {"events": [1], "period": "2026-11"}, "give either events"),
        (
            400,
            {"add": [{"subject": "a", "time": TIME}], "events": [1]},
            "add cannot be combined with a search",
        ),
        (400, {"events": [1], "set": {}}, "what the events should have said"),
        (400, {"events": [1], "set": {"status": 200}}, "unknown field"),
        (400, {"events": [1], "set": {"properties": {"time": "x"}}}, "this name"),
        (400, {"events": [1], "reason": ""}, "reason"),
        (400, {"add": [{"subject": "a", "time": LATER}]}, "is in the future"),
        (400, {"events": [1], "set": {"time": LATER}}, "is in the future"),
        (
            400,
            {"add": [{"subject": "a", "time": TIME, "quantities": {"n": "-1"}}]},
            "`add[0].quantities.n` must be a whole number from 0 on or a decimal"
            " in a text, such as \"1.25\", not '-1'",
        ),
        (404, {"customer": "acne", "period": "2026-11"}, "did you mean acme"),
        (409, {"events": [99]}, "no event 99"),
        (409, {"period": "2026-10"}, "no event that counts"),
    )
    for status, body, why in wrong:
        assert why in await correct(web, status, **body), body
    await revert(web, 9, status=404)
    assert (await web.get(PATH))["corrections"] == []


async def test_an_event_is_made_void_and_back_by_forms(web: Web) -> None:
    page = (await web.http.get("/events/2")).text
    assert 'action="/events/2/void"' in page

    answer = await web.http.post("/events/2/void", data=form(reason="<b>a test</b>"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/events/2#what")
    page = (await web.http.get("/events/2")).text
    assert 'by <a href="/corrections?after=2">correction 1</a>' in page
    assert "/void" not in page
    page = (await web.http.get("/corrections")).text
    assert "&lt;b&gt;a test&lt;/b&gt;, by local" in page

    typed = {"correction": "1", "reason": "no test"}
    answer = await web.http.post("/corrections", data=form(**typed))
    assert (answer.status_code, answer.headers["location"]) == (303, "/corrections")
    page = (await web.http.get("/corrections")).text
    assert "taken back by 2" in page
    assert (await web.http.post("/corrections", data=form(**typed))).status_code == 409
    assert (await web.http.post("/events/2/void", data=form())).status_code == 400
    # As all forms: only from our own pages.
    other = {"origin": "http://evil.example"}
    answer = await web.http.post("/events/2/void", data=form(**typed), headers=other)
    assert answer.status_code == 403


TIME = "2026-11-06T11:00:00Z"
LATER = "2062-11-06T11:00:00Z"
