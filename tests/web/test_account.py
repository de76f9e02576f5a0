"""A customer's account: documents one after the other, and what is owed after each."""

from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meterline_sidecar.billing.desk import Desk as InvoiceDesk
from meterline_sidecar.cli.commands.statement import tell_statement
from meterline_sidecar.local import written_for
from meterline_sidecar.web.answers.documents import AccountStatement
from tests.web.conftest import OpenWeb
from tests.web.papers import METERS, SELLER, credit, issue_all
from tests.web.test_final import BASIC, CALLS, JAPAN, Desk, customer

STATEMENT = "/v1/customers/acme/statement"


@pytest.fixture
async def desk(open_web: OpenWeb, tmp_path: Path) -> AsyncGenerator[Desk]:
    async with open_web(meterline=METERS + SELLER, pricing="") as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-11-01T00:00:00Z")
        yield desk


def lines(found: Any) -> list[tuple[str, str, str]]:
    return [
        (entry["number"], entry["amount"], entry["balance"])
        for entry in found["entries"]
    ]


async def test_each_document_changes_what_is_owed(desk: Desk) -> None:
    await issue_all(desk)

    found = await desk.web.get(STATEMENT)

    assert lines(found) == [
        ("INV-0001", "78.90", "78.90"),
        ("INV-0005", "58.84", "137.74"),
        ("CN-0001", "-12.34", "125.40"),
    ]
    assert found["balances"] == [{"amount": "125.40", "currency": "usd"}]
    assert found["brought_forward"] == []
    assert found["locale"] is None


def summed(breakdowns: list[Any]) -> dict[str, list[Decimal]]:
    """Return net, tax, credits and all together, by currency."""
    found: dict[str, list[Decimal]] = {}
    for one in breakdowns:
        of = found.setdefault(one["currency"], [Decimal(0)] * 4)
        for i, part in enumerate(("net", "tax", "credits", "amount")):
            of[i] += Decimal(one[part])
    return found


async def test_statements_and_month_ends_say_net_and_taxes_as_documents_do(
    desk: Desk,
) -> None:
    await issue_all(desk)
    listed = (await desk.web.get("/v1/invoices", limit=100))["documents"]
    documents = {
        one["number"]: await desk.web.get(f"/v1/invoices/{one['number']}")
        for one in listed
    }

    entries = (await desk.web.get(STATEMENT))["entries"]
    months = (await desk.web.get("/v1/close/months"))["months"]

    assert len(entries) == 3
    for entry in entries:
        assert [entry["breakdown"]] == documents[entry["number"]]["breakdown"]
        assert entry["breakdown"]["amount"] == entry["amount"]
    assert [month["period"] for month in months] == ["2026-11", "2026-10"]
    for month in months:
        said = [
            breakdown
            for one in documents.values()
            if one["period"] == month["period"]
            for breakdown in one["breakdown"]
        ]
        assert summed(month["documents"]) == summed(said)
    assert summed(months[1]["documents"])["usd"][1] > 0
    page = (await desk.web.http.get("/customers/acme")).text
    first = entries[0]["breakdown"]
    for part in ("net", "tax"):
        label = {"net": "Net", "tax": "Taxes"}[part]
        assert f'<td class="num" data-label="{label}">${first[part]}</td>' in page
    html = (await desk.web.http.get("/close")).text
    assert all(f"${one['tax']}" in html for one in months[1]["documents"][:1])


async def test_many_documents_are_added_up_in_several_looks(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await issue_all(desk)
    monkeypatch.setattr("meterline_sidecar.billing.desk.DOCUMENTS_PER_LOOK", 3)
    monkeypatch.setattr("meterline_sidecar.billing.desk.DOCUMENTS_PER_STEP", 2)

    first = (await desk.web.get("/v1/close/months"))["months"]
    assert "still added up" in (await desk.web.http.get("/close")).text
    looks = [(await desk.web.get("/v1/close/months"))["months"] for _ in range(3)]

    assert [one["documents"] is None for one in first] == [False, True]
    assert all(one["documents"] for one in looks[-1])
    monkeypatch.undo()
    async with desk.web.parts.database.reading() as tx:
        at_once = await InvoiceDesk().months(tx, limit=12, now_ms=0)
    for month in looks[-1]:
        made = at_once[month["period"]].made_of
        assert made is not None
        assert [one["net"] for one in month["documents"]] == [
            str(one.net) for one in made.values()
        ]


async def test_a_statement_says_and_tells_how_its_customer_writes(
    open_web: OpenWeb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"meterline": METERS + SELLER + 'locale = "de-DE"\n', "pricing": ""}
    async with open_web(**files) as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-11-01T00:00:00Z")
        await issue_all(desk)

        found = await web.get(STATEMENT)

    assert found["locale"] == "de-DE"
    with written_for(found["locale"]):
        tell_statement(msgspec.convert(found, AccountStatement, strict=False))
    told = capsys.readouterr().out
    assert "137,74 $" in told
    assert "Dezember 2026" in told


async def test_of_many_entries_the_newest_are_shown_with_what_was_owed_before(
    desk: Desk,
) -> None:
    await issue_all(desk)
    await credit(desk, "INV-", 1, "1.00")

    found = await desk.web.get(STATEMENT, limit=2)

    assert found["brought_forward"] == [{"amount": "137.74", "currency": "usd"}]
    assert lines(found) == [
        ("CN-0001", "-12.34", "125.40"),
        ("CN-0002", "-1.00", "124.40"),
    ]


async def test_currencies_have_balances_of_their_own(desk: Desk) -> None:
    desk.clock("2026-11-15T00:00:00Z")
    await desk.load(CALLS + customer(), BASIC + JAPAN)
    await desk.use("2026-11-10T00:00:00Z", 100)
    desk.clock("2026-12-01T01:00:00Z")
    await desk.close("2026-11")
    japan = customer(plan="japan", more="from = 2027-01-01")
    await desk.load(CALLS + japan, BASIC + JAPAN)
    await desk.use("2026-11-11T00:00:00Z", 10)
    desk.clock("2027-01-05T00:00:00Z")
    await desk.use("2027-01-04T00:00:00Z", 3)
    desk.clock("2027-02-01T01:00:00Z")
    await desk.close("2027-01")

    found = await desk.web.get(STATEMENT)

    assert [(e["currency"], e["amount"], e["balance"]) for e in found["entries"]] == [
        ("usd", "1.00", "1.00"),
        ("jpy", "6", "6"),
        ("usd", "0.10", "1.10"),
    ]
    assert found["balances"] == [
        {"amount": "1.10", "currency": "usd"},
        {"amount": "6", "currency": "jpy"},
    ]


async def test_the_page_of_a_customer_has_their_account(desk: Desk) -> None:
    await issue_all(desk)

    page = (await desk.web.http.get("/customers/acme")).text

    assert '<a href="/invoices/INV-0005">INV-0005</a>' in page
    assert "$125.40" in page
    assert '<a href="/invoices?customer=acme">' in page


async def test_nobody_has_no_account(desk: Desk) -> None:
    answer = await desk.web.http.get("/v1/customers/nobody/statement")

    assert answer.status_code == 404
