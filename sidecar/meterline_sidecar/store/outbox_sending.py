"""Outbox rows on their way: what is due, what is being sent, what became of it."""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.store.columns import marks, pieces
from meterline_sidecar.store.facts import get_fact, put_fact
from meterline_sidecar.store.outbox import OutboxRow, State, read_rows
from meterline_sidecar.store.port import Tx

FAILING_LOOKED_AT: Final = 5_000
CONFIRMED_FACT: Final = "outbox_confirmed_ms"

WAIT_MS_MAX: Final = HOUR_MS
"""No attempt waits for so long: one that seems to was put off by a clock that was ahead."""


class Settlement(Struct, frozen=True):
    """What became of a row that was being sent."""

    id: int
    state: State
    reason: str | None = None
    request_id: str | None = None
    needs_new_key: bool = False
    clears_doubt: bool = False
    next_ms: int = 0
    settled_ms: int | None = None


async def due(tx: Tx, *, wall_ms: int, per_series: int, limit: int) -> list[OutboxRow]:
    """Return rows that may be sent now, oldest first, some of every series.

    A row that sets an hour's total waits for every earlier one of that hour: the
    one that Stripe receives last is the one that counts.
    """
    return await read_rows(
        tx,
        "FROM ("
        " SELECT id AS row_id, row_number() OVER ("
        "  PARTITION BY event_name, stripe_customer ORDER BY id) AS place"
        " FROM outbox WHERE state = 'pending' AND (next_ms <= ? OR next_ms > ?)"
        " ) AS ready JOIN outbox ON outbox.id = row_id WHERE place <= ?"
        " AND NOT (mode = 'set' AND EXISTS ("
        "  SELECT 1 FROM outbox AS earlier WHERE earlier.customer = outbox.customer"
        "  AND earlier.event_name = outbox.event_name"
        "  AND earlier.hour_ms = outbox.hour_ms AND earlier.part < outbox.part"
        "  AND earlier.state IN ('pending', 'sending', 'parked')))"
        " ORDER BY place, id LIMIT ?",
        (wall_ms, wall_ms + WAIT_MS_MAX, per_series, limit),
    )


async def wake(tx: Tx) -> None:
    """Let every row go now that waits for its next attempt."""
    await tx.execute(
        "UPDATE outbox SET seal = NULL, next_ms = 0 WHERE state = 'pending'"
    )


async def count_due(tx: Tx, *, wall_ms: int) -> int:
    """Return how many rows may be sent now."""
    row = await tx.fetch_one(
        "SELECT count(*) FROM outbox WHERE state = 'pending'"
        " AND (next_ms <= ? OR next_ms > ?)",
        (wall_ms, wall_ms + WAIT_MS_MAX),
    )
    assert row is not None
    return int(row[0])


async def failing(tx: Tx, *, attempts_min: int) -> tuple[int, str | None]:
    """Return how many rows failed so often and are tried again, and why one did.

    Of a long backlog, only a part is looked at: ``/status`` must not take long.
    """
    row = await tx.fetch_one(
        "SELECT count(*), max(reason) FROM"
        " (SELECT attempts, reason FROM outbox WHERE state = 'pending' LIMIT ?)"
        " AS looked_at"
        " WHERE attempts >= ?",
        (FAILING_LOOKED_AT, attempts_min),
    )
    assert row is not None
    return int(row[0]), row[1]


async def mark_sending(
    tx: Tx, rows: Iterable[OutboxRow], *, now_ms: int, batch_key: str | None = None
) -> set[int]:
    """Note, before a socket is touched, that rows are being sent.

    Returns the ids that are still to be sent: a row may have been dropped or
    rejected since it was read.
    """
    marked = await _unchanged(tx, list(rows))
    await tx.execute_many(
        "UPDATE outbox SET seal = NULL, state = 'sending', attempts = attempts + 1,"
        " sent_ms = ?, doubt_ms = coalesce(doubt_ms, ?), batch_key = ? WHERE id = ?",
        [(now_ms, now_ms, batch_key, row_id) for row_id in sorted(marked)],
    )
    await tx.execute(
        "UPDATE outbox_cursor SET seal = NULL, sends = sends + ? WHERE id = 1",
        (len(marked),),
    )
    return marked


async def _unchanged(tx: Tx, rows: Sequence[OutboxRow]) -> set[int]:
    """Return the ids of rows that are still as they were read."""
    key_numbers = {row.id: row.key_no for row in rows}
    found: set[int] = set()
    for some in pieces(list(key_numbers)):
        # By id alone: with the state in it, SQLite would walk the whole backlog.
        current = await tx.fetch_all(
            "SELECT id, state, key_no FROM outbox"  # noqa: S608 - only marks
            f" WHERE id IN ({marks(len(some))})",
            some,
        )
        found.update(
            i
            for i, state, key_no in current
            if state == "pending" and key_numbers[i] == key_no
        )
    return found


async def settle(tx: Tx, settlements: Iterable[Settlement]) -> None:
    """Note what became of rows that were being sent, and when one last arrived."""
    noted = list(settlements)
    await tx.execute_many(
        "UPDATE outbox SET seal = NULL, state = ?, reason = ?, request_id = ?,"
        " key_no = key_no + ?, next_ms = ?, settled_ms = ?,"
        " doubt_ms = CASE WHEN ? = 1 THEN NULL ELSE doubt_ms END"
        " WHERE id = ? AND state = 'sending'",
        [
            (
                s.state,
                s.reason,
                s.request_id,
                int(s.needs_new_key),
                s.next_ms,
                s.settled_ms,
                int(s.clears_doubt),
                s.id,
            )
            for s in noted
        ],
    )
    confirmed = [s.settled_ms or 0 for s in noted if s.state == "confirmed"]
    if confirmed:
        await put_fact(tx, CONFIRMED_FACT, str(max(confirmed)))


