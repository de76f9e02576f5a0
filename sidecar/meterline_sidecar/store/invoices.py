"""SQL for final invoices."""

from typing import NamedTuple

from meterline_sidecar.store.port import Tx


class FinalRow(NamedTuple):
    """A final invoice as it is stored."""

    id: int
    customer: str
    period_start_ms: int
    period_end_ms: int
    finalized_ms: int
    document: str


async def add_final(tx: Tx, row: FinalRow) -> None:
    """Store a final invoice; ``row.id`` is ignored."""
    await tx.execute(
        "INSERT INTO invoices (customer, period_start_ms, period_end_ms,"
        " finalized_ms, document) VALUES (?, ?, ?, ?, ?)",
        row[1:],
    )


async def finals_of(tx: Tx, customer: str) -> list[FinalRow]:
    """Return a customer's final invoices, the earliest period first."""
    rows = await tx.fetch_all(
        "SELECT id, customer, period_start_ms, period_end_ms, finalized_ms, document"
        " FROM invoices WHERE customer = ? ORDER BY period_start_ms",
        (customer,),
    )
    return [FinalRow(*row) for row in rows]
