"""SQL for hours whose usage changed: they are compared with the outbox once closed."""

from collections.abc import Iterable

from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.store.port import Tx


async def note_hours(
    tx: Tx, hours: Iterable[tuple[str, int]], *, up_to_event_id: int
) -> None:
    """Note ``(customer, hour_ms)`` that changed, and up to which event that holds."""
    await tx.execute_many(
        "INSERT INTO outbox_hours (customer, hour_ms) VALUES (?, ?)"
        " ON CONFLICT DO NOTHING",
        hours,
    )
    await tx.execute(
        "UPDATE outbox_cursor SET seal = NULL, event_id = ? WHERE id = 1",
        (up_to_event_id,),
    )


async def closed_hours(tx: Tx, *, closed_ms: int, limit: int) -> list[tuple[str, int]]:
    """Return ``(customer, hour_ms)`` that changed and began before ``closed_ms``."""
    rows = await tx.fetch_all(
        "SELECT customer, hour_ms FROM outbox_hours WHERE hour_ms < ?"
        " ORDER BY hour_ms, customer LIMIT ?",
        (closed_ms, limit),
    )
    return [(customer, hour_ms) for customer, hour_ms in rows]


async def untold(tx: Tx) -> frozenset[tuple[str, int]]:
    """Return ``(customer, hour_ms)`` of which Stripe does not have all yet."""
    rows = await tx.fetch_all(
        "SELECT customer, hour_ms FROM outbox_hours UNION"
        " SELECT customer, hour_ms FROM outbox"
        " WHERE state IN ('pending', 'sending', 'parked', 'unresolved')"
    )
    return frozenset((customer, hour_ms) for customer, hour_ms in rows)


async def note_subjects(tx: Tx, subject_ids: Iterable[int], *, since_ms: int) -> None:
    """Note every hour from ``since_ms`` on in which these subjects used something.

    For whoever pays for them then: called before and after that changes, it lets the
    former's hours be corrected down and the latter's up.
    """
    ids = list(subject_ids)
    insert = (
        "INSERT INTO outbox_hours (customer, hour_ms)"
        " SELECT DISTINCT s.customer, u.window_ms / ? * ? FROM usage u"
    )
    where = (
        " WHERE u.generation = (SELECT id FROM generations"
        " ORDER BY is_complete DESC, id DESC LIMIT 1)"
        " AND u.subject_id = ? AND u.window_ms >= ? AND s.customer IS NOT NULL"
    )
    whole = "JOIN subjects s ON s.id = u.subject_id AND s.is_split = 0"
    parts = (
        "JOIN owners s ON s.subject_id = u.subject_id"
        " AND u.window_ms >= s.from_ms AND u.window_ms < s.end_ms"
    )
    for joined in (whole, parts):
        await tx.execute_many(
            f"{insert} {joined} {where} ON CONFLICT DO NOTHING",
            [(HOUR_MS, HOUR_MS, subject_id, since_ms) for subject_id in ids],
        )


async def note_issued(
    tx: Tx, after_id: int, *, since_ms: int, limit: int
) -> int | None:
    """Note the hours from ``since_ms`` on of up to ``limit`` rows behind an id.

    Returns the last id that was looked at, ``None`` when there are no more.
    """
    last = await tx.fetch_one(
        "SELECT max(id) FROM"
        " (SELECT id FROM outbox WHERE id > ? ORDER BY id LIMIT ?) AS looked_at",
        (after_id, limit),
    )
    if last is None or last[0] is None:
        return None
    last_id = int(last[0])
    await tx.execute(
        "INSERT INTO outbox_hours (customer, hour_ms)"
        " SELECT DISTINCT customer, hour_ms FROM outbox"
        " WHERE id > ? AND id <= ? AND hour_ms >= ? ON CONFLICT DO NOTHING",
        (after_id, last_id, since_ms),
    )
    return last_id


async def forget_hours(tx: Tx, hours: Iterable[tuple[str, int]]) -> None:
    """Take ``(customer, hour_ms)`` off the list: they are issued."""
    await tx.execute_many(
        "DELETE FROM outbox_hours WHERE customer = ? AND hour_ms = ?", hours
    )
