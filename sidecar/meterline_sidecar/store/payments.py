"""SQL for what was paid of final invoices, and given back."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from meterline_sidecar.store.columns import Columns, marks, pieces
from meterline_sidecar.store.port import Tx


class NewPayment(NamedTuple):
    """A payment to keep."""

    invoice_id: int
    customer: str
    key: str | None
    """What whoever recorded it calls it; a second one of that key is refused."""
    currency: str
    amount: str
    """Decimal text; below zero it was given back."""
    paid_on: str
    """A date."""
    reference: str
    recorded_ms: int
    author: str
    reason: str


class PaymentRow(NamedTuple):
    """A payment as it is stored."""

    id: int
    invoice_id: int
    customer: str
    key: str | None
    currency: str
    amount: str
    paid_on: str
    reference: str
    recorded_ms: int
    author: str
    reason: str


NEW: Final = Columns(NewPayment._fields)
ALL: Final = Columns(PaymentRow._fields)
SELECT: Final = f"SELECT {ALL.listed} FROM payments"  # noqa: S608 - names


async def add_payment(tx: Tx, row: NewPayment) -> int:
    """Store a payment, and return its id."""
    found = await tx.fetch_one(
        f"INSERT INTO payments ({NEW.listed}) VALUES ({NEW.marks}) RETURNING id",  # noqa: S608 - names and marks
        NEW.of(row),
    )
    assert found is not None
    return int(found[0])


async def of_invoices(tx: Tx, invoice_ids: Sequence[int]) -> list[PaymentRow]:
    """Return the payments of some invoices, in order."""
    found: list[PaymentRow] = []
    for part in pieces(invoice_ids):
        rows = await tx.fetch_all(
            f"{SELECT} WHERE invoice_id IN ({marks(len(part))}) ORDER BY id", part
        )
        found += [PaymentRow(*row) for row in rows]
    return found


async def of_customer(tx: Tx, customer: str) -> list[PaymentRow]:
    """Return everything that a customer paid, and got back, in order."""
    rows = await tx.fetch_all(f"{SELECT} WHERE customer = ? ORDER BY id", (customer,))
    return [PaymentRow(*row) for row in rows]
