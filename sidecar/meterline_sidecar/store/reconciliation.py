"""What the ledger says that Stripe should know, and what the last comparison found."""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from meterline_sidecar.store.columns import Columns
from meterline_sidecar.store.outbox import OutboxRow, read_rows
from meterline_sidecar.store.port import Tx


class Comparison(Struct, frozen=True):
    """One customer and meter in one span, here and at Stripe."""

    start_ms: int
    end_ms: int
    event_name: str
    stripe_customer: str
    ours: int
    """What Stripe should have, as a whole number of the smallest unit."""
    theirs: str
    """What Stripe says, as decimal text."""
    unresolved: int
    """Rows of which nobody knows whether they are counted."""
    verdict: str
    checked_ms: int
    scale: int = 0
    """How many digits of ours stand behind its point."""


ALL: Final = Columns(Comparison.__struct_fields__)


async def series(tx: Tx, *, start_ms: int, end_ms: int) -> list[tuple[str, str]]:
    """Return every ``(event_name, stripe_customer)`` with rows in a span."""
    rows = await tx.fetch_all(
        "SELECT DISTINCT event_name, stripe_customer FROM outbox"
        " WHERE hour_ms >= ? AND hour_ms < ? AND stripe_customer IS NOT NULL"
        " AND replaced_by IS NULL ORDER BY event_name, stripe_customer",
        (start_ms, end_ms),
    )
    return [(event_name, customer) for event_name, customer in rows]


async def doubted(tx: Tx) -> set[tuple[str, str]]:
    """Return every ``(event_name, stripe_customer)`` with a row in doubt."""
    rows = await tx.fetch_all(
        "SELECT DISTINCT event_name, stripe_customer FROM outbox"
        " WHERE state = 'unresolved' AND replaced_by IS NULL"
    )
    return {(event_name, customer) for event_name, customer in rows}


async def unmapped(tx: Tx, *, start_ms: int, end_ms: int) -> list[OutboxRow]:
    """Return the rows in a span that have no Stripe customer."""
    return await read_rows(
        tx,
        "FROM outbox WHERE stripe_customer IS NULL"
        " AND hour_ms >= ? AND hour_ms < ? AND replaced_by IS NULL"
        " ORDER BY customer, event_name, hour_ms, part",
        (start_ms, end_ms),
    )


async def rows_of(
    tx: Tx, event_name: str, stripe_customer: str, *, start_ms: int, end_ms: int
) -> list[OutboxRow]:
    """Return the rows of one series in a span, replaced ones left out, in order."""
    return await read_rows(
        tx,
        "FROM outbox WHERE event_name = ? AND stripe_customer = ?"
        " AND hour_ms >= ? AND hour_ms < ? AND replaced_by IS NULL"
        " ORDER BY hour_ms, part",
        (event_name, stripe_customer, start_ms, end_ms),
    )


async def told_after(
    tx: Tx, final_ms: int, *, start_ms: int, end_ms: int, limit: int
) -> list[OutboxRow]:
    """Return rows of a span that were told from ``final_ms`` on, are yet to be, or are
    too old to be; in order of their ids.
    """
    return await read_rows(
        tx,
        "FROM outbox WHERE hour_ms >= ? AND hour_ms < ? AND replaced_by IS NULL"
        " AND stripe_customer IS NOT NULL AND (state = 'expired' OR (state IN"
        " ('pending', 'sending', 'confirmed', 'parked') AND created_ms >= ?)"
        " OR (state IN ('pending', 'sending', 'confirmed') AND sent_ms >= ?))"
        " ORDER BY id LIMIT ?",
        (start_ms, end_ms, final_ms, final_ms, limit),
    )


async def confirm(tx: Tx, row_ids: Iterable[int], *, reason: str, now_ms: int) -> None:
    """Note that unresolved rows are counted after all, and how that is known."""
    await tx.execute_many(
        "UPDATE outbox SET seal = NULL, state = 'confirmed', settled_ms = ?, reason = ?"
        " WHERE id = ? AND state = 'unresolved'",
        [(now_ms, reason, row_id) for row_id in row_ids],
    )


async def save(tx: Tx, found: Comparison) -> None:
    """Keep the newest comparison of its series and month."""
    await tx.execute(
        f"INSERT INTO reconciliations ({ALL.listed}) VALUES ({ALL.marks})"  # noqa: S608 - names and marks
        " ON CONFLICT (start_ms, event_name, stripe_customer) DO UPDATE SET"
        " end_ms = excluded.end_ms, ours = excluded.ours, theirs = excluded.theirs,"
        " unresolved = excluded.unresolved, verdict = excluded.verdict,"
        " checked_ms = excluded.checked_ms, scale = excluded.scale, seal = NULL",
        ALL.of(found),
    )


async def last(tx: Tx) -> tuple[int | None, int]:
    """Return when Stripe was last compared, and how many series did not match."""
    row = await tx.fetch_one(
        "SELECT max(checked_ms), count(*) FILTER (WHERE verdict <> 'equal')"
        " FROM reconciliations"
    )
    assert row is not None
    return row[0], row[1]


async def kept(tx: Tx, *, start_ms: int) -> dict[tuple[str, str], Comparison]:
    """Return the last comparison of every series in the month from ``start_ms``."""
    rows = await tx.fetch_all(
        f"SELECT {ALL.listed} FROM reconciliations WHERE start_ms = ?",  # noqa: S608 - names
        (start_ms,),
    )
    found = (Comparison(*row) for row in rows)
    return {(known.event_name, known.stripe_customer): known for known in found}
