"""SQL for what became of final invoices, step by step."""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from meterline_sidecar.store.columns import Columns, marks, pieces
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


async def newest_states(tx: Tx, invoice_ids: Sequence[int]) -> dict[int, State]:
    """Return how far invoices are, by their ids; one without a step is left out."""
    found: dict[int, State] = {}
    for part in pieces(invoice_ids):
        rows = await tx.fetch_all(
            "SELECT invoice_id, state FROM invoice_states"  # noqa: S608 - only marks
            f" WHERE invoice_id IN ({marks(len(part))}) ORDER BY id",
            part,
        )
        found.update({row[0]: row[1] for row in rows})
    return found
