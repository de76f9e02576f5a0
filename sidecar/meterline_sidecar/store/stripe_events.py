"""What Stripe told us by webhook: stored before it is answered, once for each id."""

from typing import Final

from msgspec import Struct

from meterline_sidecar.store.columns import Columns
from meterline_sidecar.store.outbox import OutboxRow, read_rows
from meterline_sidecar.store.port import Tx


class StripeEvent(Struct, frozen=True):
    """One webhook that is stored and not acted on yet."""

    id: str
    type: str
    body: str


READ: Final = Columns(StripeEvent.__struct_fields__)


async def store(tx: Tx, event: StripeEvent, *, now_ms: int) -> bool:
    """Store an event; return ``False`` if it was here already."""
    changed = await tx.execute(
        "INSERT INTO stripe_events (id, type, received_ms, body, state)"
        " VALUES (?, ?, ?, ?, 'stored') ON CONFLICT (id) DO NOTHING",
        (event.id, event.type, now_ms, event.body),
    )
    return changed > 0


async def waiting(tx: Tx, *, limit: int) -> list[StripeEvent]:
    """Return events that nobody has acted on, the oldest first."""
    rows = await tx.fetch_all(
        f"SELECT {READ.listed} FROM stripe_events WHERE state = 'stored'"  # noqa: S608 - names
        " ORDER BY received_ms, id LIMIT ?",
        (limit,),
    )
    return [StripeEvent(*row) for row in rows]


async def finish(
    tx: Tx, event_id: str, *, errors: int, found: int, reason: str
) -> None:
    """Note what was done about an event."""
    await tx.execute(
        "UPDATE stripe_events SET seal = NULL, state = 'done', errors = ?, found = ?, reason = ?"
        " WHERE id = ?",
        (errors, found, reason, event_id),
    )


async def forget(tx: Tx, *, before_ms: int) -> None:
    """Delete what was acted on long ago."""
    await tx.execute(
        "DELETE FROM stripe_events WHERE state = 'done' AND received_ms < ?",
        (before_ms,),
    )


async def unexplained(tx: Tx) -> int:
    """Return how many rejected meter events could not be traced to a row."""
    row = await tx.fetch_one(
        "SELECT coalesce(CAST(sum(errors - found) AS BIGINT), 0) FROM stripe_events"
        " WHERE state = 'done' AND errors > found"
    )
    assert row is not None
    return int(row[0])


async def rows_of_key(tx: Tx, key: str, identifier: str) -> list[OutboxRow]:
    """Return the rows that were sent under an Idempotency-Key.

    One row of its own, or all that went in one request of the stream.
    """
    found = await read_rows(tx, "FROM outbox WHERE identifier = ?", (identifier,))
    if found:
        return found
    return await read_rows(tx, "FROM outbox WHERE batch_key = ? ORDER BY id", (key,))


async def reject(tx: Tx, row_id: int, *, state: str, reason: str, now_ms: int) -> bool:
    """Take back that a row is counted; return whether that was news."""
    changed = await tx.execute(
        "UPDATE outbox SET seal = NULL, state = ?, reason = ?, settled_ms = ? WHERE id = ?"
        " AND replaced_by IS NULL AND state IN ('pending', 'sending', 'confirmed')",
        (state, reason, now_ms, row_id),
    )
    return changed > 0
