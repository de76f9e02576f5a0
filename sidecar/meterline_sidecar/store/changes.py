"""SQL for when something was used, and by which events what is counted changed."""

from typing import Final

from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.store.owned import PAID, one_of, whole
from meterline_sidecar.store.port import Tx

_BETWEEN: Final = "u.generation = ? AND u.last_event_id > ? AND u.last_event_id <= ?"
_CHANGED: Final = (
    "SELECT s.customer AS customer, u.window_ms AS window_ms FROM usage u"  # noqa: S608 - our own words
    f" JOIN subjects s ON s.id = u.subject_id WHERE {_BETWEEN}"
    f" AND s.is_split = 0 AND s.customer {PAID} UNION ALL"
    " SELECT o.customer, u.window_ms FROM usage u JOIN owners o"
    " ON o.subject_id = u.subject_id AND u.window_ms >= o.from_ms"
    f" AND u.window_ms < o.end_ms WHERE {_BETWEEN} AND o.customer {PAID}"
)
"""Windows that changed between two events, with who pays for them."""
_USED: Final = (
    "(u.totals <> '{{}}' OR EXISTS (SELECT 1 FROM unique_values v"
    " WHERE v.generation = u.generation AND v.subject_id = u.subject_id"
    " AND v.window_ms >= u.{first} AND v.window_ms < u.{first} + {length}"
    " AND v.group_id = u.group_id))"
)
"""Whether usage has anything in it: of what was corrected nothing may be left."""


async def changed_hours(
    tx: Tx, generation: int, *, after_event_id: int, up_to_event_id: int
) -> list[tuple[str, int]]:
    """Return ``(customer, hour_ms)`` whose usage changed between two events."""
    rows = await tx.fetch_all(
        f"SELECT DISTINCT customer, window_ms / ? * ? FROM ({_CHANGED}) AS c"  # noqa: S608 - our own words
        " ORDER BY 2, 1",
        (HOUR_MS, HOUR_MS, *[generation, after_event_id, up_to_event_id] * 2),
    )
    return [(row[0], row[1]) for row in rows]


async def changed_customers(
    tx: Tx, generation: int, *, after_event_id: int, up_to_event_id: int
) -> list[str]:
    """Return the customers whose usage changed between two events."""
    rows = await tx.fetch_all(
        f"SELECT DISTINCT customer FROM ({_CHANGED}) AS c",  # noqa: S608 - our own words
        [generation, after_event_id, up_to_event_id] * 2,
    )
    return [row[0] for row in rows]


async def counted_range(
    tx: Tx, generation: int, *, customer: str, start: int, end: int
) -> tuple[int, int] | None:
    """Return a customer's first window in ``[start, end)``, and the last event counted.

    Of the subjects that are whole theirs; ``None`` where they used nothing.
    """
    row = await tx.fetch_one(
        "SELECT min(u.window_ms), max(u.last_event_id) FROM usage u"  # noqa: S608 - our own words
        f" WHERE u.generation = ? AND u.subject_id IN ({whole(one_of(1))})"
        " AND u.window_ms >= ? AND u.window_ms < ?",
        (generation, customer, start, end),
    )
    return None if row is None or row[0] is None else (row[0], row[1])


async def counted_hours(
    tx: Tx, generation: int, *, customer: str, start: int, end: int
) -> dict[int, int]:
    """Return the hours in which a customer used anything, and their last event each.

    Of whatever meter; of a subject that changed hands within a span, all of it.
    """
    rows = await tx.fetch_all(
        "SELECT u.window_ms / ? * ?, max(u.last_event_id) FROM usage u"
        " WHERE u.generation = ? AND u.subject_id IN"
        " (SELECT id FROM subjects WHERE customer = ? AND is_split = 0"
        " UNION SELECT subject_id FROM owners WHERE customer = ?)"
        " AND u.window_ms >= ? AND u.window_ms < ? GROUP BY 1 ORDER BY 1",
        (HOUR_MS, HOUR_MS, generation, customer, customer, start, end),
    )
    return dict(rows)


async def first_use(tx: Tx, generation: int, *, customer: str) -> int | None:
    """Return the first window in which a customer used anything, UTC ms.

    Not its day, which may have begun in another month of the customer's calendar.
    """
    day = await tx.fetch_one(
        "SELECT min(d.day_ms) FROM (SELECT min(u.day_ms) AS day_ms FROM usage_days u"  # noqa: S608 - our own words
        f" WHERE u.generation = ? AND u.subject_id IN ({whole(one_of(1))})"
        f" AND {_USED.format(first='day_ms', length=DAY_MS)} UNION ALL"
        " SELECT min(u.day_ms) FROM packed_days u WHERE u.generation = ?"
        f" AND u.subject_id IN ({whole(one_of(1))})) AS d",
        (generation, customer) * 2,
    )
    start = None if day is None else day[0]
    first_day = (0, 0) if start is None else (int(start), int(start) + DAY_MS)
    used = _USED.format(first="window_ms", length=1)
    row = await tx.fetch_one(
        "SELECT min(f.at_ms) FROM (SELECT min(u.window_ms) AS at_ms FROM usage u"  # noqa: S608 - our own words
        f" WHERE u.generation = ? AND u.subject_id IN ({whole(one_of(1))})"
        f" AND u.window_ms >= ? AND u.window_ms < ? AND {used}"
        " UNION ALL SELECT (SELECT min(u.window_ms) FROM usage u WHERE u.generation = ?"
        " AND u.subject_id = o.subject_id AND u.window_ms >= o.from_ms"
        f" AND u.window_ms < o.end_ms AND {used}) FROM owners o"
        " WHERE o.customer = ?) AS f",
        (generation, customer, *first_day, generation, customer),
    )
    return None if row is None else row[0]
