"""SQL for what nobody has billed: usage without a payer, and of whoever left."""

from meterline_sidecar.store.packed_days import PACKED
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.rollups import DAYS


async def unassigned_subjects(
    tx: Tx, generation: int, *, since_day_ms: int, limit: int
) -> list[str]:
    """Return subjects without a payer who used something since a day, oldest first.

    What they used while somebody still paid is left out, by whole days.
    """
    used = (
        "EXISTS (SELECT 1 FROM {table} u WHERE u.generation = ? AND u.subject_id = s.id"
        " AND u.day_ms >= ? AND (s.is_split = 0 OR u.day_ms >= (SELECT max(o.from_ms)"
        " FROM owners o WHERE o.subject_id = s.id)))"
    )
    either = " OR ".join(used.format(table=one.table) for one in (DAYS, PACKED))
    rows = await tx.fetch_all(
        f"SELECT s.name FROM subjects s WHERE s.customer IS NULL AND ({either})"  # noqa: S608 - our own names
        " ORDER BY s.id LIMIT ?",
        (*(generation, since_day_ms) * 2, limit),
    )
    return [row[0] for row in rows]


async def first_use_between(
    tx: Tx, generation: int, *, customer: str, start: int, end: int
) -> int | None:
    """Return the first window of ``[start, end)`` in which a customer used anything.

    Of every subject that they pay for now or ever paid for; ``None``: there is none.
    """
    row = await tx.fetch_one(
        "SELECT min(u.window_ms) FROM usage u WHERE u.generation = ?"
        " AND u.subject_id IN (SELECT s.id FROM subjects s WHERE s.customer = ?"
        " UNION SELECT o.subject_id FROM owners o WHERE o.customer = ?)"
        " AND u.window_ms >= ? AND u.window_ms < ?",
        (generation, customer, customer, start, end),
    )
    return None if row is None else row[0]
