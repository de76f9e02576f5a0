"""What documents ask for: by what was paid and credited, and nothing once they are void."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meterline_sidecar.cli.papers import tell_document
from meterline_sidecar.pdf import pdf_of
from meterline_sidecar.web.answers.documents import DocumentAnswer
from tests.web.conftest import OpenWeb
from tests.web.papers import METERS, SELLER, asking, below_of
from tests.web.test_collected import ACME, till_at
from tests.web.test_documents import needs_pdf
from tests.web.test_final import BASIC, JAPAN, Desk, customer

HTML = {"Accept": "text/html"}
QUESTIONS = "Questions: billing@example.com"
TAKEN = 'starts = 2026-10-01\ntime_zone = "Asia/Tokyo"'
FEE = """
[[plan]]
name = "basic"
currency = "usd"
[[plan.price]]
name = "fee"
model = "flat"
amount = "2"
"""


@pytest.fixture
async def desk(open_web: OpenWeb, tmp_path: Path) -> AsyncGenerator[Desk]:
    """A sidecar with INV-0001 of October, 2.00 USD; it is 3 December in Tokyo."""
    files = METERS + SELLER + customer(more=TAKEN)
    async with open_web(meterline=files, pricing=FEE) as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-12-02T20:00:00Z")
        assert (await desk.close("2026-10"))["due"] == "2.00"
        yield desk


async def take(desk: Desk, step: str, number: str = "INV-0001", **body: str) -> None:
    path = f"/v1/invoices/{number}/{step}"
    (await desk.web.http.post(path, json=body)).raise_for_status()


async def paper(desk: Desk, number: str = "INV-0001") -> str:
    """Return a document as a file, and make sure that its page says the same."""
    file = (await desk.web.http.get(f"/v1/invoices/{number}.html")).text
    page = (await desk.web.http.get(f"/invoices/{number}", headers=HTML)).text
    assert below_of(page) == below_of(file)
    return file


async def told(desk: Desk, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what a terminal says of the invoice."""
    found: Any = await desk.web.get("/v1/invoices/INV-0001")
    tell_document(msgspec.convert(found, DocumentAnswer, strict=False))
    return capsys.readouterr().out


async def test_an_invoice_asks_for_what_is_left_and_a_paid_one_for_nothing(
    desk: Desk,
) -> None:
    first = below_of(await paper(desk))
    await take(desk, "payments", amount="0.50")
    await take(desk, "credit", amount="0.30", reason="an outage")
    in_part = below_of(await paper(desk))
    await take(desk, "payments", amount="1.20")
    paid = await paper(desk)
    await take(desk, "refunds", amount="0.20", reason="it bounced")
    again = below_of(await paper(desk))

    by = "17 December 2026"
    assert first == ["Amount due $2.00", *asking("$2.00", "INV-0001", by)]
    assert in_part == [
        *("Total $2.00", "Credited by CN-0001 -$0.30", "Paid -$0.50"),
        *("Left to pay $1.20", *asking("$1.20", "INV-0001", by)),
    ]
    assert below_of(paid) == [
        *("Total $2.00", "Credited by CN-0001 -$0.30", "Paid -$1.70"),
        *("Left to pay $0.00", "There is nothing left to pay.", QUESTIONS),
    ]
    assert "IBAN" not in paid
    assert again[2:5] == [
        *("Paid -$1.50", "Left to pay $0.20", asking("$0.20", "INV-0001", by)[0]),
    ]


