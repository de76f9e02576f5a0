"""Invoices as documents: what they say, as JSON, on a page and in files."""

import contextlib
import csv
import io
import re
import socket
import sys
import zlib
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from meterline_sidecar.errors import NotInstalled
from meterline_sidecar.pdf import pdf_of
from meterline_sidecar.store import documents as store
from meterline_sidecar.store.documents import NewDocument
from tests.plans import starter_each
from tests.producer import event
from tests.web.conftest import OpenWeb
from tests.web.papers import (
    METERS,
    SELLER,
    asking,
    below_of,
    credit,
    issue_all,
    lines_of,
)
from tests.web.test_final import CALLS, Desk, customer

HTML = {"Accept": "text/html"}
EVIL = "<script>alert(1)</script>"


@pytest.fixture
async def desk(open_web: OpenWeb, tmp_path: Path) -> AsyncGenerator[Desk]:
    """A sidecar with documents of all sorts."""
    async with open_web(meterline=METERS + SELLER, pricing="") as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-11-01T00:00:00Z")
        await issue_all(desk)
        yield desk


async def document(desk: Desk, number: str, **query: Any) -> Any:
    return await desk.web.get(f"/v1/invoices/{number}", **query)


async def text_of(desk: Desk, path: str, **query: Any) -> str:
    answer = await desk.web.http.get(path, params=query, headers=HTML)
    assert answer.status_code == 200, answer.text
    return answer.text


async def rows_of(desk: Desk, number: str) -> list[dict[str, str]]:
    text = await text_of(desk, f"/v1/invoices/{number}.csv")
    return list(csv.DictReader(io.StringIO(text)))


async def test_a_document_says_what_is_due_to_whom_and_why(desk: Desk) -> None:
    found = await document(desk, "INV-0005")

    assert (found["customer"], found["issued"], found["due"]) == (
        "acme",
        "2026-12-02",
        "2026-12-16",
    )
    assert (found["first_day"], found["last_day"]) == ("2026-11-01", "2026-11-30")
    bill = found["bill"]
    assert [(line["title"], line["amount"]) for line in bill["lines"]] == [
        ("Platform fee", "49.00"),
        ("API calls", "0.00"),
        ("=Traffic", "0.10"),
        ("VAT", "9.33"),
    ]
    assert bill["lines"][1]["words"] == ["tier 1: 3 x $0.00"]
    (adjustment,) = bill["adjustments"]
    assert (adjustment["period"], adjustment["amount"]) == ("2026-10", "0.41")
    part = adjustment["breakdown"]
    assert (part["net"], part["tax"], part["taxes"][0]["base"]) == (
        *("0.35", "0.06", "0.35"),
    )
    (whole,) = found["breakdown"]
    assert (whole["net"], whole["tax"], whole["amount"]) == ("49.45", "9.39", "58.84")
    page = await text_of(desk, "/invoices/INV-0005")
    assert "VAT</span> of it: $0.06" in page
    assert (bill["total"], found["amount"]) == ("58.43", "58.84")
    assert (bill["subtotal"], bill["tax"]) == ("49.10", "9.33")


async def test_a_credit_note_names_its_invoice_and_the_invoice_names_it(
    desk: Desk,
) -> None:
    note, invoice = await document(desk, "CN-0001"), await document(desk, "INV-0001")

    assert (note["kind"], note["amount"], note["due"]) == (
        "credit_note",
        "-12.34",
        None,
    )
    assert (note["invoice"], note["reason"]) == ("INV-0001", "Outage on 12 October")
    assert note["bill"] is None
    assert invoice["credit_notes"] == ["CN-0001"]
    page = await text_of(desk, "/invoices/CN-0001")
    for said in ("Credit note", "Net", "-$10.37", "19% of -$10.37", "-$1.97", "$12.34"):
        assert said in page


async def test_a_credit_note_says_its_net_and_its_taxes_as_its_invoice_does(
    desk: Desk,
) -> None:
    (note,) = (await document(desk, "CN-0001"))["breakdown"]
    (invoice,) = (await document(desk, "INV-0001"))["breakdown"]

    assert (invoice["net"], invoice["tax"], invoice["amount"]) == (
        *("66.30", "12.60", "78.90"),
    )
    assert (note["net"], note["tax"], note["amount"]) == ("-10.37", "-1.97", "-12.34")
    assert note["taxes"] == [
        {"title": "VAT", "percent": "19", "base": "-10.37", "amount": "-1.97"}
    ]


async def test_a_credit_note_that_is_older_stays_as_it_is_and_counts_for_its_part(
    desk: Desk,
) -> None:
    parts = desk.web.parts
    async with parts.database.transaction() as tx:
        found = await store.numbered(tx, "INV-", 1)
        assert found is not None
        new = NewDocument(*(getattr(found, name) for name in NewDocument._fields))
        old = new._replace(series="CN-", kind="credit_note", amount="-60.00")
        await store.add(tx, old._replace(details='{"reason":"before"}'))

    older = await document(desk, "CN-0002")
    page = await text_of(desk, "/v1/invoices/CN-0002.html")
    (row,) = await rows_of(desk, "CN-0002")
    await credit(desk, "INV-", 1, "6.56")  # all that is left

    assert (older["breakdown"], row["amount"]) == ([], "-60.00")
    assert "Net" not in page
    (last,) = (await document(desk, "CN-0003"))["breakdown"]
    # 66.30 - 10.37 - 50.42, and 12.60 - 1.97 - 9.58
    assert (last["net"], last["tax"]) == ("-5.51", "-1.05")


