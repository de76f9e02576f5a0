from meterline.events import Flag, Kind
from meterline_sidecar.web.app import routes
from tests.producer import NOON_MS, WITH_PROPERTIES, event
from tests.web.conftest import OpenWeb, Web


async def test_usage_says_what_was_used_and_up_to_when_it_is_known(web: Web) -> None:
    answer = await web.get("/v1/usage", customer="acme")

    assert answer["fresh_as_of"] == "2026-11-06T12:00:00.000Z"
    (usage,) = answer["usage"]
    assert usage["meters"][0]["quantity"] == 3  # the 500 is not measured
    assert usage["period"]["name"] == "2026-11"
    assert answer["next_after"] is None


async def test_a_span_is_taken_in_rfc_3339_with_a_zone(web: Web) -> None:
    answer = await web.get(
        "/v1/usage",
        customer="acme",
        start="2026-11-06T13:00:00+01:00",
        end="2026-11-06T14:00:00+01:00",
    )

    assert answer["usage"][0]["meters"][0]["quantity"] == 3


async def test_customers_come_in_pages_that_join_without_a_seam(
    open_web: OpenWeb,
) -> None:
    customers = "".join(f'[[customer]]\nid = "c{i:02}"\n' for i in range(25))
    async with open_web(meterline=customers, pricing="") as web:
        seen: list[str] = []
        after = ""
        while after is not None:
            page = await web.get("/v1/customers", limit=10, after=after)
            seen += [customer["id"] for customer in page["customers"]]
            after = page["next_after"]

    assert seen == [f"c{i:02}" for i in range(25)]


async def test_events_are_found_by_what_they_were(web: Web) -> None:
    async def ids(**query: object) -> list[int]:
        return [e["id"] for e in (await web.get("/v1/events", **query))["events"]]

    assert await ids() == [1, 2, 3, 4, 5]
    assert await ids(customer="acme") == [1, 2, 3, 4]
    assert await ids(route="/v1/other") == [2]
    assert await ids(status=500) == [3]
    assert await ids(subject="acct_1", method="GET", limit=2, after=2) == [3, 4]
    assert await ids(kind="use") == []
    assert await ids(after=5) == []
    assert await ids(after=2**63 - 1) == []


async def test_events_are_found_by_a_property_of_all_or_of_a_part(web: Web) -> None:
    await web.ship(
        event(**WITH_PROPERTIES),
        event(properties={"tenant": "eu-1", "model": "small"}),
        event(kind=Kind.USE, quantities={"n": 1}, properties={"tenant": "a=b"}),
        event(flags=int(Flag.BAD_PROPERTY)),
    )

    async def ids(**query: object) -> list[int]:
        return [e["id"] for e in (await web.get("/v1/events", **query))["events"]]

    assert await ids(where="tenant=eu-1") == [6, 7]
    assert await ids(where="model=large") == [6]
    assert await ids(where="model=small", customer="acme") == [7]
    assert await ids(where="tenant=a=b", kind="use") == [8]
    assert await ids(where="tenant=eu") == await ids(where="nobody=x") == []
    for wrong in ("tenant", "=x", "tenant=", "a.b=x", "a'=x", '"=x'):
        response = await web.http.get("/v1/events", params={"where": wrong})
        assert response.status_code == 400
        assert "write it as NAME=VALUE" in response.json()["detail"]
    assert (await web.get("/status"))["events"]["bad_quantities"] == 1


async def test_properties_of_an_event_are_shown_wherever_it_is(web: Web) -> None:
    await web.ship(event(**WITH_PROPERTIES))

    shown = (await web.get("/v1/events/6"))["event"]
    plain = (await web.get("/v1/events/1"))["event"]
    listed = (await web.http.get("/events?where=model%3Dlarge")).text
    whole = (await web.http.get("/events/6")).text
    refused = await web.http.get("/events?where=model", headers={"Accept": "text/html"})

    assert shown["quantities"] == {"tokens": 600}
    assert shown["properties"] == {"tenant": "eu-1"}
    own = {"region": "eu", "model": "large"}
    assert shown["parts"] == [{"quantity": "tokens", "amount": 512, "properties": own}]
    assert (plain["properties"], plain["parts"]) == ({}, [])
    for page in (listed, whole):
        assert "tenant=eu-1" in page
        assert "model=large region=eu" in page
    assert refused.status_code == 400
    assert "NAME=VALUE" in refused.text


async def test_one_event_is_shown_with_the_link_of_the_chain_over_it(web: Web) -> None:
    answer = await web.get("/v1/events/5")

    assert answer["event"]["subject"] is None
    assert answer["app"] == "tests"
    assert answer["batch"] == 2
    assert len(bytes.fromhex(answer["mac"])) == 32


async def test_an_unknown_event_is_not_found(web: Web) -> None:
    response = await web.http.get("/v1/events/77")

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


async def test_a_misspelt_parameter_names_the_right_one(web: Web) -> None:
    response = await web.http.get("/v1/usage", params={"custommer": "acme"})

    assert response.status_code == 400
    assert "did you mean `customer`" in response.json()["detail"]


async def test_an_answer_that_has_not_changed_is_not_sent_again(web: Web) -> None:
    first = await web.http.get("/v1/customers")
    tag = first.headers["etag"]

    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await web.http.get("/v1/customers", headers={"If-None-Match": known})
        assert again.status_code == 304, known
        assert again.content == b""
    other = await web.http.get("/v1/customers", headers={"If-None-Match": '"other"'})
    assert other.status_code == 200


async def test_times_beyond_the_calendar_are_refused_with_words(web: Web) -> None:
    for start, end in (
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.5Z"),
        ("0001-01-01", "0001-01-02"),
        ("2026-11-06T00:00:00+23:59", "no time"),
    ):
        response = await web.http.get("/v1/usage", params={"start": start, "end": end})
        assert response.status_code == 400, response.text


async def test_a_span_ends_after_it_starts(web: Web) -> None:
    response = await web.http.get(
        "/v1/events", params={"start": "2026-11-02", "end": "2026-11-01"}
    )

    assert response.status_code == 400
    assert "is not before" in response.json()["detail"]


async def test_the_draft_invoice_follows_new_events(web: Web) -> None:
    before = await web.get("/v1/customers/acme/invoice")
    await web.ship(event(time_ms=NOON_MS + 1))
    after = await web.get("/v1/customers/acme/invoice")

    assert before["invoice"]["lines"][0]["quantity"] == "3"
    assert after["invoice"]["lines"][0]["quantity"] == "4"
    assert after["invoice"]["total"] == "0.00"


async def test_every_route_of_the_api_is_in_its_document(web: Web) -> None:
    paths = (await web.get("/openapi.json"))["paths"]
    described = {(path, method.upper()) for path, of in paths.items() for method in of}
    there = {
        (route.path, method)
        for route in routes()
        for method in route.methods or ()
        if route.path.startswith("/v1/") and method != "HEAD"
    }

    assert ("/v1/imports/{name}/lines", "PUT") in there
    assert described == {*there, ("/status", "GET")}
