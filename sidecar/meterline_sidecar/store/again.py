"""SQL for whoever computes final invoices again: rows as they are, from one to another."""

from collections.abc import Sequence
from typing import Final, Literal

from meterline_sidecar.store.columns import marks
from meterline_sidecar.store.dialects import either
from meterline_sidecar.store.journal import ENTRIES
from meterline_sidecar.store.port import Row, Tx

OfInvoice = Literal["adjustments", "term_uses", "documents"]


async def rows_of_invoice(tx: Tx, entry: OfInvoice, invoice_id: int) -> list[Row]:
    """Return the rows of a table that belong to a final invoice, in order."""
    return await tx.fetch_all(
        f"SELECT {ENTRIES[entry]} FROM {entry} WHERE invoice_id = ? ORDER BY id",  # noqa: S608 - our own names
        (invoice_id,),
    )


async def put_rows(tx: Tx, entry: str, rows: Sequence[Row]) -> None:
    """Store rows as they are elsewhere, with their ids."""
    columns = ENTRIES[entry]
    await tx.execute_many(
        f"INSERT INTO {entry} ({columns}) VALUES ({marks(columns.count(',') + 1)})",  # noqa: S608 - names and marks
        rows,
    )


async def put_subjects(tx: Tx, subjects: Sequence[tuple[int, str]]) -> None:
    """Store subjects as they are elsewhere: ``(id, name)``, with nobody who pays."""
    await tx.execute_many("INSERT INTO subjects (id, name) VALUES (?, ?)", subjects)


MADE_FROM: Final = either(
    sqlite="SELECT id, CAST(document ->> '$.counted_up_to_event' AS INTEGER),"
    " CAST(document ->> '$.agreement.generation' AS INTEGER)"
    " FROM invoices WHERE json_valid(document) ORDER BY id",
    postgres="SELECT id, json_integer(document, '{counted_up_to_event}'),"
    " json_integer(document, '{agreement,generation}')"
    " FROM invoices WHERE json_valid(document) ORDER BY id",
)


async def made_from(tx: Tx) -> list[tuple[int, int | None, int | None]]:
    """Return ``(id, last event, generation)`` of every final invoice, in order.

    As far as it says so: ``None`` in what is older than these fields.
    """
    return [(row[0], row[1], row[2]) for row in await tx.fetch_all(MADE_FROM)]


async def series_with_holes(tx: Tx) -> list[tuple[str, int, int]]:
    """Return ``(series, documents, last number)`` where these are not the same."""
    rows = await tx.fetch_all(
        "SELECT series, count(*), max(number) FROM documents GROUP BY series"
        " HAVING count(*) <> max(number) OR min(number) <> 1 ORDER BY series"
    )
    return [(row[0], row[1], row[2]) for row in rows]
