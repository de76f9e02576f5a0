"""What becomes of final invoices: sent, paid, given up, void, and invoiced again."""

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meterline_sidecar.ledger.journal import verify_journal
from tests.web.again import computed_again
from tests.web.conftest import OpenWeb, form, web_at
from tests.web.papers import METERS, SELLER
from tests.web.test_final import Desk, customer

TIERS = """
[[plan]]
name = "basic"
currency = "usd"
[[plan.price]]
name = "fee"
model = "flat"
amount = "1"
[[plan.price]]
meter = "calls"
model = "graduated"
tiers = [{ up_to = 10, unit_amount = "0.10" }, { unit_amount = "0.03" }]
"""
VAT = '[[plan.tax]]\nname = "VAT"\npercent = "19"\n'
DEARER = TIERS.replace('"0.10"', '"0.20"')
ACME = METERS + SELLER + customer(more="starts = 2026-10-01")
HTML = {"Accept": "text/html"}


@pytest.fixture
async def desk(open_web: OpenWeb, tmp_path: Path) -> AsyncGenerator[Desk]:
    """A sidecar in December; INV-0001 of October is 2.00, INV-0002 of November 2.03."""
    async with open_web(meterline=ACME, pricing=TIERS) as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-12-02T12:00:00Z")
        await desk.use("2026-10-10T00:00:00Z", 10)
        await desk.use("2026-11-10T00:00:00Z", 11)
        assert (await desk.close("2026-10"))["due"] == "2.00"
        assert (await desk.close("2026-11"))["due"] == "2.03"
        yield desk


