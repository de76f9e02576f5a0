"""Credits pay for the invoices that become final next, once, and never more than they are."""

import json
from decimal import Decimal
from typing import Any

from meterline_sidecar.clock import DAY_MS
from tests.plans import HEAD, starter_each
from tests.producer import event
from tests.sidecar_process import METERLINE
from tests.web.conftest import OpenWeb, Web
from tests.web.test_portal import token_of

DECEMBER_MS = 1_796_083_200_000
JANUARY_MS = DECEMBER_MS + 31 * DAY_MS
FEE = HEAD + '[[plan.price]]\nname = "seat"\nmodel = "flat"\namount = "30"\n'
EACH = starter_each("0.50")
CREDITS = "/v1/customers/acme/credits"


async def grant(web: Web, amount: str, status: int = 200, **more: Any) -> Any:
    body = {"amount": amount, "reason": "the outage"} | more
    answer = await web.http.post(CREDITS, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()["credits"][-1] if status == 200 else answer.json()["detail"]


async def due(web: Web, period: str) -> str:
    answer = await web.get("/v1/customers/acme/invoice", period=period)
    return f"{answer['status']} {answer['due']}"


async def finalize(web: Web, period: str) -> str:
    answer = await web.http.post(
        "/v1/customers/acme/invoice/finalize", params={"period": period}
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["due"])


async def left(web: Web) -> list[tuple[str, str, str]]:
    found = (await web.get(CREDITS))["credits"]
    return [(one["used"], one["in_draft"], one["left"]) for one in found]


async def test_a_credit_pays_for_invoices_until_nothing_is_left_of_it(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=FEE) as web:
        granted = await grant(web, "40.00")
        assert (granted["author"], granted["kind"]) == ("local", "goodwill")
        await web.ship(event())
        assert await due(web, "2026-11") == "draft 0.00"
        assert await left(web) == [("0", "30.00", "40.00")]

        web.clock.time_ms = JANUARY_MS + 1
        assert await finalize(web, "2026-11") == "0.00"
        assert await finalize(web, "2026-12") == "20.00"
        assert await due(web, "2027-01") == "draft 30.00"
        assert await left(web) == [("40.00", "0", "0.00")]


async def test_customers_see_what_is_left_and_nothing_of_why(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=FEE) as web:
        await web.ship(event())
        await grant(web, "40", expires="2026-12-31", title="Starter pack")
        token = token_of(web, "acme")

        data = await web.get("/portal/usage.json", token=token)
        page = (await web.http.get("/portal", params={"token": token})).text

        assert data["credits"] == [
            {
                "title": "Starter pack",
                "left": "40",
                "currency": "usd",
                "expires": "2026-12-31",
            }
        ]
        assert "Starter pack" in page
        assert "the outage" not in page + str(data)


async def test_the_lower_priority_pays_first_then_what_expires_first(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=FEE) as web:
        await web.ship(event())
        await grant(web, "12", title="never")
        await grant(web, "12", title="soon", expires="2026-12-31")
        await grant(web, "12", title="first", priority=1)

        answer = await web.get("/v1/customers/acme/invoice", period="2026-11")

        lines = [
            (line["name"], line["amount"])
            for line in answer["invoice"]["lines"]
            if line["kind"] == "credit"
        ]
        assert lines == [
            ("first (credit 3)", "-12.00"),
            ("soon (credit 2)", "-12.00"),
            ("never (credit 1)", "-6.00"),
        ]


async def test_what_has_expired_or_was_ended_pays_for_nothing(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=FEE) as web:
        await web.ship(event())
        await grant(web, "10", expires="2026-11-30")
        await grant(web, "5")
        answer = await web.http.post(
            f"{CREDITS}/2/end", params={"reason": "given by mistake"}
        )
        assert answer.json()["credits"][1]["end_reason"] == "given by mistake"
        web.clock.time_ms = JANUARY_MS + 1

        assert await finalize(web, "2026-12") == "30.00"
        assert await finalize(web, "2026-11") == "20.00"
        assert await left(web) == [("10.00", "0", "0"), ("0", "0", "0")]
        missing = await web.http.post(f"{CREDITS}/9/end", params={"reason": "x"})
        assert missing.status_code == 409


async def test_late_usage_of_a_final_period_is_paid_by_what_its_invoice_knew(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=starter_each("10")) as web:
        await grant(web, "15")
        await web.ship(event())
        web.clock.time_ms = DECEMBER_MS + 1
        assert await finalize(web, "2026-11") == "0.00"
        # Of the 10 that come late, 5 were left of what November knew; what was granted
        # since pays for December.
        await grant(web, "100")
        await web.ship(event())

        answer = await web.get("/v1/customers/acme/invoice", period="2026-12")

        assert [one["amount"] for one in answer["adjustments"]] == ["5.00"]
        assert answer["due"] == "5.00"


async def test_an_invoice_that_is_older_than_credits_is_paid_by_none(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=starter_each("10")) as web:
        await web.ship(event())
        web.clock.time_ms = DECEMBER_MS + 1
        assert await finalize(web, "2026-11") == "10.00"
        async with web.parts.database.transaction() as tx:  # as it was once written
            ((text,),) = await tx.fetch_all("SELECT document FROM invoices")
            document = json.loads(text)
            del document["agreement"]
            await tx.execute(
                "UPDATE invoices SET document = ?", (json.dumps(document),)
            )
        await grant(web, "15")

        answer = await web.get("/v1/customers/acme/invoice", period="2026-12")

        assert answer["adjustments"] == []
        assert await left(web) == [("0", "0", "15")]


async def test_a_credit_is_counted_once_where_the_plan_changes_in_the_middle(
    open_web: OpenWeb,
) -> None:
    two = FEE + FEE.replace("starter", "pro").replace('"30"', '"60"')
    async with open_web(pricing=two) as web:
        await web.ship(event())
        await grant(web, "20")
    moved = METERLINE.replace('"starter"', '"pro"').replace(
        'plan = "pro"', 'plan = "pro"\nfrom = 2026-11-16'
    )
    async with open_web(meterline=moved, pricing=two) as web:
        answer = await web.get("/v1/customers/acme/invoice", period="2026-11")

        assert Decimal(answer["invoice"]["credits"]) == 20
        assert answer["due"] == "25.00"  # 15 + 30 - 20


async def test_what_a_void_period_gave_back_is_not_spent_twice(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=EACH) as web:
        await grant(web, "3.00")
        await web.ship(*(event() for _ in range(4)))
        web.clock.time_ms = JANUARY_MS + 20 * DAY_MS
        assert await finalize(web, "2026-11") == "0.00"
        body = {"events": [1, 2], "reason": "a test"}
        await web.http.post("/v1/corrections", json=body)
        assert await finalize(web, "2026-12") == "0.00"  # gives 1.00 of November back
        assert await left(web) == [("1.00", "0", "2.00")]
        path = "/v1/invoices/INV-0001/void"
        await web.http.post(path, json={"reason": "a test"})

        assert await left(web) == [("0", "0", "3.00")]
        await web.ship(*(event(time_ms=web.clock.time_ms) for _ in range(8)))
        web.clock.time_ms += 20 * DAY_MS
        assert await finalize(web, "2027-01") == "1.00"
        assert await finalize(web, "2026-11") == "1.00"
        assert await left(web) == [("3.00", "0", "0.00")]


async def test_the_same_credit_under_one_key_counts_once(open_web: OpenWeb) -> None:
    async with open_web(pricing=FEE) as web:
        first = await grant(web, "10", key="case-17")
        assert first["title"] == "Credit of 6 November 2026"
        web.clock.time_ms += DAY_MS
        again = await grant(web, "10.00", key="case-17")
        other = await grant(web, "11", status=409, key="case-17")

        assert first["credit"] == again["credit"] == 1
        assert "but is different" in await grant(
            web, "10", status=409, key="case-17", title="x"
        )
        assert "is different; nothing was granted" in other
        assert len(await left(web)) == 1


async def test_what_is_no_credit_is_refused_and_says_why(open_web: OpenWeb) -> None:
    async with open_web(pricing=FEE) as web:
        odd = (
            "1e3",
            "1_0",
            "+5",
            "1.000",
            "1,000",
            "5.",
            ".5",
            "\u0661",
            "\uff15",
            "1" * 13,
        )
        for amount in ("0", "-5", "ten", "NaN", "1e400", "5.001", "", *odd):
            assert "amount" in await grant(web, amount, status=400)
        assert "currency" in await grant(web, "5", status=400, currency="xxy")
        early = await grant(web, "5", status=400, expires="2026-11-05")
        assert "expires: 2026-11-05 is before 2026-11-0" in early
        assert await left(web) == []
        assert "as 1000 and as 1" in await grant(web, "1.000", status=400)
        await grant(web, " 5 ", currency="eur")  # pays once their plan is in euros
        await web.ship(event())
        assert await due(web, "2026-11") == "draft 30.00"