async def test_documents_are_listed_newest_first_and_found_by_who_when_and_what(
    desk: Desk,
) -> None:
    async def numbers(**query: Any) -> list[str]:
        page = await desk.web.get("/v1/invoices", **query)
        return [one["number"] for one in page["documents"]]

    first = await desk.web.get("/v1/invoices", limit=4)
    rest = await desk.web.get("/v1/invoices", limit=4, before=first["next_before"])

    assert [one["number"] for one in first["documents"] + rest["documents"]] == [
        *("CN-0001", "INV-0005", "INV-0004", "INV-0003", "INV-0002", "INV-0001"),
    ]
    assert rest["next_before"] is None
    assert await numbers(customer="acme") == ["CN-0001", "INV-0005", "INV-0001"]
    assert await numbers(period="2026-11") == ["INV-0005"]
    assert await numbers(kind="credit_note") == ["CN-0001"]
    assert await numbers(customer="nobody") == []
    assert await numbers(period="last", customer="acme") == ["INV-0005"]
    assert await numbers(period="2026") == await numbers()
    refused = await desk.web.http.get("/v1/invoices", params={"period": "november"})
    assert (refused.status_code, "`last`" in refused.json()["detail"]) == (400, True)
    for one in first["documents"] + rest["documents"]:
        alone = await document(desk, one["number"])
        assert {name: alone[name] for name in one} == one
        assert one["breakdown"], "it says what it is made of"
    listed = await text_of(desk, "/invoices", period="2026-11")
    assert "INV-0005" in listed
    assert "INV-0001" not in listed
    assert "No such document" in await text_of(desk, "/invoices", customer="nobody")


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/invoices/INV-9999", "/v1/invoices/acme", "/v1/invoices/INV-9999.pdf"),
        *("/v1/invoices/INV-9999.csv", "/v1/invoices/INV-0001.doc"),
    ],
)
async def test_a_number_that_there_is_none_of_is_told(desk: Desk, path: str) -> None:
    answer = await desk.web.http.get(path)

    assert answer.status_code == 404
    assert "GET /v1/invoices" in answer.json()["detail"]


async def test_rows_add_up_to_what_is_due_to_the_last_digit(desk: Desk) -> None:
    for number in ("INV-0001", "INV-0002", "INV-0003", "INV-0005", "CN-0001"):
        found = await document(desk, number)
        sums: dict[str, Decimal] = defaultdict(Decimal)
        for row in await rows_of(desk, number):
            if row["row"] != "charge":
                sums[row["currency"]] += Decimal(row["amount"])

        assert sums == {found["currency"]: Decimal(found["amount"])}, number


async def test_names_become_no_formulas_and_numbers_stay_numbers(desk: Desk) -> None:
    rows = await rows_of(desk, "INV-0005")
    credit, tax = await rows_of(desk, "CN-0001")

    assert [row["line"] for row in rows if row["row"] == "line"] == [
        "Platform fee",
        "API calls",
        "'=Traffic",
    ]
    assert (credit["row"], credit["amount"]) == ("credit_note", "-10.37")
    assert (tax["row"], tax["line"], tax["amount"]) == ("tax", "VAT", "-1.97")
    assert tax["explanation"] == "19% of -$10.37"
    assert {row["row"] for row in rows} == {"line", "charge", "tax", "adjustment"}


async def test_currencies_are_written_with_their_own_digits(desk: Desk) -> None:
    assert "185.175 KWD" in await text_of(desk, "/invoices/INV-0002")
    assert "¥180,000" in await text_of(desk, "/invoices/INV-0003")


async def test_usage_behind_a_document_is_shown_by_day_and_by_group(
    desk: Desk,
) -> None:
    calls, egress = (await document(desk, "INV-0001", appendix=True))["appendix"]

    assert [
        (group["labels"]["route"], group["quantity"]) for group in calls["groups"]
    ] == [("/v1/search", 130), ("/v1/items/{id}", 20)]
    used = {day["date"]: day["quantity"] for day in calls["days"] if day["quantity"]}
    assert used == {"2026-10-10": 150, "2026-10-11": 10}
    assert (calls["quantity"], calls["counted"]) == (150, 160)
    assert (egress["unit"], egress["groups"]) == ("bytes", [])
    page = await text_of(desk, "/invoices/INV-0001", appendix="true")
    assert "it is 160 now" in page
    assert (await document(desk, "INV-0001"))["appendix"] is None


