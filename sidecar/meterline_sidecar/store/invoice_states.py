"""SQL for what became of final invoices, step by step."""

from typing import Final, Literal, NamedTuple

from meterline_sidecar.store.columns import Columns
from meterline_sidecar.store.port import Tx

State = Literal["final", "sent", "paid", "uncollectible", "void"]


class NewState(NamedTuple):
    """A step of an invoice to keep."""

    invoice_id: int
    state: State
    at_ms: int
    author: str
    """Who took it: the name of a token, or what did so by itself."""
    cause: str
    """Why, in words."""


COLUMNS: Final = Columns(NewState._fields)


async def add_state(tx: Tx, row: NewState) -> int:
    """Store a step, and return the row's id."""
    found = await tx.fetch_one(
        f"INSERT INTO invoice_states ({COLUMNS.listed}) VALUES ({COLUMNS.marks})"  # noqa: S608 - names and marks
        " RETURNING id",
        COLUMNS.of(row),
    )
    assert found is not None
    return int(found[0])


async def states_of(tx: Tx, invoice_id: int) -> list[NewState]:
    """Return the steps of one invoice, in order."""
    rows = await tx.fetch_all(
        f"SELECT {COLUMNS.listed} FROM invoice_states WHERE invoice_id = ?"  # noqa: S608 - names
        " ORDER BY id",
        (invoice_id,),
    )
    return [NewState(*row) for row in rows]
