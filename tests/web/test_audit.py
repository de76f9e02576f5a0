"""Whoever changes what money stands on is told of, with when and why, in order."""

import json

import httpx

from meterline_sidecar.clock import DAY_MS
from tests.plans import starter_each
from tests.producer import event
from tests.web.conftest import OpenWeb, Web

DECEMBER_MS = 1_796_083_200_000


async def test_every_decision_is_there_once_in_the_order_of_the_journal(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=starter_each("0.50")) as web:
        await web.ship(event(), event(time_ms=DECEMBER_MS + 900 * DAY_MS))
        path = "/v1/customers/acme/credits"
        await web.http.post(path, json={"amount": "5", "reason": "an outage"})
        await web.http.post(f"{path}/1/end", params={"reason": "a mistake"})
        await web.http.post(
            "/v1/held/reject", params={"event": 2, "reason": "a broken clock"}
        )
        web.clock.time_ms = DECEMBER_MS + 1
        done = await web.http.post(
            "/v1/customers/acme/invoice/finalize", params={"period": "2026-11"}
        )
        assert done.status_code == 200, done.text

        page = await web.get("/v1/audit")

        told = [(one["author"], one["about"], one["what"]) for one in page["acts"]]
        assert told[:4] == [
            ("local", "invoice of acme for 2026-11", "final"),
            ("api", "held event 2", "rejected"),
            ("local", "credit 1", "ended"),
            ("local", "customer acme", "credit 1 granted, goodwill: 5 USD"),
        ]
        assert [one["reason"] for one in page["acts"][1:4]] == [
            "a broken clock",
            "a mistake",
            "an outage",
        ]
        assert {author for author, *_ in told[4:]} == {"files"}
        some = await web.get("/v1/audit", limit=3)
        rest = await web.get("/v1/audit", after=some["next_after"])
        assert some["acts"] + rest["acts"] == page["acts"]
        assert rest["next_after"] is None
        # The newest link is of the invoice's document, which its state tells of.
        assert (await web.get("/v1/audit", limit=1))["acts"] == page["acts"][:1]


async def agreed(web: Web) -> list[tuple[str, str]]:
    acts = (await web.get("/v1/audit"))["acts"]
    return [(act["about"], act["what"]) for act in reversed(acts)]


async def put(web: Web, customer: str, **body: object) -> httpx.Response:
    done = await web.http.put(f"/v1/customers/{customer}", json=body)
    assert done.status_code == 200, done.text
    return done


async def test_what_was_agreed_is_told_in_words_with_the_day_it_holds_from(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=starter_each("0.50")) as web:
        n_files = len(await agreed(web))
        first = {"name": "New Ltd", "plan": "starter", "subjects": ["new_*"]}
        await put(web, "new", **first)
        await put(web, "new", **{**first, "plan": None, "from": "2026-11-20"})

        told = await agreed(web)

        assert ("plan starter", "agreed: version 1, with prices for api_calls") in told
        assert ("meter api_calls", "agreed: count") in told
        named, given, moved = told[n_files:]
        assert named == ("customer new", "agreed: name New Ltd; plan starter")
        assert given[1].endswith(": subjects new_*")
        assert moved == ("customer new", "agreed: from 2026-11-20: plan none")
        (newest, *_) = (await web.get("/v1/audit"))["acts"]
        assert json.loads(newest["change"]) == {"plan": None}


async def test_what_was_decided_about_a_customer_is_found_alone(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=starter_each("0.50")) as web:
        await web.ship(event())
        await put(web, "new", name="New Ltd", plan="starter", subjects=["new_*"])
        for customer in ("acme", "new", "acme"):
            path = f"/v1/customers/{customer}/credits"
            await web.http.post(path, json={"amount": "0.01", "reason": "an outage"})
        await web.http.post(
            "/v1/customers/acme/credits/1/end", params={"reason": "a mistake"}
        )
        web.clock.time_ms = DECEMBER_MS + 1
        done = await web.http.post(
            "/v1/customers/acme/invoice/finalize", params={"period": "2026-11"}
        )
        assert done.status_code == 200, done.text
        number = (await web.get("/v1/invoices"))["documents"][0]["number"]
        for step, body in (
            ("payments", {"amount": "0.25"}),
            ("credit", {"amount": "0.10", "reason": "an outage"}),
        ):
            done = await web.http.post(f"/v1/invoices/{number}/{step}", json=body)
            assert done.status_code == 200, done.text

        page = await web.get("/v1/audit", customer="acme")

        everything = (await web.get("/v1/audit"))["acts"]
        assert page["next_after"] is None
        assert page["acts"] == [
            act
            for act in everything
            if "acme" in act["about"] or act["about"] == "credit 1"
        ]
        assert {act["about"] for act in page["acts"]} == {
            *("customer acme", "credit 1", "invoice of acme for 2026-11"),
        }
        some = await web.get("/v1/audit", customer="acme", limit=3)
        rest = await web.get("/v1/audit", customer="acme", after=some["next_after"])
        assert some["acts"] + rest["acts"] == page["acts"]
        shown = (await web.http.get("/audit?customer=new")).text
        assert "customer new" in shown
        assert "acme" not in shown


async def test_the_page_shows_what_was_decided_and_leads_to_what_is_older(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=starter_each("0.50")) as web:
        for i in range(60):
            path = "/v1/customers/acme/credits"
            body = {"amount": "5", "reason": f"outage <{i}>"}
            await web.http.post(path, json=body)

        newest = (await web.http.get("/audit")).text
        href = newest.rpartition('<a href="/audit?after=')[2].partition('"')[0]
        older = (await web.http.get(f"/audit?after={href}")).text

        assert '<a href="/audit">' in (await web.http.get("/close")).text
        for i in range(60):
            on = [f"outage &lt;{i}&gt;" in page for page in (newest, older)]
            assert on == [i >= 10, i < 10]
        assert "with prices for api_calls" in older
        assert "Older" not in older
        assert "Nothing is older." in (await web.http.get("/audit?after=1")).text
