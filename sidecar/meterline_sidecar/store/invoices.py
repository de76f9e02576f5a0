"""SQL for final invoices."""

from typing import Final, NamedTuple

from meterline_sidecar.store.columns import Columns
from meterline_sidecar.store.port import Tx


class FinalRow(NamedTuple):
    """A final invoice as it is stored."""

    id: int
    customer: str
    period_start_ms: int
    period_end_ms: int
    finalized_ms: int
    document: str


ALL: Final = Columns(FinalRow._fields)
NEW: Final = ALL.without("id")


async def add_final(tx: Tx, row: FinalRow) -> None:
    """Store a final invoice; ``row.id`` is ignored."""
    await tx.execute(
        f"INSERT INTO invoices ({NEW.listed}) VALUES ({NEW.marks})",  # noqa: S608 - names and marks
        NEW.of(row),
    )


async def finals_of(tx: Tx, customer: str) -> list[FinalRow]:
    """Return a customer's final invoices, the earliest period first."""
    rows = await tx.fetch_all(
        f"SELECT {ALL.listed} FROM invoices WHERE customer = ?"  # noqa: S608 - names
        " ORDER BY period_start_ms",
        (customer,),
    )
    return [FinalRow(*row) for row in rows]


async def final_ends(tx: Tx) -> dict[str, int]:
    """Return the end of each customer's last final period, UTC ms."""
    rows = await tx.fetch_all(
        "SELECT customer, max(period_end_ms) FROM invoices GROUP BY customer"
    )
    return {row[0]: row[1] for row in rows}
