"""SQL for documents: invoices and credit notes with their numbers."""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from meterline_sidecar.store.columns import Columns, marks, pieces
from meterline_sidecar.store.dialects import either
from meterline_sidecar.store.invoice_states import State
from meterline_sidecar.store.port import Tx, Value

Kind = Literal["invoice", "credit_note"]


class NewDocument(NamedTuple):
    """A document to keep; its number is the next one of its series."""

    series: str
    kind: Kind
    invoice_id: int
    customer: str
    period: str
    currency: str
    amount: str
    issued_ms: int
    details: str


class DocumentRow(NamedTuple):
    """A document as it is stored."""

    id: int
    series: str
    number: int
    kind: Kind
    invoice_id: int
    customer: str
    period: str
    currency: str
    amount: str
    issued_ms: int
    details: str


ALL: Final = Columns(DocumentRow._fields)
NEW: Final = Columns(NewDocument._fields)
BEHIND_DAYS: Final = "."
"""After a month: what comes behind the names of all its days, which go on with `-`."""
SELECT: Final = f"SELECT {ALL.listed} FROM documents"  # noqa: S608 - names
LAST_STEP: Final = (
    "coalesce((SELECT s.state FROM invoice_states s WHERE s.invoice_id ="
    " documents.invoice_id ORDER BY s.id DESC LIMIT 1), 'final')"
)
ID_MAX: Final = 2**63 - 1


def _detail(name: str) -> str:
    """Return a text of a document's details, in either database."""
    return either(
        sqlite=f"documents.details ->> '$.{name}'",
        postgres=f"(as_json(documents.details) ->> '{name}')",
    )


PLAIN: Final = (
    f"documents.kind = 'invoice' AND {_detail('also_due')} IS NULL"  # noqa: S608 - names
    " AND NOT EXISTS (SELECT 1 FROM payments p"
    " WHERE p.invoice_id = documents.invoice_id)"
    " AND NOT EXISTS (SELECT 1 FROM documents c"
    " WHERE c.invoice_id = documents.invoice_id AND c.kind = 'credit_note')"
)
"""An invoice in one currency, of which nothing was paid or credited."""


async def add(tx: Tx, row: NewDocument) -> DocumentRow:
    """Store a document under the next number of its series, and return it."""
    found = await tx.fetch_one(
        f"INSERT INTO documents (number, {NEW.listed})"  # noqa: S608 - names and marks
        " VALUES ((SELECT coalesce(max(number), 0) + 1 FROM documents WHERE series = ?),"
        f" {NEW.marks}) RETURNING {ALL.listed}",
        (row.series, *NEW.of(row)),
    )
    assert found is not None
    return DocumentRow(*found)


async def numbered(tx: Tx, series: str, number: int) -> DocumentRow | None:
    """Return the document with a number; ``None``: there is none."""
    row = await tx.fetch_one(
        f"{SELECT} WHERE series = ? AND number = ?", (series, number)
    )
    return None if row is None else DocumentRow(*row)


async def of_invoice(tx: Tx, invoice_id: int) -> list[DocumentRow]:
    """Return the document of a final invoice, and the credit notes to it, in order."""
    rows = await tx.fetch_all(
        f"{SELECT} WHERE invoice_id = ? ORDER BY id", (invoice_id,)
    )
    return [DocumentRow(*row) for row in rows]


async def of_invoices(tx: Tx, invoice_ids: Sequence[int]) -> list[DocumentRow]:
    """Return the documents of final invoices, and the credit notes to them, in order."""
    found: list[DocumentRow] = []
    for part in pieces(invoice_ids):
        rows = await tx.fetch_all(
            f"{SELECT} WHERE invoice_id IN ({marks(len(part))}) ORDER BY id", part
        )
        found += [DocumentRow(*row) for row in rows]
    return found


