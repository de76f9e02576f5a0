"""Documents: numbers without holes, and how they are found."""

import pytest

from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store import (
    documents,
    invoice_states,
    journal,
    payments,
)
from meterline_sidecar.store.documents import NewDocument
from meterline_sidecar.store.invoice_states import NewState
from meterline_sidecar.store.port import Database
from tests.store.test_payments import a_payment

FIRST = NewDocument(
    "INV-", "invoice", 1, "acme", "2026-10", "usd", "12.50", 1_000, '{"reason":""}'
)


async def test_numbers_of_each_series_have_no_holes(database: Database) -> None:
    async with database.transaction() as tx:
        made = [await documents.add(tx, FIRST._replace(invoice_id=i)) for i in (1, 2)]
        made.append(
            await documents.add(tx, FIRST._replace(series="CN-", kind="credit_note"))
        )
    given_up: list[documents.DocumentRow] = []

    async def give_up() -> None:
        async with database.transaction() as tx:
            given_up.append(await documents.add(tx, FIRST._replace(invoice_id=3)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await give_up()
    async with database.transaction() as tx:
        made.append(await documents.add(tx, FIRST._replace(invoice_id=4)))

    assert [one.number for one in given_up] == [3]
    assert [(one.series, one.number) for one in made] == [
        ("INV-", 1),
        ("INV-", 2),
        ("CN-", 1),
        ("INV-", 3),
    ]
    async with database.reading() as tx:
        assert await documents.numbered(tx, "INV-", 3) == made[-1]
        assert await documents.numbered(tx, "INV-", 4) is None


async def test_an_invoice_has_one_number_and_any_credit_notes(
    database: Database,
) -> None:
    note = FIRST._replace(series="CN-", kind="credit_note", amount="-1.50")
    async with database.transaction() as tx:
        made = [await documents.add(tx, row) for row in (FIRST, note, note)]
    with pytest.raises(MeterlineError):
        async with database.transaction() as tx:
            await documents.add(tx, FIRST)

    async with database.reading() as tx:
        assert await documents.of_invoice(tx, 1) == made
        assert await documents.of_invoice(tx, 2) == []


async def test_documents_are_paged_newest_first_by_who_when_and_what(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        first = await documents.add(tx, FIRST)
        other = await documents.add(
            tx, FIRST._replace(invoice_id=2, customer="beta", period="2026-11")
        )
        note = await documents.add(
            tx, FIRST._replace(series="CN-", kind="credit_note", amount="-12.50")
        )

    async with database.reading() as tx:
        assert await documents.page(tx, limit=2) == [note, other]
        assert await documents.page(tx, before=other.id, limit=2) == [first]
        assert await documents.page(tx, customer="acme", limit=9) == [note, first]
        assert await documents.page(tx, period="2026-11", limit=9) == [other]
        found = await documents.page(
            tx, customer="acme", period="2026-10", kind="invoice", limit=9
        )
        assert found == [first]
        assert await documents.all_of(tx, "acme") == [first, note]


async def test_documents_of_a_month_come_in_order(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        for id_, period in enumerate(("2026-10", "2026-11", "2026-10-23"), 1):
            await documents.add(tx, FIRST._replace(period=period, invoice_id=id_))
            await documents.add(tx, FIRST._replace(kind="credit_note", series="CN-"))

        found = await documents.of_month(tx, "2026-10", after=0, limit=9)
        assert [one.id for one in found] == [1, 2, 4, 5, 6]
        found = await documents.of_month(tx, "2026-10", after=2, limit=2)
        assert [one.id for one in found] == [4, 5]


async def test_whether_rows_of_a_table_have_links_is_known(database: Database) -> None:
    async with database.transaction() as tx:
        made = [await documents.add(tx, FIRST._replace(invoice_id=i)) for i in (1, 2)]
        assert not await journal.is_linked(tx, "documents")
        assert await journal.unlinked(tx, "documents", up_to=1, limit=9) == [1]
        await journal.add_links(tx, [("documents", made[0].id, bytes(32))])

        assert await journal.is_linked(tx, "documents")
        assert await journal.unlinked(tx, "documents", limit=9) == [made[1].id]
        assert await journal.unlinked(tx, "documents", after=made[1].id, limit=9) == []


async def test_what_changed_since_some_rows_is_told_by_its_months(
    database: Database,
) -> None:
    october = FIRST._replace(invoice_id=1, period="2026-10")
    async with database.transaction() as tx:
        assert await documents.newest(tx) == (0, 0, 0)
        assert await documents.newest_months(tx, limit=9) == []
        await documents.add(tx, october)
        for i, period in ((2, "2026-11"), (3, "2026-11-23"), (4, "2026-12")):
            await documents.add(tx, october._replace(invoice_id=i, period=period))
        before = await documents.newest(tx)
        await invoice_states.add_state(tx, NewState(1, "sent", 7, "me", ""))
        await payments.add_payment(tx, a_payment(invoice_id=4))

    async with database.transaction() as tx:
        after = await documents.newest(tx)
        assert await documents.newest_months(tx, limit=2) == ["2026-12", "2026-11"]
        assert len(await documents.newest_months(tx, limit=9)) == 3
        assert await documents.changed_months(tx, before) == {"2026-10", "2026-12"}
        assert await documents.changed_months(tx, after) == frozenset()
        note = october._replace(series="CN-", kind="credit_note", invoice_id=3)
        await documents.add(tx, note._replace(period="2026-11-23"))
        assert await documents.changed_months(tx, after) == {"2026-11"}


async def test_invoices_of_which_nothing_was_paid_or_credited_are_heaped(
    database: Database,
) -> None:
    details = '{"due":"2026-12-08","time_zone":"Asia/Tokyo"}'
    other = '{"due":"2026-12-08","also_due":[["1","eur"]]}'
    plain = FIRST._replace(details=details, period="2026-11")
    rows = [
        *(plain._replace(invoice_id=i) for i in (1, 2, 3, 4, 5)),
        plain._replace(invoice_id=6, details=other),
        FIRST._replace(invoice_id=7),
        plain._replace(invoice_id=8, period="2026-11-23", details="{}"),
    ]
    note = plain._replace(series="CN-", kind="credit_note", invoice_id=4)
    async with database.transaction() as tx:
        made = [await documents.add(tx, row) for row in (*rows, note)]
        await invoice_states.add_state(tx, NewState(2, "sent", 7, "me", ""))
        await invoice_states.add_state(tx, NewState(3, "paid", 7, "me", ""))
        await payments.add_payment(tx, a_payment(invoice_id=5))

    async with database.reading() as tx:
        heaps = await documents.heaps_of_month(tx, "2026-11")
        others = await documents.others_of_month(
            tx, "2026-11", states=("final", "sent"), before=made[-1].id, limit=2
        )
        rest = await documents.others_of_month(
            tx, "2026-11", states=("final", "sent"), before=others[-1].id, limit=2
        )
        due = await documents.page(tx, due_until="2026-12-08", kind="invoice", limit=9)
        assert await documents.page(tx, due_until="2026-12-07", limit=9) == []

    tokyo = ("usd", "12.50", "2026-12-08", "Asia/Tokyo")
    assert sorted(heaps, key=str) == sorted(
        [
            documents.Heap("final", True, *tokyo, 1),
            documents.Heap("sent", True, *tokyo, 1),
            documents.Heap("paid", True, *tokyo, 1),
            documents.Heap("final", True, "usd", "12.50", None, None, 1),
            documents.Heap("final", False, *tokyo, 2),
            documents.Heap("final", False, "usd", "12.50", "2026-12-08", None, 1),
            documents.Heap(None, False, *tokyo, 1),
        ],
        key=str,
    )
    assert [one.invoice_id for one in (*others, *rest)] == [6, 5, 4]
    assert [one.invoice_id for one in due] == [6, 5, 4, 3, 2, 1]