async def take(
    desk: Desk, number: str, step: str, status: int = 200, **body: Any
) -> Any:
    if step not in ("payments", "refunds"):
        body.setdefault("reason", "a test")
    answer = await desk.web.http.post(f"/v1/invoices/{number}/{step}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json() if status == 200 else answer.json()["detail"]


async def shown(desk: Desk, number: str = "INV-0001") -> Any:
    return await desk.web.get(f"/v1/invoices/{number}")


def states(found: Any) -> list[str]:
    return [one["state"] for one in found["steps"]]


def left(found: Any) -> str:
    (owed,) = found["left"]
    return f"{owed['amount']} {owed['currency']}"


async def balance(desk: Desk) -> str:
    found = await desk.web.get("/v1/customers/acme/statement")
    return str(found["entries"][-1]["balance"])


async def test_an_invoice_is_sent_then_paid_in_parts(desk: Desk) -> None:
    await take(desk, "INV-0001", "sent", reason="by mail")
    again = await take(desk, "INV-0001", "sent", reason="by mail")
    assert states(again) == ["final", "sent"]

    part = await take(
        desk,
        "INV-0001",
        "payments",
        amount="0.50",
        day="2026-11-30",
        reference="transfer 7",
    )
    assert (part["state"], left(part)) == ("sent", "1.50 usd")
    paid = await take(desk, "INV-0001", "payments", amount="1.50")

    assert (paid["state"], left(paid)) == ("paid", "0.00 usd")
    assert states(paid) == ["final", "sent", "paid"]
    assert paid["steps"][-1]["cause"] == "1.50 USD paid"
    assert [(one["day"], one["reference"]) for one in paid["payments"]] == [
        ("2026-11-30", "transfer 7"),
        ("2026-12-02", ""),
    ]
    account = await desk.web.get("/v1/customers/acme/statement")
    assert [(one["kind"], one["amount"]) for one in account["entries"]] == [
        ("invoice", "2.00"),
        ("invoice", "2.03"),
        ("payment", "-0.50"),
        ("payment", "-1.50"),
    ]
    assert account["balances"] == [{"amount": "2.03", "currency": "usd"}]


async def test_no_more_is_paid_than_is_left_and_the_rest_has_a_place(
    desk: Desk,
) -> None:
    refused = await take(desk, "INV-0001", "payments", 409, amount="2.01")
    assert "more than is left to pay of INV-0001, 2.00 usd" in refused
    assert "meterline credit acme AMOUNT --prepaid" in refused
    for odd in ({"amount": "-1"}, {"amount": "0.001"}, {"amount": "1", "day": "x"}):
        await take(desk, "INV-0001", "payments", 400, **odd)
    late = await take(desk, "INV-0001", "payments", 409, amount="1", day="2026-12-03")
    assert "still to come" in late
    other = await take(desk, "INV-0001", "payments", 409, amount="1", currency="eur")
    assert "left to pay of INV-0001, 0 eur" in other

    assert left(await shown(desk)) == "2.00 usd"
    assert await balance(desk) == "4.03"


async def test_the_same_payment_under_one_key_counts_once(desk: Desk) -> None:
    first = await take(desk, "INV-0001", "payments", amount="1", key="t7")
    again = await take(desk, "INV-0001", "payments", amount="1.00", key="t7")
    other = await take(desk, "INV-0001", "payments", 409, amount="0.5", key="t7")

    assert first["payments"] == again["payments"]
    assert "nothing was recorded" in other


async def test_what_was_given_back_is_to_be_paid_again(desk: Desk) -> None:
    await take(desk, "INV-0001", "payments", amount="2")
    too_much = await take(desk, "INV-0001", "refunds", 409, amount="2.01")
    assert "2 usd of it are paid" in too_much

    back = await take(desk, "INV-0001", "refunds", amount="0.50", reason="bounced")

    assert states(back) == ["final", "paid", "sent"]
    assert left(back) == "0.50 usd"
    assert await balance(desk) == "2.53"


async def test_what_is_credited_whole_is_paid(desk: Desk) -> None:
    answer = await desk.web.http.post(
        "/v1/invoices/INV-0001/credit", json={"amount": "2", "reason": "an outage"}
    )
    assert answer.status_code == 200

    found = await shown(desk)
    assert states(found) == ["final", "paid"]
    assert found["steps"][-1]["cause"] == "CN-0001 credits it: an outage"


async def test_an_invoice_over_nothing_is_paid_as_it_becomes_final(
    desk: Desk,
) -> None:
    await desk.web.http.post(
        "/v1/customers/acme/credits", json={"amount": "50", "reason": "a gift"}
    )
    desk.clock("2027-01-02T00:00:00Z")
    assert (await desk.close("2026-12"))["due"] == "0.00"

    assert states(await shown(desk, "INV-0003")) == ["final", "paid"]


async def test_who_cannot_pay_is_given_up_and_may_pay_after_all(desk: Desk) -> None:
    assert states(await take(desk, "INV-0001", "uncollectible"))[-1] == "uncollectible"
    assert "is uncollectible" in await take(desk, "INV-0001", "sent", 409)

    paid = await take(desk, "INV-0001", "payments", amount="2")

    assert states(paid) == ["final", "uncollectible", "paid"]
    assert "is paid" in await take(desk, "INV-0001", "uncollectible", 409)


async def test_what_should_be_paid_by_now_is_overdue_and_listed(desk: Desk) -> None:
    async def overdue() -> list[str]:
        found = await desk.web.get("/v1/invoices", state="overdue")
        return [one["number"] for one in found["documents"]]

    desk.clock("2026-12-16T23:00:00Z")  # the last day
    assert await overdue() == []
    desk.clock("2026-12-17T01:00:00Z")
    assert await overdue() == ["INV-0002", "INV-0001"]
    first = await desk.web.get("/v1/invoices", state="overdue", limit=1)
    rest = await desk.web.get(
        "/v1/invoices", state="overdue", before=first["next_before"]
    )
    assert [one["number"] for one in rest["documents"]] == ["INV-0001"]

    await take(desk, "INV-0002", "payments", amount="2.03")
    await take(desk, "INV-0001", "uncollectible")

    assert await overdue() == []
    for state, number in (("paid", "INV-0002"), ("uncollectible", "INV-0001")):
        found = await desk.web.get("/v1/invoices", state=state)
        assert [one["number"] for one in found["documents"]] == [number]
    assert (await desk.web.get("/v1/invoices", state="sent"))["documents"] == []


async def test_what_is_void_is_credited_and_invoiced_again_only_when_asked_for(
    desk: Desk,
) -> None:
    before = await desk.web.http.get("/v1/invoices/INV-0001.html")
    void = await take(desk, "INV-0001", "void", reason="wrong price")

    assert states(void) == ["final", "void"]
    assert left(void) == "0.00 usd"
    note = await shown(desk, "CN-0001")
    assert (note["amount"], note["reason"]) == ("-2.00", "wrong price")
    assert (note["state"], note["steps"]) == (None, [])
    assert await balance(desk) == "2.03"
    for step in ("sent", "uncollectible"):
        assert "is void" in await take(desk, "INV-0001", step, 409)
    assert "is void" in await take(desk, "INV-0001", "payments", 409, amount="1")
    assert states(await take(desk, "INV-0001", "void")) == ["final", "void"]
    # By itself nothing makes another one; it is left to people, by name.
    desk.clock("2026-12-02T12:05:00Z")
    await desk.web.parts.closer.run()
    closing = await desk.web.get("/v1/close")
    (waiting,) = closing["held"]
    assert (waiting["customer"], waiting["period"]) == ("acme", "2026-10")
    assert "meterline close --customer acme --period 2026-10" in waiting["why"]
    page = await desk.web.http.get("/close", headers=HTML)
    assert "Its invoice is void" in page.text
    invoice = (await desk.web.http.get("/invoices/INV-0001", headers=HTML)).text
    told = invoice.partition("This invoice is void.")[2].partition("</p>")[0]
    assert '<a href="/invoices/CN-0001">CN-0001</a> credits it in full' in told

    await desk.load(ACME, DEARER)
    ask = form(period="2026-10", customer="acme")
    origin = {"Origin": "http://localhost", **HTML}
    unknown = form(period="2026-10", customer="acmee")
    asked = await desk.web.http.post("/close", data=unknown, headers=origin)
    assert asked.status_code == 404
    assert "did you mean acme" in asked.text
    assert 'value="acmee"' in asked.text
    asked = await desk.web.http.post("/close", data=ask, headers=origin)
    assert asked.status_code == 303
    await desk.web.parts.closer.run()
    assert "only acme, 2026-10" in (await desk.web.http.get("/close")).text

    again = await shown(desk, "INV-0003")
    assert (again["period"], again["state"]) == ("2026-10", "final")
    assert (await desk.web.get("/v1/close"))["held"] == []
    assert (await desk.close("2026-10"))["due"] == again["amount"]
    after = (await desk.web.http.get("/v1/invoices/INV-0001.html")).text
    lines = before.text.partition("<tbody>")[2].partition("</tbody>")[0]
    assert "Please pay $2.00" in before.text
    assert lines in after
    assert "Please pay" not in after


PREPAID = """
[[plan]]
name = "basic"
currency = "usd"
[[plan.price]]
name = "fee"
model = "flat"
amount = "10"
[[plan.tax]]
name = "VAT"
percent = "19"
[[plan.tax]]
name = "Reverse charge"
percent = "0"
[[plan.credit]]
name = "Prepaid"
amount = "11"
"""


async def test_void_takes_back_net_and_taxes_and_gives_credits_back(
    open_web: OpenWeb, tmp_path: Path
) -> None:
    async with open_web(meterline=ACME, pricing=PREPAID) as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-12-02T12:00:00Z")
        assert (await desk.close("2026-10"))["due"] == "1.90"  # it pays for no tax
        (whole,) = (await shown(desk))["breakdown"]
        for amount in ("0.63", "0.63", "0.64"):
            await take(desk, "INV-0001", "credit", amount=amount)
        page = (await web.http.get("/v1/invoices/INV-0001.html")).text

        await take(desk, "INV-0001", "void")

        notes = [(await shown(desk, f"CN-000{i}"))["breakdown"][0] for i in range(1, 5)]
        assert [(one["net"], one["tax"], one["credits"]) for one in notes] == [
            *(("-0.53", "-0.10", "0"), ("-0.53", "-0.10", "0")),
            *(("-0.54", "-0.10", "0"), ("-8.40", "-1.60", "10.00")),
        ]
        assert (whole["net"], whole["tax"], whole["credits"], whole["amount"]) == (
            *("10.00", "1.90", "-10.00", "1.90"),
        )
        assert [(t["title"], t["base"], t["amount"]) for t in notes[-1]["taxes"]] == [
            ("VAT", "-8.40", "-1.60"),
            ("Reverse charge", "-8.40", "0.00"),
        ]
        assert page.index("Net") < page.index("Prepaid") < page.index("Total for this")
        last = (await web.http.get("/invoices/CN-0004", headers=HTML)).text
        assert "there again" in last
        assert "0% of -$8.40" in last
        assert await balance(desk) == "0.00"


async def test_a_void_period_that_goes_on_is_left_to_nobody_until_it_is_over(
    desk: Desk,
) -> None:
    await desk.load(ACME + "ends = 2026-12-01\n", TIERS)
    await desk.close("2026-12")
    await take(desk, "INV-0003", "void")
    await desk.load(ACME, TIERS)

    async def held() -> list[str]:
        return [one["period"] for one in (await desk.web.get("/v1/close"))["held"]]

    running = await held()
    desk.clock("2027-01-01T00:00:00Z")

    assert (running, await held()) == ([], ["2026-12"])


async def test_late_usage_of_a_void_period_is_billed_with_its_next_invoice_alone(
    desk: Desk,
) -> None:
    await take(desk, "INV-0001", "void")
    await desk.use("2026-10-11T00:00:00Z", 10)

    assert (await desk.invoice("2026-12"))["adjustments"] == []
    assert (await desk.close("2026-10"))["due"] == "2.30"
    await desk.use("2026-10-12T00:00:00Z", 10)
    (late,) = (await desk.invoice("2026-12"))["adjustments"]
    assert (late["period"], late["amount"]) == ("2026-10", "0.30")


async def test_what_adjusted_a_void_invoice_elsewhere_is_taken_back_by_the_next(
    desk: Desk,
) -> None:
    await desk.use("2026-10-11T00:00:00Z", 10)
    desk.clock("2027-01-02T12:00:00Z")
    assert (await desk.close("2026-12"))["due"] == "1.30"  # 0.30 of it of October
    await take(desk, "INV-0001", "void")

    again = await desk.close("2026-10")

    assert (again["invoice"]["total"], again["due"]) == ("2.30", "2.00")
    (back,) = again["adjustments"]
    assert (back["period"], back["amount"]) == ("2026-10", "-0.30")
    assert await balance(desk) == "5.33"  # 2.30 + 2.03 + 1.00
    page = await desk.web.http.get("/invoices/INV-0004", headers=HTML)
    assert "$0.30 of it was billed on other invoices" in page.text
    # Void the one with the adjustment: October is whole again by the next.
    await take(desk, "INV-0003", "void")
    (late,) = (await desk.invoice("2026-12"))["adjustments"]
    assert (late["period"], late["amount"]) == ("2026-10", "0.30")


async def test_an_adjustment_says_its_tax_and_takes_back_what_was_said(
    open_web: OpenWeb, tmp_path: Path
) -> None:
    async with open_web(meterline=ACME, pricing=TIERS + VAT) as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-12-02T12:00:00Z")
        await desk.use("2026-10-10T00:00:00Z", 10)
        await desk.close("2026-10")
        await desk.use("2026-10-11T00:00:00Z", 10)
        (late,) = (await desk.close("2026-11"))["adjustments"]
        await take(desk, "INV-0001", "void")
        (back,) = (await desk.close("2026-10"))["adjustments"]
        await take(desk, "INV-0002", "void")

        assert (late["amount"], late["breakdown"]["net"]) == ("0.36", "0.30")
        assert late["breakdown"]["taxes"] == [
            {"title": "VAT", "percent": "19", "base": "0.30", "amount": "0.06"}
        ]
        assert (back["amount"], back["breakdown"]["tax"]) == ("-0.36", "-0.06")
        (note,) = (await shown(desk, "CN-0002"))["breakdown"]
        assert (note["net"], note["tax"], note["amount"]) == ("-1.30", "-0.25", "-1.55")
        report = await computed_again(web)
        assert (report.invoices, report.findings) == (3, [])
        # What is older says nothing of it; neither does what is drawn behind it.
        async with web.parts.database.transaction() as tx:
            for row in await tx.fetch_all("SELECT id, document FROM invoices"):
                older = json.loads(row[1])
                for one in older["adjustments"]:
                    one.pop("breakdown")
                text = json.dumps(older, separators=(",", ":"), ensure_ascii=False)
                await tx.execute(
                    "UPDATE invoices SET document = ? WHERE id = ?", (text, row[0])
                )
        report = await computed_again(web)
        assert (report.invoices, report.findings) == (3, [])


async def test_amounts_of_more_than_28_digits_are_added_to_the_last_one(
    open_web: OpenWeb, tmp_path: Path
) -> None:
    fee = "12345678901234567890123456789"
    pricing = PREPAID.replace('"10"', f'"{fee}"').replace('"19"', '"10"')
    async with open_web(meterline=ACME, pricing=pricing) as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-12-02T12:00:00Z")
        due = Decimal((await desk.close("2026-10"))["due"])
        assert str(due) == "13580246791358024679135802456.90"
        await take(desk, "INV-0001", "credit", amount="0.01")
        part = "1234567890.12"
        await take(desk, "INV-0001", "payments", amount=part)
        assert left(await shown(desk)) == "13580246791358024677901234566.77 usd"
        assert await balance(desk) == "13580246791358024677901234566.77"
        await take(desk, "INV-0001", "refunds", amount=part)
        await take(desk, "INV-0001", "void")
        assert await balance(desk) == "0.00"


async def test_an_invoice_that_somebody_paid_is_not_void(desk: Desk) -> None:
    await take(desk, "INV-0001", "payments", amount="0.50")

    refused = await take(desk, "INV-0001", "void", 409)

    assert "--refund 0.50" in refused
    await take(desk, "INV-0001", "refunds", amount="0.50", reason="sent back")
    assert states(await take(desk, "INV-0001", "void"))[-1] == "void"


async def test_a_number_that_is_no_invoice_takes_no_step(desk: Desk) -> None:
    await take(desk, "INV-0001", "void")

    assert "is no invoice" in await take(desk, "CN-0001", "sent", 400)
    assert "no invoice or credit note" in await take(desk, "INV-0099", "void", 404)
    await take(desk, "INV-0002", "void", 400, reason="")


async def test_every_step_and_payment_is_told_by_the_audit(desk: Desk) -> None:
    await take(desk, "INV-0001", "payments", amount="0.50", reference="transfer 7")
    await take(desk, "INV-0001", "refunds", amount="0.50", reason="bounced")
    await take(desk, "INV-0001", "void", reason="wrong price")

    acts = (await desk.web.get("/v1/audit", limit=20))["acts"]

    about = "invoice of acme for 2026-10"
    told = [
        (one["about"], one["what"], one["reason"])
        for one in acts
        if one["about"] == about
    ]
    assert told[:4] == [
        (about, "void", "wrong price"),
        (about, "CN-0001: -2.00 USD credited", "wrong price"),
        (about, "0.50 USD given back", "bounced"),
        (about, "0.50 USD paid on 2026-12-02, transfer 7", told[3][2]),
    ]
    assert {one["author"] for one in acts if one["about"] == about} == {"local"}


async def test_the_page_of_an_invoice_takes_steps_and_shows_them(desk: Desk) -> None:
    origin = {"Origin": "http://localhost", **HTML}

    async def send(path: str, **typed: str) -> str:
        answer = await desk.web.http.post(
            f"/invoices/INV-0001/{path}", data=form(**typed), headers=origin
        )
        if answer.status_code != 303:
            return answer.text
        assert answer.headers["location"] == "/invoices/INV-0001#steps"
        return (await desk.web.http.get("/invoices/INV-0001", headers=HTML)).text

    sent = await send("steps", step="sent", reason="by mail")
    assert "<strong>sent</strong> since 2026-12-02 12:00 UTC, by local" in sent
    assert "left to pay <strong>$2.00" in sent
    paid = await send("payments", what="payment", amount="0.50", reference="t 7")
    assert "left to pay <strong>$1.50" in paid
    assert "paid: note first" in await send("steps", step="void", reason="x")
    assert "given back" in await send("payments", what="refund", amount="0.50")
    assert "is no number" in await send("payments", what="refund", amount="x")
    void = await send("steps", step="void", reason="<b>wrong</b>")
    assert "&lt;b&gt;wrong" in void
    assert "<form" not in void.partition("Status and payments")[2]
    listed = await desk.web.http.get("/invoices?state=void", headers=HTML)
    assert "INV-0001" in listed.text
    assert "INV-0002" not in listed.text


async def test_the_desk_counts_what_became_of_each_month_and_leads_there(
    desk: Desk,
) -> None:
    async def months() -> dict[str, dict[str, tuple[int, str]]]:
        found = await desk.web.get("/v1/close/months")
        return {
            month["period"]: {
                heap["state"]: (
                    heap["invoices"],
                    "".join(owed["amount"] for owed in heap["amounts"]),
                )
                for heap in month["states"]
                if heap["invoices"]
            }
            for month in found["months"]
        }

    await take(desk, "INV-0001", "payments", amount="0.50")
    await take(desk, "INV-0002", "sent")
    assert await months() == {
        "2026-11": {"sent": (1, "2.03")},
        "2026-10": {"final": (1, "1.50")},
    }
    desk.clock("2026-12-20T00:00:00Z")
    await take(desk, "INV-0002", "void")
    await desk.close("2026-11")
    assert await months() == {
        "2026-11": {"final": (1, "2.03"), "void": (1, "2.03")},
        "2026-10": {"overdue": (1, "1.50")},
    }
    page = (await desk.web.http.get("/close", headers=HTML)).text
    assert "/invoices?period=2026-10&amp;state=overdue" in page
    await take(desk, "INV-0001", "uncollectible")
    await take(desk, "INV-0003", "payments", amount="2.03")
    assert await months() == {
        "2026-11": {"paid": (1, "2.03"), "void": (1, "2.03")},
        "2026-10": {"uncollectible": (1, "2.00")},
    }


MONTHS: Final[tuple[str, ...]] = ("2026-10", "2026-11", "2026-12", "2027-01")
GIFT: Final = Decimal(4)
MANY: Final = int(os.environ.get("HISTORIES", "12"))
"""How many are played; for many, give pytest ``--timeout 0``, too."""
Play = tuple[str, int, int]
PLAYS: Final = st.lists(
    st.tuples(
        st.sampled_from(("use", "use", "close", "close", "void", "void", "credit")),
        st.integers(0, 2),
        st.integers(1, 25),
    ),
    min_size=5,
    max_size=18,
)


def rated(n: int) -> Decimal:
    """Return what a month of so many calls comes to."""
    return 1 + min(n, 10) * Decimal("0.10") + max(n - 10, 0) * Decimal("0.03")


@settings(max_examples=MANY, deadline=None)
@example(
    [
        *[("use", 0, 1), ("close", 0, 1), ("use", 0, 1), ("close", 2, 1)],
        *[("void", 0, 1), ("close", 0, 1), ("void", 2, 1)],
    ]
)  # a credit paid late usage of October on the invoice that is void
@given(PLAYS)
def test_documents_add_up_to_all_that_was_used_whatever_was_void(
    plays: list[Play],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(play(Path(name), plays))


async def play(folder: Path, plays: list[Play]) -> None:
    async with web_at(folder, meterline=ACME, pricing=TIERS + VAT) as web:
        desk = Desk(web, folder)
        desk.clock("2027-01-02T12:00:00Z")
        gift = {"amount": str(GIFT), "reason": "a gift"}
        await web.http.post("/v1/customers/acme/credits", json=gift)
        used: dict[str, int] = dict.fromkeys(MONTHS, 0)
        for what, i, n in plays:
            await one_of(desk, used, what, MONTHS[i], n)
        desk.clock("2027-02-02T12:00:00Z")
        for month in MONTHS:
            await desk.close(month)
        await check_sum(desk, used)


async def one_of(
    desk: Desk, used: dict[str, int], what: str, month: str, n: int
) -> None:
    found = await desk.web.get("/v1/invoices", period=month, kind="invoice")
    live = [one["number"] for one in found["documents"] if one["state"] != "void"]
    assert len(live) <= 1
    if what == "use":
        used[month] += n
        await desk.use(f"{month}-10T00:00:00Z", n)
    elif what == "close":
        await desk.close(month)
    elif live and what == "void":
        await take(desk, live[0], "void")
    elif live:
        body = {"amount": f"0.{n:02}", "reason": "by hand"}
        await desk.web.http.post(f"/v1/invoices/{live[0]}/credit", json=body)


async def check_sum(desk: Desk, used: dict[str, int]) -> None:
    documents = (await desk.web.get("/v1/invoices"))["documents"]
    void = {one["number"] for one in documents if one["state"] == "void"}
    sums = dict.fromkeys(("net", "tax", "credits", "amount"), Decimal(0))
    for one in documents:
        whole = await shown(desk, one["number"])
        (made_of,) = whole["breakdown"]
        assert made_of["amount"] == one["amount"]
        if whole["reason"] != "by hand" or whole["invoice"] in void:
            for name in sums:
                sums[name] += Decimal(made_of[name])
        if one["number"] in void:
            assert left(whole) == "0.00 usd"
    net = sum(rated(n) for n in used.values())
    cents = sum(int(rated(n) * 19 + Decimal("0.5")) for n in used.values())
    tax = Decimal(cents) / 100
    paid = min(net, GIFT)
    assert sums == {
        "net": net,
        "tax": tax,
        "credits": -paid,
        "amount": net + tax - paid,
    }
    findings: list[str] = []
    parts = desk.web.parts
    key = parts.config.sidecar.database.with_suffix(".db.key").read_bytes()
    async with parts.database.reading() as tx:
        await verify_journal(tx, key, findings.append, lambda what, done, total: None)
    assert findings == []