async def page(
    tx: Tx,
    *,
    customer: str | None = None,
    period: str | None = None,
    kind: Kind | None = None,
    states: Sequence[State] = (),
    before: int = ID_MAX,
    limit: int,
) -> list[DocumentRow]:
    """Return documents with smaller ids than ``before``, the newest first.

    Args:
        customer: only this one's; likewise the kind.
        period: only of this one, or of all that begin in this month.
        states: only invoices whose last step is one of these; none: whatever it is.
    """
    wanted = {"customer = ?": customer, "kind = ?": kind}
    if period is not None:
        wanted |= {"period >= ?": period, "period < ?": f"{period}{BEHIND_DAYS}"}
    given = {text: value for text, value in wanted.items() if value is not None}
    conditions = "".join(f" AND {text}" for text in given)
    if states:
        conditions += f" AND kind = 'invoice' AND {LAST_STEP} IN ({marks(len(states))})"
    values: list[Value] = [before, *given.values(), *states, limit]
    rows = await tx.fetch_all(
        f"{SELECT} WHERE id < ?{conditions} ORDER BY id DESC LIMIT ?", values
    )
    return [DocumentRow(*row) for row in rows]


async def sums_of_months(
    tx: Tx, first: str, last: str
) -> list[tuple[str, str, str, int]]:
    """Return ``(month, currency, amount, how many)`` of documents of equal amounts.

    Of all whose period began in one of the months from the first to the last, such as
    ``2026-11``. Amounts are texts, which no database adds up exactly.
    """
    rows = await tx.fetch_all(
        "SELECT substr(period, 1, 7) AS month, currency, amount, count(*)"
        " FROM documents WHERE period >= ? AND period < ?"
        " GROUP BY month, currency, amount",
        (first, f"{last}{BEHIND_DAYS}"),
    )
    return [(row[0], row[1], row[2], row[3]) for row in rows]


async def states_of_months(
    tx: Tx, months: Sequence[str], *, but: Sequence[State]
) -> list[tuple[str, State, str, str, int]]:
    """Return ``(month, last step, currency, amount, how many)`` of invoices.

    By the month in which their periods began, and those of equal amounts together:
    amounts are texts, which no database adds up.

    Args:
        but: invoices whose last step is one of these are left out.
    """
    rows = await tx.fetch_all(
        "SELECT month, step, currency, amount, count(*) FROM"  # noqa: S608 - only marks
        " (SELECT substr(period, 1, 7) AS month, currency, amount,"
        f" {LAST_STEP} AS step FROM documents WHERE kind = 'invoice') AS stepped"
        f" WHERE month IN ({marks(len(months))})"
        f" AND step NOT IN ({marks(len(but))})"
        " GROUP BY month, step, currency, amount",
        (*months, *but),
    )
    return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]


class Heap(NamedTuple):
    """Invoices that are alike in all that says how they stand."""

    step: State
    """The last one of each."""
    currency: str
    amount: str
    due: str | None
    """The day until which they are to be paid."""
    time_zone: str | None
    """In which that day is; ``None`` is UTC."""
    n_invoices: int


async def plain_of_month(tx: Tx, month: str, *, states: Sequence[State]) -> list[Heap]:
    """Return the invoices of a month of which nothing was paid or credited, heap by heap.

    Of very many customers most are: see ``PLAIN``.

    Args:
        states: only invoices whose last step is one of these.
    """
    rows = await tx.fetch_all(
        "SELECT step, currency, amount, due, time_zone, count(*) FROM"  # noqa: S608 - only marks
        f" (SELECT {LAST_STEP} AS step, currency, amount, {_detail('due')} AS due,"
        f" {_detail('time_zone')} AS time_zone FROM documents WHERE {PLAIN}"
        " AND period >= ? AND period < ?) AS plain"
        f" WHERE step IN ({marks(len(states))})"
        " GROUP BY step, currency, amount, due, time_zone",
        (month, f"{month}{BEHIND_DAYS}", *states),
    )
    return [Heap(*row) for row in rows]


async def others_of_month(
    tx: Tx, month: str, *, states: Sequence[State], before: int, limit: int
) -> list[DocumentRow]:
    """Return the other invoices of a month, of smaller ids, the newest first."""
    rows = await tx.fetch_all(
        f"{SELECT} WHERE id < ? AND kind = 'invoice' AND NOT ({PLAIN})"
        f" AND period >= ? AND period < ? AND {LAST_STEP} IN ({marks(len(states))})"
        " ORDER BY id DESC LIMIT ?",
        (before, month, f"{month}{BEHIND_DAYS}", *states, limit),
    )
    return [DocumentRow(*row) for row in rows]


async def all_of(tx: Tx, customer: str) -> list[DocumentRow]:
    """Return every document of a customer, the oldest first."""
    rows = await tx.fetch_all(f"{SELECT} WHERE customer = ? ORDER BY id", (customer,))
    return [DocumentRow(*row) for row in rows]
