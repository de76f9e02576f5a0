"""Payments, and what an invoice that is void leaves behind."""

from decimal import Decimal

import pytest

from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store import documents, invoice_states, invoices, payments
from meterline_sidecar.store.documents import NewDocument
from meterline_sidecar.store.invoice_states import NewState
from meterline_sidecar.store.invoices import NewAdjustment, NewFinal, NewUse, Voided
from meterline_sidecar.store.payments import NewPayment, PaymentRow
from meterline_sidecar.store.port import Database

OCTOBER = NewFinal("acme", 1, 2, 9, "{}", "2026-10")
NOVEMBER = NewFinal("acme", 2, 4, 9, "{}", "2026-11")
VOID = NewState(1, "void", 5, "me", "wrong price")


def a_payment(invoice_id: int = 1, amount: str = "5.00") -> NewPayment:
    return NewPayment(
        invoice_id=invoice_id,
        customer="acme",
        key=None,
        currency="usd",
        amount=amount,
        paid_on="2026-12-01",
        reference="transfer 7",
        recorded_ms=7,
        author="me",
        reason="",
    )


async def test_payments_come_back_in_order_by_invoice_and_by_customer(
    database: Database,
) -> None:
    given = [a_payment(), a_payment(2), a_payment(amount="-5.00")]
    async with database.transaction() as tx:
        ids = [await payments.add_payment(tx, one) for one in given]
        await payments.add_payment(tx, a_payment(3)._replace(customer="beta"))
    rows = [PaymentRow(id_, *one) for id_, one in zip(ids, given, strict=True)]

    async with database.reading() as tx:
        assert await payments.of_invoices(tx, [1]) == [rows[0], rows[2]]
        assert await payments.of_invoices(tx, []) == []
        assert await payments.of_customer(tx, "acme") == rows


async def test_a_payment_counts_once_by_its_key(database: Database) -> None:
    async def add(invoice_id: int) -> None:
        async with database.transaction() as tx:
            await payments.add_payment(tx, a_payment(invoice_id)._replace(key="7"))

    await add(1)
    await add(2)

    with pytest.raises(MeterlineError):
        await add(1)


async def test_documents_are_found_by_their_invoices_and_the_last_step_of_these(
    database: Database,
) -> None:
    row = NewDocument("INV-", "invoice", 1, "acme", "2026-10", "usd", "5", 1, "{}")
    async with database.transaction() as tx:
        made = [await documents.add(tx, row._replace(invoice_id=i)) for i in (1, 2, 3)]
        note = row._replace(series="CN-", kind="credit_note")
        made.append(await documents.add(tx, note))
        for step in (NewState(1, "final", 1, "", ""), NewState(1, "sent", 2, "", "")):
            await invoice_states.add_state(tx, step)
        await invoice_states.add_state(tx, NewState(2, "final", 1, "", ""))

    async with database.reading() as tx:
        assert await documents.of_invoices(tx, [1, 3]) == [made[0], made[2], made[3]]
        assert await invoice_states.newest_states(tx, [1, 2, 3]) == {
            1: "sent",
            2: "final",
        }
        final = await documents.page(tx, states=("final",), limit=9)
        either = await documents.page(tx, states=("final", "sent"), limit=9)
        alike = ("usd", "5", None, None)
        assert set(await documents.heaps_of_month(tx, "2026-10")) == {
            documents.Heap("sent", False, *alike, 1),
            documents.Heap("final", True, *alike, 2),
            documents.Heap(None, False, *alike, 1),
        }
        assert await documents.heaps_of_month(tx, "2026-11") == []
        assert final == [made[2], made[1]]
        assert either == [made[2], made[1], made[0]]


async def test_a_period_has_one_invoice_that_is_not_void(database: Database) -> None:
    async def add(row: NewFinal) -> None:
        async with database.transaction() as tx:
            await invoices.add_final(tx, row)

    await add(OCTOBER)
    for same in (OCTOBER, OCTOBER._replace(period="other")):
        with pytest.raises(MeterlineError):
            await add(same)
    async with database.transaction() as tx:
        await invoice_states.add_state(tx, VOID)
    await add(OCTOBER)

    with pytest.raises(MeterlineError):
        await add(OCTOBER)


async def test_what_is_void_counts_no_more_and_is_not_forgotten(
    database: Database,
) -> None:
    use = NewUse("acme", "credit", "prepaid", "usd", "2026-10", 1, "1")
    adjustment = NewAdjustment("acme", "2026-09", 1, "usd", "1", "3", "2", 5)
    async with database.transaction() as tx:
        await invoices.add_final(tx, OCTOBER)
        await invoices.add_use(tx, use)
        await invoices.add_use(tx, use._replace(invoice_id=2))
        await invoices.add_adjustment(tx, adjustment)
        await invoices.add_adjustment(tx, adjustment._replace(invoice_id=2, amount="1"))
        await invoice_states.add_state(tx, VOID)

    async with database.reading() as tx:
        assert await invoices.finals_of(tx, "acme") == []
        assert await invoices.final_names(tx, "acme") == frozenset()
        assert await invoices.final_ends(tx) == {}
        assert await invoices.final_end(tx, "acme") == 0
        assert await invoices.final_spans(tx, since_ms=0) == []
        assert await invoices.final_ranges(tx) == {"acme": (1, 2, 1, 0)}
        assert await invoices.closed_ends(tx) == {"acme": 2}
        assert await invoices.newest_final_end(tx) == 2
        assert await invoices.final_row(tx, 1) is not None
        assert await invoices.uses_of(tx, "acme") == [use._replace(invoice_id=2)]
        (adjusted,) = (await invoices.adjusted_of(tx, "acme")).values()
        assert adjusted == ({"usd": Decimal(1)}, 5)
        touched = await invoices.touched_by_void(tx, "acme")
        assert touched == {"2026-09", "2026-10"}
        assert await invoices.touched_by_void(tx, "beta") == frozenset()
        assert await invoices.voided(tx, limit=9) == [Voided("acme", "2026-10", 1, 2)]

    async with database.transaction() as tx:
        await invoices.add_final(tx, OCTOBER)
        await invoices.add_final(tx, NOVEMBER)
        assert await invoices.voided(tx, limit=9) == []
        assert await invoices.final_ranges(tx) == {"acme": (1, 4, 3, 3)}
