"""SQL for what Stripe is told of final invoices, call by call."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

from meterline_sidecar.store.columns import Columns, marks, pieces
from meterline_sidecar.store.outbox_sending import WAIT_MS_MAX
from meterline_sidecar.store.port import Tx

Step = Literal[
    "invoice",
    "item",
    "finalize",
    "send",
    "credit_note",
    "void",
    "uncollectible",
    "paid",
    "delete",
]
CallState = Literal["pending", "sending", "done", "held", "dropped"]


class NewCall(NamedTuple):
    """A call to keep."""

    invoice_id: int
    step: Step
    ref: str
    """What it stands for at Stripe, in metadata; empty where there is one of its step."""
    stripe_customer: str
    params: str
    """JSON."""
    created_ms: int


class CallRow(NamedTuple):
    """A call as it is stored."""

    id: int
    invoice_id: int
    step: Step
    ref: str
    stripe_customer: str
    params: str
    created_ms: int
    state: CallState
    key_no: int
    attempts: int
    doubt_ms: int | None
    next_ms: int
    object_id: str | None
    reason: str | None


ALL: Final = Columns(CallRow._fields)
NEW: Final = Columns(NewCall._fields)
SELECT: Final = f"SELECT {ALL.listed} FROM stripe_calls"  # noqa: S608 - names
NUMBERED: Final = (
    f"SELECT d.series, d.number, {', '.join(f'c.{name}' for name in ALL.names)}"  # noqa: S608 - names
    " FROM stripe_calls c"
    " JOIN documents d ON d.invoice_id = c.invoice_id AND d.kind = 'invoice'"
)
"""Each with what the number of its invoice is made of."""


async def add_calls(tx: Tx, rows: Iterable[NewCall]) -> None:
    """Store calls, in the order in which they are to be made."""
    await tx.execute_many(
        f"INSERT INTO stripe_calls ({NEW.listed}, state) VALUES ({NEW.marks}, 'pending')",  # noqa: S608 - names and marks
        [NEW.of(row) for row in rows],
    )


async def due(tx: Tx, *, wall_ms: int, limit: int) -> list[CallRow]:
    """Return calls that may be made now: of each invoice the first that is not done.

    Nothing of an invoice goes on behind a call that is held.
    """
    rows = await tx.fetch_all(
        f"{SELECT} WHERE state = 'pending' AND (next_ms <= ? OR next_ms > ?)"  # noqa: S608 - names
        " AND NOT EXISTS ("
        " SELECT 1 FROM stripe_calls e WHERE e.invoice_id = stripe_calls.invoice_id"
        " AND e.id < stripe_calls.id AND e.state IN ('pending', 'sending', 'held'))"
        " ORDER BY id LIMIT ?",
        (wall_ms, wall_ms + WAIT_MS_MAX, limit),
    )
    return [CallRow(*row) for row in rows]


async def calls_of(tx: Tx, invoice_ids: Sequence[int]) -> list[CallRow]:
    """Return the calls of some invoices, in order."""
    found: list[CallRow] = []
    for part in pieces(invoice_ids):
        rows = await tx.fetch_all(
            f"{SELECT} WHERE invoice_id IN ({marks(len(part))}) ORDER BY id", part
        )
        found += [CallRow(*row) for row in rows]
    return found


async def call_of_object(tx: Tx, object_id: str) -> CallRow | None:
    """Return the call that made an object at Stripe; ``None``: none of ours did."""
    row = await tx.fetch_one(f"{SELECT} WHERE object_id = ? ORDER BY id", (object_id,))
    return None if row is None else CallRow(*row)


async def told_invoices(tx: Tx, *, start_ms: int, end_ms: int) -> list[tuple[int, str]]:
    """Return ``(invoice, its period)`` of invoices of periods that end in a span."""
    rows = await tx.fetch_all(
        "SELECT i.id, i.period FROM invoices i WHERE i.period_end_ms > ?"
        " AND i.period_end_ms <= ? AND EXISTS"
        " (SELECT 1 FROM stripe_calls c WHERE c.invoice_id = i.id) ORDER BY i.id",
        (start_ms, end_ms),
    )
    return [(row[0], row[1]) for row in rows]


async def mark_calling(tx: Tx, row: CallRow, *, now_ms: int) -> bool:
    """Note, before a socket is touched, that a call is being made; say if it still may."""
    changed = await tx.execute(
        "UPDATE stripe_calls SET seal = NULL, state = 'sending',"
        " attempts = attempts + 1, doubt_ms = coalesce(doubt_ms, ?)"
        " WHERE id = ? AND state = 'pending' AND key_no = ?",
        (now_ms, row.id, row.key_no),
    )
    return changed > 0


async def finish_call(tx: Tx, row_id: int, *, object_id: str | None) -> None:
    """Note that a call is done, and what it made."""
    await tx.execute(
        "UPDATE stripe_calls SET seal = NULL, state = 'done', object_id = ?,"
        " reason = NULL, doubt_ms = NULL WHERE id = ?",
        (object_id, row_id),
    )


async def put_off(
    tx: Tx, row_id: int, *, reason: str, next_ms: int, doubt_ms: int | None = None
) -> None:
    """Let a call be made again later, under the same key.

    Args:
        doubt_ms: since when its outcome is not known, where that is to be another time.
    """
    await tx.execute(
        "UPDATE stripe_calls SET seal = NULL, state = 'pending', reason = ?, next_ms = ?,"
        " doubt_ms = coalesce(?, doubt_ms)"
        " WHERE id = ? AND state IN ('pending', 'sending')",
        (reason, next_ms, doubt_ms, row_id),
    )


async def renew_key(tx: Tx, row_id: int, *, now_ms: int) -> None:
    """Let a call that certainly made nothing go under a new key, as if it were new."""
    await tx.execute(
        "UPDATE stripe_calls SET seal = NULL, state = 'pending', key_no = key_no + 1,"
        " doubt_ms = NULL, created_ms = ?, next_ms = 0, reason = NULL WHERE id = ?",
        (now_ms, row_id),
    )


async def hold_call(tx: Tx, row_id: int, *, reason: str) -> None:
    """Leave a call to people."""
    await tx.execute(
        "UPDATE stripe_calls SET seal = NULL, state = 'held', reason = ? WHERE id = ?",
        (reason, row_id),
    )


async def drop_calls(tx: Tx, invoice_id: int, *, reason: str) -> None:
    """Take back what was to be told of an invoice and is not on its way."""
    await tx.execute(
        "UPDATE stripe_calls SET seal = NULL, state = 'dropped', reason = ?"
        " WHERE invoice_id = ? AND state IN ('pending', 'held')",
        (reason, invoice_id),
    )


async def release_calls(tx: Tx, invoice_id: int) -> None:
    """Let what is held of an invoice go again; what was made is looked for first.

    So a draft that is gone is made anew, with all of its items, and nothing else twice.
    """
    await tx.execute(
        "UPDATE stripe_calls SET seal = NULL, state = 'pending', next_ms = 0,"
        " reason = NULL, doubt_ms = 0 WHERE invoice_id = ? AND (state = 'held'"
        " OR (state = 'done' AND step IN ('invoice', 'item') AND NOT EXISTS ("
        "  SELECT 1 FROM stripe_calls f WHERE f.invoice_id = stripe_calls.invoice_id"
        "  AND f.step = 'finalize' AND f.state = 'done')))",
        (invoice_id,),
    )


async def forget_calls(tx: Tx, invoice_id: int) -> None:
    """Forget the calls of an invoice of which none was ever made."""
    await tx.execute("DELETE FROM stripe_calls WHERE invoice_id = ?", (invoice_id,))


async def recover_calls(tx: Tx) -> int:
    """Return calls that a crash left half made to ``pending``; their doubt stays."""
    return await tx.execute(
        "UPDATE stripe_calls SET seal = NULL, state = 'pending', next_ms = 0"
        " WHERE state = 'sending'"
    )


async def held_calls(tx: Tx, *, limit: int) -> list[tuple[str, CallRow]]:
    """Return calls that are left to people, each with the number of its invoice."""
    rows = await tx.fetch_all(
        f"{NUMBERED} WHERE c.state = 'held' ORDER BY c.id LIMIT ?", (limit,)
    )
    return [_numbered(row) for row in rows]


async def failing_calls(
    tx: Tx, *, attempts_min: int, before_ms: int, limit: int
) -> list[tuple[str, CallRow]]:
    """Return calls that failed so often, or that failed last and are as old, likewise."""
    rows = await tx.fetch_all(
        f"{NUMBERED} WHERE c.state = 'pending' AND c.reason IS NOT NULL"
        " AND (c.attempts >= ? OR c.created_ms < ?) ORDER BY c.id LIMIT ?",
        (attempts_min, before_ms, limit),
    )
    return [_numbered(row) for row in rows]


def _numbered(row: Sequence[Any]) -> tuple[str, CallRow]:
    return f"{row[0]}{row[1]:04d}", CallRow(*row[2:])


async def untold_invoices(tx: Tx, *, after_id: int, limit: int) -> list[int]:
    """Return the ids of final invoices behind one that no call is of."""
    rows = await tx.fetch_all(
        "SELECT i.id FROM invoices i WHERE i.id > ? AND NOT EXISTS"
        " (SELECT 1 FROM stripe_calls c WHERE c.invoice_id = i.id)"
        " ORDER BY i.id LIMIT ?",
        (after_id, limit),
    )
    return [row[0] for row in rows]


async def changed_invoices(
    tx: Tx, *, after_state: int, after_document: int
) -> list[int]:
    """Return told invoices that took a step, or were credited, behind two rows."""
    rows = await tx.fetch_all(
        "SELECT s.invoice_id FROM invoice_states s WHERE s.id > ? AND EXISTS"
        " (SELECT 1 FROM stripe_calls c WHERE c.invoice_id = s.invoice_id)"
        " UNION SELECT d.invoice_id FROM documents d WHERE d.id > ?"
        " AND d.kind = 'credit_note' AND EXISTS"
        " (SELECT 1 FROM stripe_calls c WHERE c.invoice_id = d.invoice_id)"
        " ORDER BY 1",
        (after_state, after_document),
    )
    return [row[0] for row in rows]


async def newest_rows(tx: Tx) -> tuple[int, int, int]:
    """Return the newest invoice, step and document that there are; 0 without any."""
    row = await tx.fetch_one(
        "SELECT (SELECT coalesce(max(id), 0) FROM invoices),"
        " (SELECT coalesce(max(id), 0) FROM invoice_states),"
        " (SELECT coalesce(max(id), 0) FROM documents)"
    )
    assert row is not None
    return row[0], row[1], row[2]
