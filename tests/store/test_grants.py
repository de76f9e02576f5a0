"""Credits, and what became of final invoices."""

from meterline_sidecar.store import grants, invoice_states
from meterline_sidecar.store.grants import CreditRow, NewCredit
from meterline_sidecar.store.invoice_states import NewState
from meterline_sidecar.store.port import Database


def a_credit(customer: str = "acme", key: str | None = None) -> NewCredit:
    return NewCredit(
        customer=customer,
        key=key,
        kind="prepaid",
        title="Credit",
        currency="usd",
        amount="5.00",
        priority=100,
        starts="",
        expires="2026-12-31",
        granted_ms=7,
        author="me",
        reason="paid",
    )


async def test_credits_come_back_in_order_each_with_its_end(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        first = await grants.add_credit(tx, a_credit(key="order-1"))
        await grants.add_credit(tx, a_credit("beta"))
        second = await grants.add_credit(tx, a_credit())
        await grants.end_credit(tx, second, ended_ms=9, author="me", reason="a mistake")

    async with database.reading() as tx:
        assert await grants.credits_of(tx, "acme") == [
            CreditRow(first, *a_credit(key="order-1"), None, None),
            CreditRow(second, *a_credit(), 9, "a mistake"),
        ]
        assert await grants.credits_of(tx, "nobody") == []


async def test_steps_of_an_invoice_come_back_in_order(database: Database) -> None:
    steps = [
        NewState(1, "final", 5, "schedule", "its grace was over"),
        NewState(1, "sent", 6, "me", "by hand"),
    ]
    async with database.transaction() as tx:
        await invoice_states.add_state(tx, steps[0])
        await invoice_states.add_state(tx, NewState(2, "final", 5, "me", "by hand"))
        await invoice_states.add_state(tx, steps[1])

    async with database.reading() as tx:
        assert await invoice_states.states_of(tx, 1) == steps
        assert await invoice_states.states_of(tx, 3) == []