async def last_confirmed(tx: Tx) -> int | None:
    """Return when Stripe last confirmed a row, in UTC milliseconds."""
    known = await get_fact(tx, CONFIRMED_FACT)
    return None if known is None else int(known)


async def recover(tx: Tx) -> int:
    """Return rows that a crash left half sent to ``pending``; return how many.

    Their doubt stays: what was sent may have arrived.
    """
    return await tx.execute(
        "UPDATE outbox SET seal = NULL, state = 'pending', next_ms = 0 WHERE state = 'sending'"
    )


async def park(tx: Tx, event_name: str, reason: str) -> int:
    """Hold every row of an event name that no meter has; return how many."""
    return await tx.execute(
        "UPDATE outbox SET seal = NULL, state = 'parked', reason = ?"
        " WHERE state = 'pending' AND event_name = ?",
        (reason, event_name),
    )


async def unpark(tx: Tx, event_name: str) -> int:
    """Let the mapped rows of an event name go again; return how many."""
    return await tx.execute(
        "UPDATE outbox SET seal = NULL, state = 'pending', reason = NULL, next_ms = 0"
        " WHERE state = 'parked' AND event_name = ? AND stripe_customer IS NOT NULL",
        (event_name,),
    )


async def parked_heads(tx: Tx) -> list[tuple[str, int]]:
    """Return the oldest mapped row of each parked event name: name and id."""
    rows = await tx.fetch_all(
        "SELECT event_name, min(id) FROM outbox"
        " WHERE state = 'parked' AND stripe_customer IS NOT NULL GROUP BY event_name"
    )
    return [(event_name, row_id) for event_name, row_id in rows]


async def probe(tx: Tx, row_id: int) -> None:
    """Let one parked row go, to see whether its meter exists by now."""
    await tx.execute(
        "UPDATE outbox SET seal = NULL, state = 'pending', next_ms = 0"
        " WHERE id = ? AND state = 'parked'",
        (row_id,),
    )


async def sweep(
    tx: Tx, *, expired_ms: int, doubted_ms: int, expired_reason: str
) -> tuple[int, int]:
    """Take out rows that may not be sent any more; return how many of each kind.

    First those whose outcome has been unknown since before ``doubted_ms``: the
    receiver may have forgotten the identifier, so that they could count twice. A set
    hour cannot. Then those whose hour is before ``expired_ms``: they are refused, and
    what was sent of them before is in doubt for good.
    """
    doubted = await tx.execute(
        "UPDATE outbox SET seal = NULL, state = 'unresolved', reason = coalesce(reason,"
        " 'sent, and the outcome was not learned in time')"
        " WHERE state IN ('pending', 'parked') AND doubt_ms IS NOT NULL"
        " AND ((mode = 'delta' AND doubt_ms <= ?) OR hour_ms < ?)",
        (doubted_ms, expired_ms),
    )
    expired = await tx.execute(
        "UPDATE outbox SET seal = NULL, state = 'expired', reason = ?"
        " WHERE state IN ('pending', 'parked') AND hour_ms < ?",
        (expired_reason, expired_ms),
    )
    return doubted, expired


async def revive(tx: Tx, *, expired_ms: int, now_ms: int) -> int:
    """Let rows go that a clock which was ahead took for too old; return how many.

    Not by a clock that is behind: it would be before they were made.
    """
    return await tx.execute(
        "UPDATE outbox SET seal = NULL, next_ms = 0, settled_ms = NULL,"
        " state = CASE WHEN stripe_customer IS NULL THEN 'parked' ELSE 'pending' END"
        " WHERE state = 'expired' AND hour_ms >= ? AND created_ms <= ?"
        " AND replaced_by IS NULL",
        (expired_ms, now_ms),
    )


async def suspect(
    tx: Tx, *, before_ms: int, reason: str, holds_sent: bool = True
) -> int:
    """Hold everything before ``before_ms`` that a copy of this ledger would tell again.

    What is issued for hours before it is held from now on, too. Returns the rows that
    are now unresolved.

    Args:
        holds_sent: whether rows that are being sent are held, as nobody waits for
            their answers.
    """
    await tx.execute(
        "UPDATE outbox_cursor SET seal = NULL, suspect_ms = ? WHERE id = 1 AND suspect_ms < ?",
        (before_ms, before_ms),
    )
    return await tx.execute(
        "UPDATE outbox SET seal = NULL, state = 'unresolved', reason = ?"
        " WHERE hour_ms < ? AND stripe_customer IS NOT NULL"
        " AND (state IN ('pending', 'parked') OR (state = 'sending' AND ? = 1))",
        (reason, before_ms, int(holds_sent)),
    )


async def free(tx: Tx, row_id: int) -> None:
    """Let a row that is certainly not counted go again, under a new key."""
    await tx.execute(
        "UPDATE outbox SET seal = NULL, state = 'pending', next_ms = 0, settled_ms = NULL,"
        " key_no = key_no + CASE WHEN state = 'pending' THEN 0 ELSE 1 END"
        " WHERE id = ? AND state <> 'sending'",
        (row_id,),
    )


async def give_up(tx: Tx, row_id: int, *, reason: str, now_ms: int) -> None:
    """Take a row out for good."""
    await tx.execute(
        "UPDATE outbox SET seal = NULL, state = 'dead', reason = ?, settled_ms = ?"
        " WHERE id = ? AND state NOT IN ('sending', 'confirmed')",
        (reason, now_ms, row_id),
    )