async def test_a_document_stays_as_it_is_whatever_things_are_called_later(
    desk: Desk, tmp_path: Path
) -> None:
    before = await document(desk, "INV-0001")
    file = tmp_path / "meterline.toml"
    text = file.read_text().replace("API calls", "Requests").replace("Acme", "Apex")

    file.write_text(text)
    await desk.web.parts.files.reload(author="test")

    assert desk.web.parts.config.names.title("calls") == "Requests"
    assert await document(desk, "INV-0001") == before


async def test_what_is_credited_later_does_not_change_the_paper(desk: Desk) -> None:
    before = await text_of(desk, "/v1/invoices/INV-0002.html")

    await credit(desk, "INV-", 2, "0.500")

    after = await text_of(desk, "/v1/invoices/INV-0002.html")
    assert lines_of(after) == lines_of(before)
    assert below_of(before) == [
        *("Amount due 185.175 KWD", *asking("185.175 KWD", "INV-0002")),
    ]
    assert below_of(after) == [
        *("Total 185.175 KWD", "Credited by CN-0002 -0.500 KWD"),
        *("Left to pay 184.675 KWD", *asking("184.675 KWD", "INV-0002")),
    ]
    assert 'href="/invoices/CN-0002"' in await text_of(desk, "/invoices/INV-0002")


async def test_names_from_outside_cannot_become_markup(desk: Desk) -> None:
    more = f'name = "{EVIL}"\naddress = ["{EVIL}"]\nstarts = 2026-11-01'
    await desk.load(CALLS + customer("evil", more=more))
    desk.clock("2026-12-02T01:00:00Z")
    await desk.close("2026-11", "evil")

    for path in ("/invoices", "/invoices/INV-0006", "/v1/invoices/INV-0006.html"):
        html = await text_of(desk, path)
        assert EVIL not in html
        assert "&lt;script&gt;" in html


async def test_a_file_of_html_needs_nothing_beside_it(desk: Desk) -> None:
    answer = await desk.web.http.get("/v1/invoices/INV-0001.html")

    assert (
        answer.headers["content-disposition"] == 'attachment; filename="INV-0001.html"'
    )
    assert "<link" not in answer.text
    assert "src=" not in answer.text
    assert "@page { size: A4;" in answer.text
    assert "Please pay $66.56 by 16 November 2026" in answer.text


def needs_pdf() -> None:
    try:
        pdf_of("")
    except NotInstalled as error:
        pytest.skip(str(error))


def streams(pdf: bytes) -> Iterator[bytes]:
    for found in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        with contextlib.suppress(zlib.error):
            yield zlib.decompress(found)


async def test_a_pdf_is_made_of_the_same_page(desk: Desk) -> None:
    needs_pdf()

    answer = await desk.web.http.get("/v1/invoices/INV-0001.pdf?appendix=true")

    assert answer.headers["content-type"] == "application/pdf"
    assert answer.content.startswith(b"%PDF-")
    inside = b"".join(streams(answer.content))
    assert b"(Invoice INV-0001)" in inside
    assert b"/Count 3" in inside  # pages


async def test_without_the_extra_a_pdf_says_what_to_install(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)

    answer = await desk.web.http.get("/v1/invoices/INV-0001.pdf")

    assert answer.status_code == 503
    assert "pip install 'meterline[sidecar,pdf]'" in answer.json()["detail"]


def test_nothing_is_fetched_for_a_pdf(tmp_path: Path) -> None:
    needs_pdf()
    secret = tmp_path / "secret.svg"
    secret.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">'
        '<rect width="9" height="9"/></svg>'
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        host, port = server.getsockname()

        made, without = (
            pdf_of(
                f'<img src="http://{host}:{port}/x.png"><img src="{uri}">'
                f'<link rel="stylesheet" href="http://{host}:{port}/x.css">'
            )
            for uri in (secret.as_uri(), f"{secret.as_uri()}.not-there")
        )

        with pytest.raises(BlockingIOError):
            server.accept()
    assert made == without


async def test_an_invoice_is_credited_under_a_number_of_its_own_and_never_beyond_it(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=starter_each("0.50")) as web:
        await web.ship(event(), event())
        web.clock.time_ms = 1_796_083_200_001
        await web.http.post(
            "/v1/customers/acme/invoice/finalize", params={"period": "2026-11"}
        )

        async def credited(amount: str, number: str = "INV-0001") -> httpx.Response:
            body = {"amount": amount, "reason": "an outage"}
            return await web.http.post(f"/v1/invoices/{number}/credit", json=body)

        note = await credited("0.40")
        assert note.status_code == 200, note.text
        assert (note.json()["number"], note.json()["amount"]) == ("CN-0001", "-0.40")
        assert (await credited("0.61")).status_code == 409
        assert (await credited("0.601")).status_code == 400
        assert (await credited("0.1", "CN-0001")).status_code == 400
        assert (await credited("0.1", "INV-0009")).status_code == 404
        (first, *_) = (await web.get("/v1/audit"))["acts"]
        assert (first["author"], first["what"], first["reason"]) == (
            "local",
            "CN-0001: -0.40 USD credited",
            "an outage",
        )
        page = (await web.http.get("/close")).text
        assert "$0.60" in page