async def test_a_void_invoice_says_so_and_asks_for_nothing(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "VOID" not in await paper(desk) + await told(desk, capsys)
    assert "17 December 2026</dd>" in await paper(desk)
    await take(desk, "void", reason="<b>the price</b> was wrong")

    void, on_terminal = await paper(desk), await told(desk, capsys)

    assert below_of(void) == [
        *("Total $2.00", "Credited by CN-0001 -$2.00", "Left to pay $0.00"),
        "This invoice was made void on 3 December 2026:"
        " &lt;b&gt;the price&lt;/b&gt; was wrong",
        *("There is nothing to pay.", QUESTIONS),
    ]
    assert '<strong class="void">VOID</strong>' in void
    assert 'content: "INV-0001, void"' in void
    for asked in ("Please pay", "IBAN", "Amount due", "17 December", "<dt>Due"):
        assert asked not in void
    assert "VOID invoice INV-0001 of 2026-12-03, for 2026-10-01" in on_terminal
    assert "there is nothing to pay" in on_terminal
    assert "due" not in on_terminal


async def test_a_pdf_of_a_void_invoice_says_so(desk: Desk) -> None:
    needs_pdf()
    await take(desk, "void", reason="wrong")

    made = await desk.web.http.get("/v1/invoices/INV-0001.pdf")

    assert made.content.startswith(b"%PDF-")
    assert len(made.content) != len(pdf_of((await paper(desk)).replace("VOID", "")))


async def test_a_credit_note_asks_for_nothing(desk: Desk) -> None:
    await take(desk, "credit", amount="0.30", reason="an outage")

    assert below_of(await paper(desk, "CN-0001")) == [
        "Credited $0.30",
        "There is nothing to pay: this is a credit note to invoice INV-0001.",
        QUESTIONS,
    ]


async def test_an_invoice_of_zero_and_one_below_it_ask_for_nothing(
    open_web: OpenWeb, tmp_path: Path
) -> None:
    files = METERS + SELLER + customer(more="starts = 2026-10-01")
    async with open_web(meterline=files, pricing=BASIC) as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-12-02T12:00:00Z")
        await desk.use("2026-10-10T00:00:00Z", 200)
        await desk.close("2026-10")
        await desk.close("2026-11")
        wrong = {"reason": "a test", "events": [*range(1, 101)]}
        await desk.web.http.post("/v1/corrections", json=wrong)
        desk.clock("2027-01-02T12:00:00Z")
        await desk.close("2026-12")
        zero, below = await paper(desk, "INV-0002"), await paper(desk, "INV-0003")
        back = {"amount": "1.01", "reason": "paid out"}
        refused = await web.http.post("/v1/invoices/INV-0003/refunds", json=back)
        await take(desk, "refunds", "INV-0003", amount="1.00", reason="paid out")
        given_back = await paper(desk, "INV-0003")

    assert refused.status_code == 409
    assert "In your favour" not in given_back
    assert below_of(zero) == ["Amount due $0.00", "There is nothing to pay.", QUESTIONS]
    assert below_of(below)[-3:] == [
        *("In your favour $1.00", "There is nothing to pay.", QUESTIONS),
    ]


async def test_what_is_due_in_another_currency_is_asked_for_too(
    open_web: OpenWeb, tmp_path: Path
) -> None:
    files = METERS + SELLER + customer(more="starts = 2026-11-01")
    in_yen = JAPAN.replace("japan", "basic")
    free = FEE.replace('"2"', '"0"').replace("basic", "pro")
    async with open_web(meterline=files, pricing=in_yen + free) as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-12-01T01:00:00Z")
        await desk.use("2026-11-10T00:00:00Z", 5)
        await desk.close("2026-11")
        changed = files.replace('plan = "basic"', 'plan = "pro"')
        await desk.load(changed, in_yen + free)
        await desk.use("2026-11-11T00:00:00Z", 60)
        desk.clock("2027-01-02T12:00:00Z")
        await desk.close("2026-12")

        asked = below_of(await paper(desk, "INV-0002"))

    assert asked[-5:] == [
        *("Amount due $0.00", "Also due, in JPY ¥120"),
        *asking("¥120", "INV-0002", "16 January 2027"),
    ]


async def test_what_stripe_collects_is_asked_for_by_stripe_alone(
    tmp_path: Path,
) -> None:
    async with till_at(tmp_path, more=SELLER + ACME) as till:
        await till.close()
        await till.tell()

        asked = await paper(till.desk)

    assert below_of(asked)[-2:] == ["$2.03 is collected through Stripe.", QUESTIONS]
    assert "IBAN" not in asked
