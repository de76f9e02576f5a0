from tests.producer import NOON_MS, event
from tests.web.conftest import Web

DAY_MS = 86_400_000
LATE = event(time_ms=NOON_MS - 400 * DAY_MS)  # before 2026: of a clock never set
FAR = event(time_ms=2**52)


async def test_what_is_held_is_listed_and_told(web: Web) -> None:
    await web.ship(LATE, FAR)

    page = await web.get("/v1/held", customer="acme", state="waiting")
    status = await web.get("/status")

    assert [row["event"] for row in page["events"]] == [6, 7]
    assert page["events"][0]["time"] == "2025-10-02T12:00:00.000Z"
    assert page["events"][1]["time"] == "after 9999-12-31T23:59:59.999Z"
    assert page["next_after"] is None
    assert status["events"]["held"] == 2
    assert "meterline held list" in str(status["problems"])


async def test_pages_join_without_a_seam(web: Web) -> None:
    await web.ship(LATE, LATE, FAR)

    first = await web.get("/v1/held", limit=2)
    second = await web.get("/v1/held", limit=2, after=first["next_after"])

    found = [row["event"] for page in (first, second) for row in page["events"]]
    assert found == [6, 7, 8]


async def test_a_dry_run_decides_nothing(web: Web) -> None:
    await web.ship(LATE, FAR)

    answer = await web.http.post(
        "/v1/held/accept", params={"all": True, "reason": "try", "dry_run": True}
    )

    assert answer.json() == {
        "is_accepted": True,
        "is_dry_run": True,
        "events": 2,
        "subjects": 1,
        "first": "2025-10-02T12:00:00.000Z",
        "last": "after 9999-12-31T23:59:59.999Z",
    }
    assert (await web.get("/status"))["events"]["held"] == 2


async def test_what_is_accepted_is_used_at_its_time(web: Web) -> None:
    await web.ship(LATE, FAR)

    answer = await web.http.post(
        "/v1/held/accept", params={"event": 6, "reason": "it was late", "author": "ann"}
    )
    await web.parts.aggregator.run()

    assert answer.json()["events"] == 1
    october = await web.get("/v1/usage", customer="acme", period="2025-10")
    assert october["usage"][0]["meters"][0]["quantity"] == 1
    (row, _) = (await web.get("/v1/held"))["events"]
    assert (row["state"], row["counted_as"]) == ("counted", 8)
    assert (row["author"], row["reason"]) == ("ann", "it was late")
    events = (await web.get("/status"))["events"]
    assert (events["recorded"], events["ingested"], events["held"]) == (7, 7, 1)


async def test_it_must_be_said_what_is_decided_about(web: Web) -> None:
    await web.ship(LATE)

    for chosen in ("", "&all=true&customer=acme"):
        answer = await web.http.post(f"/v1/held/reject?reason=x{chosen}")
        assert answer.status_code == 400
    no_reason = await web.http.post("/v1/held/reject", params={"all": True})
    assert no_reason.status_code == 400


async def test_what_cannot_be_decided_is_said(web: Web) -> None:
    await web.ship(LATE)
    await web.http.post("/v1/held/accept?reason=x&event=6")

    counted = await web.http.post("/v1/held/reject?reason=x&event=6")
    no_such = await web.http.post("/v1/held/reject?reason=x&event=1")

    assert (counted.status_code, no_such.status_code) == (409, 404)
    assert "counted already, as event 7" in counted.json()["detail"]


async def test_a_period_is_final_only_after_a_decision(web: Web) -> None:
    await web.ship(LATE)
    web.clock.time_ms += 30 * DAY_MS
    path = "/v1/customers/acme/invoice/finalize"

    refused = await web.http.post(path, params={"period": "2026-11"})
    await web.http.post(
        "/v1/held/reject", params={"customer": "acme", "reason": "a test"}
    )
    final = await web.http.post(path, params={"period": "2026-11"})

    assert refused.status_code == 409
    assert "meterline held" in refused.json()["detail"]
    assert final.json()["status"] == "final"


async def test_a_clock_six_minutes_ahead_costs_nothing_in_the_end(web: Web) -> None:
    await web.ship(*[event(time_ms=NOON_MS + 6 * 60_000)] * 10)
    web.clock.time_ms += 30 * DAY_MS

    final = await web.http.post(
        "/v1/customers/acme/invoice/finalize", params={"period": "2026-11"}
    )

    (meter,) = [m for m in final.json()["usage"] if m["meter"] == "api_calls"]
    assert meter["quantity"] == 13


async def test_quantities_that_could_not_be_taken_are_told(web: Web) -> None:
    await web.ship(event(flags=8))

    status = await web.get("/status")

    assert status["events"]["bad_quantities"] == 1
    assert "a quantity or a property that was left out" in str(status["problems"])
