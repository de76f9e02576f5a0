"""Numbers of documents: without holes, once, and with who they are from and to."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from meterline_sidecar.billing import documents
from meterline_sidecar.billing.documents import (
    CreditRefused,
    Document,
    Issuer,
    Party,
    document_of,
    number_of,
)
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.ledger.journal import Journal, verify_journal
from meterline_sidecar.store import documents as store
from tests.web.conftest import OpenWeb
from tests.web.test_final import BASIC, CALLS, JAPAN, Desk, customer

SELLER = """
[seller]
name = "Example GmbH"
address = ["Hauptstr. 1", "10115 Berlin"]
tax_id = "VAT DE123456789"
email = "billing@example.com"
payment = ["IBAN DE02 1203 0000 0000 2020 51"]
due_days = 10
invoice_prefix = "RE-"
"""
BUYER = """
address = ["1 High Street", "London"]
tax_id = "GB 1"
email = "pay@acme.example"
time_zone = "Asia/Tokyo"
"""


@pytest.fixture
async def desk(open_web: OpenWeb, tmp_path: Path) -> AsyncGenerator[Desk]:
    """A sidecar in the middle of November, which knows who sends invoices."""
    async with open_web(meterline=CALLS + SELLER, pricing="") as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-11-15T12:00:00Z")
        yield desk


async def documents_of(desk: Desk, name: str = "acme") -> list[Document]:
    async with desk.web.parts.database.reading() as tx:
        return [document_of(row) for row in await store.all_of(tx, name)]


async def test_an_invoice_that_becomes_final_gets_a_number_and_says_who_is_who(
    desk: Desk,
) -> None:
    await desk.load(CALLS + customer(more=BUYER))
    await desk.use("2026-11-10T00:00:00Z", 100)
    desk.clock("2026-12-01T16:00:00Z")  # the second in Tokyo

    await desk.close("2026-11")
    await desk.close("2026-11")

    (made,) = await documents_of(desk)
    assert (made.number, made.amount, made.row.currency) == (
        "RE-0001",
        Decimal("1.00"),
        "usd",
    )
    assert made.issued == date(2026, 12, 2)
    assert made.details.due == date(2026, 12, 12)
    assert made.details.seller == Party(
        name="Example GmbH",
        address=("Hauptstr. 1", "10115 Berlin"),
        tax_id="VAT DE123456789",
        email="billing@example.com",
    )
    assert made.details.payment == ("IBAN DE02 1203 0000 0000 2020 51",)
    assert made.details.buyer == Party(
        name="acme",
        address=("1 High Street", "London"),
        tax_id="GB 1",
        email="pay@acme.example",
    )


async def test_numbers_follow_each_other_whoever_closes_at_once(desk: Desk) -> None:
    names = [f"c{i}" for i in range(6)]
    await desk.load(
        CALLS + "".join(customer(name, subjects=f"{name}_*") for name in names)
    )
    for name in names:
        await desk.use("2026-11-10T00:00:00Z", 1, subject=f"{name}_1")
    desk.clock("2026-12-01T01:00:00Z")
    await desk.close("2026-12", "c0")  # it has not ended: no number is used up

    await asyncio.gather(*(desk.close("2026-11", name) for name in names * 2))

    made = [one for name in names for one in await documents_of(desk, name)]
    assert sorted(one.row.number for one in made) == [1, 2, 3, 4, 5, 6]


async def test_an_invoice_with_nothing_due_has_a_number(desk: Desk) -> None:
    await desk.load(CALLS + customer(more="starts = 2026-11-01"))
    desk.clock("2026-12-01T01:00:00Z")

    await desk.close("2026-11")

    (made,) = await documents_of(desk)
    assert (made.number, made.amount) == ("RE-0001", Decimal(0))


async def test_what_is_due_in_other_currencies_is_in_the_details(desk: Desk) -> None:
    await desk.load(CALLS + customer(), BASIC + JAPAN)
    await desk.use("2026-11-10T00:00:00Z", 100)
    desk.clock("2026-12-01T01:00:00Z")
    await desk.close("2026-11")
    await desk.load(
        CALLS + customer(plan="japan", more="from = 2027-01-01"), BASIC + JAPAN
    )
    await desk.use("2026-11-11T00:00:00Z", 10)
    desk.clock("2026-12-31T00:00:00Z")
    await desk.use("2026-11-11T00:00:00Z", 10)
    desk.clock("2027-02-01T01:00:00Z")

    await desk.close("2027-01")

    _, made = await documents_of(desk)
    assert (made.row.currency, made.amount) == ("jpy", Decimal(0))
    assert [(one.amount, one.currency) for one in made.details.also_due] == [
        (Decimal("0.20"), "usd")
    ]


async def test_another_seller_and_address_reach_no_document_that_was_issued(
    desk: Desk, tmp_path: Path
) -> None:
    await desk.load(CALLS + customer(more=BUYER))
    desk.clock("2026-12-02T01:00:00Z")
    await desk.close("2026-11")
    before = await documents_of(desk)

    moved = SELLER.replace("Example GmbH", "Sample AG").replace("RE-", "R-")
    await desk.load(CALLS + customer(more='address = ["2 Low Street"]'))
    (tmp_path / "meterline.toml").write_text(
        (tmp_path / "meterline.toml").read_text().replace(CALLS, CALLS + moved)
    )
    await desk.web.parts.files.reload(author="test")
    desk.clock("2027-01-02T01:00:00Z")
    await desk.close("2026-12")

    first, second = await documents_of(desk)
    assert [first] == before
    assert (second.number, second.details.seller.name) == ("R-0001", "Sample AG")
    assert second.details.buyer.address == ("2 Low Street",)


async def test_credit_notes_have_numbers_and_never_exceed_their_invoice(
    desk: Desk,
) -> None:
    await desk.load(CALLS + customer())
    await desk.use("2026-11-10T00:00:00Z", 100)
    desk.clock("2026-12-01T01:00:00Z")
    await desk.close("2026-11")
    (invoice,) = await documents_of(desk)
    parts = desk.web.parts
    buyer = parts.customers.get("acme")
    assert buyer is not None
    issuer = Issuer(lambda: parts.config, Journal(bytes(32)))

    async def credit(amount: str) -> None:
        async with parts.database.transaction() as tx:
            await issuer.credit_note(
                tx,
                invoice.row,
                Decimal(amount),
                buyer=buyer,
                reason="an outage",
                now_ms=parts.clock.now_ms(),
            )

    for amount in ("1.01", "0", "-1"):
        with pytest.raises(CreditRefused, match=r"of RE-0001, .* at most 1.00 usd"):
            await credit(amount)
    await credit("0.40")
    await credit("0.60")
    with pytest.raises(CreditRefused, match=r"at most 0.00 usd"):
        await credit("0.01")

    _, *notes = await documents_of(desk)
    assert [(one.number, one.amount) for one in notes] == [
        ("CN-0001", Decimal("-0.40")),
        ("CN-0002", Decimal("-0.60")),
    ]
    assert notes[0].details.reason == "an outage"


async def test_a_document_that_somebody_changes_is_found(desk: Desk) -> None:
    await desk.load(CALLS + customer())
    desk.clock("2026-12-01T01:00:00Z")
    await desk.close("2026-11")
    parts = desk.web.parts
    key = LedgerFiles(parts.config.sidecar.database).key.read_bytes()
    found: list[str] = []

    async with parts.database.transaction() as tx:
        await tx.execute("UPDATE documents SET amount = '9.00'")
        await verify_journal(tx, key, found.append, lambda what, done, total: None)

    assert found == [
        "the document RE- 1 of acme (row 1) was changed, or a link before it"
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("INV-0001", ("INV-", 1)),
        ("INV-12345", ("INV-", 12345)),
        ("INV-7", ("INV-", 7)),
        ("2026-RE-3", ("2026-RE-", 3)),
        ("acme", None),
        ("42", None),
        ("", None),
        ("INV-" + "9" * 30, None),
    ],
)
def test_a_number_is_read_in_one_way(text: str, found: tuple[str, int] | None) -> None:
    assert number_of(text) == found


def test_a_number_has_as_many_digits_as_it_needs() -> None:
    assert documents.number_text("INV-", 7) == "INV-0007"
    assert documents.number_text("INV-", 123_456) == "INV-123456"
