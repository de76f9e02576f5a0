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
    due_until: str | None = None,
    before: int = ID_MAX,
    limit: int,
) -> list[DocumentRow]:
    """Return documents with smaller ids than ``before``, the newest first.

    Args:
        customer: only this one's; likewise the kind.
        period: only of this one, or of all that begin in this month.
        states: only invoices whose last step is one of these; none: whatever it is.
        due_until: only what is to be paid until this day, or one before it.
    """
    wanted: dict[str, Value] = {"customer = ?": customer, "kind = ?": kind}
    if period is not None:
        wanted |= {"period >= ?": period, "period < ?": f"{period}{BEHIND_DAYS}"}
    wanted[f"{_detail('due')} <= ?"] = due_until
    given = {text: value for text, value in wanted.items() if value is not None}
    conditions = "".join(f" AND {text}" for text in given)
    if states:
        conditions += f" AND kind = 'invoice' AND {LAST_STEP} IN ({marks(len(states))})"
    values: list[Value] = [before, *given.values(), *states, limit]
    rows = await tx.fetch_all(
        f"{SELECT} WHERE id < ?{conditions} ORDER BY id DESC LIMIT ?", values
    )
    return [DocumentRow(*row) for row in rows]


class Newest(NamedTuple):
    """The last rows that say how invoices stand: whoever knows them knows all before."""

    document_id: int
    state_id: int
    payment_id: int


async def newest(tx: Tx) -> Newest:
    """Return the last rows that there are; 0 before the first."""
    row = await tx.fetch_one(
        "SELECT (SELECT coalesce(max(id), 0) FROM documents),"
        " (SELECT coalesce(max(id), 0) FROM invoice_states),"
        " (SELECT coalesce(max(id), 0) FROM payments)"
    )
    assert row is not None
    return Newest(*row)


async def newest_months(tx: Tx, *, limit: int) -> list[str]:
    """Return months in which periods begin that have documents, the newest first."""
    found: list[str] = []
    beyond = "~"  # behind every name of a period
    while len(found) < limit:
        row = await tx.fetch_one(
            "SELECT max(period) FROM documents WHERE period < ?", (beyond,)
        )
        if row is None or row[0] is None:
            break
        beyond = row[0][: len("2026-11")]
        found.append(beyond)
    return found


async def changed_months(tx: Tx, since: Newest) -> frozenset[str]:
    """Return the months of which invoices stand otherwise since some rows."""
    of_invoice = (
        "JOIN documents d ON d.invoice_id = c.invoice_id AND d.kind = 'invoice'"
    )
    rows = await tx.fetch_all(
        "SELECT substr(period, 1, 7) FROM documents WHERE id > ?"  # noqa: S608 - our own text
        f" UNION SELECT substr(d.period, 1, 7) FROM invoice_states c {of_invoice}"
        f" WHERE c.id > ? UNION SELECT substr(d.period, 1, 7) FROM payments c {of_invoice}"
        " WHERE c.id > ?",
        since,
    )
    return frozenset(row[0] for row in rows)


class Heap(NamedTuple):
    """Documents of a month that are alike in all that says how they stand."""

    step: State | None
    """The last one of each invoice; ``None``: they are credit notes."""
    is_plain: bool
    """Whether nothing was paid or credited of each, and all is in one currency."""
    currency: str
    amount: str
    due: str | None
    """The day until which they are to be paid."""
    time_zone: str | None
    """In which that day is; ``None`` is UTC."""
    n_documents: int


async def heaps_of_month(tx: Tx, month: str) -> list[Heap]:
    """Return the documents of all periods that began in a month, heap by heap.

    Amounts are texts, which no database adds up exactly.
    """
    rows = await tx.fetch_all(
        "SELECT step, is_plain, currency, amount, due, time_zone, count(*) FROM"  # noqa: S608 - names
        f" (SELECT CASE WHEN documents.kind = 'invoice' THEN {LAST_STEP} END AS step,"
        f" CASE WHEN {PLAIN} THEN 1 ELSE 0 END AS is_plain, currency, amount,"
        f" {_detail('due')} AS due, {_detail('time_zone')} AS time_zone FROM documents"
        " WHERE period >= ? AND period < ?) AS each_one"
        " GROUP BY step, is_plain, currency, amount, due, time_zone",
        (month, f"{month}{BEHIND_DAYS}"),
    )
    return [Heap(row[0], bool(row[1]), *row[2:]) for row in rows]


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


async def of_month(tx: Tx, month: str, *, after: int, limit: int) -> list[DocumentRow]:
    """Return documents of all periods that began in a month, of larger ids, in order."""
    rows = await tx.fetch_all(
        f"{SELECT} WHERE id > ? AND period >= ? AND period < ? ORDER BY id LIMIT ?",
        (after, month, f"{month}{BEHIND_DAYS}", limit),
    )
    return [DocumentRow(*row) for row in rows]


async def all_of(tx: Tx, customer: str) -> list[DocumentRow]:
    """Return every document of a customer, the oldest first."""
    rows = await tx.fetch_all(f"{SELECT} WHERE customer = ? ORDER BY id", (customer,))
    return [DocumentRow(*row) for row in rows]
