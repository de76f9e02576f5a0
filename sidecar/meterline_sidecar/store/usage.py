"""SQL for usage as it is read: what was counted, per subject, window and group."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.meters import Totals
from meterline_sidecar.store.columns import Columns, marks
from meterline_sidecar.store.port import Tx, Value

THEIRS: Final = "SELECT id FROM subjects WHERE customer = ?"
NOBODYS: Final = "SELECT 0 UNION ALL SELECT id FROM subjects WHERE customer IS NULL"
"""0 stands for events of nobody."""

_totals: Final = msgspec.json.Decoder(Totals)


class Generation(NamedTuple):
    """One version of the meters, and how far it has counted."""

    id: int
    definition: str
    cursor: int
    last_success_ms: int | None


GENERATION: Final = Columns(Generation._fields)


class UsageRow(NamedTuple):
    """Usage of a subject in a window and group."""

    subject_id: int
    window_ms: int
    labels: str
    totals: Totals


async def newest_generation(tx: Tx) -> Generation | None:
    """Return the generation that is counting now."""
    row = await tx.fetch_one(
        f"SELECT {GENERATION.listed} FROM generations ORDER BY id DESC LIMIT 1"  # noqa: S608 - names
    )
    return None if row is None else Generation(*row)


async def read_usage(
    tx: Tx, generation: int, *, customer: str, start: int, end: int
) -> list[UsageRow]:
    """Return a customer's usage of ``[start, end)``, in order of time.

    What lies between two midnights UTC comes as one row a day, the edges as windows.
    """
    rows = await tx.fetch_all(
        f"{_span_of('u.subject_id', THEIRS)} ORDER BY at_ms",
        _each_part(generation, customer, start=start, end=end),
    )
    return [UsageRow(s, w, g, _totals.decode(totals)) for s, w, g, totals in rows]


async def read_usage_of(
    tx: Tx, generation: int, *, customers: Sequence[str], start: int, end: int
) -> dict[str, list[UsageRow]]:
    """Return the usage of several customers, each as above, in two queries."""
    if len(customers) == 1:
        only = customers[0]
        return {
            only: await read_usage(tx, generation, customer=only, start=start, end=end)
        }
    given = marks(len(customers))
    theirs = f"SELECT id FROM subjects WHERE customer IN ({given})"  # noqa: S608 - only marks
    owners = await tx.fetch_all(
        f"SELECT id, customer FROM subjects WHERE customer IN ({given})",  # noqa: S608 - only marks
        customers,
    )
    rows = await tx.fetch_all(
        f"{_span_of('u.subject_id', theirs)} ORDER BY at_ms",
        _each_part(generation, *customers, start=start, end=end),
    )
    owner: dict[int, str] = dict(owners)
    found: dict[str, list[UsageRow]] = {customer: [] for customer in customers}
    for subject_id, at_ms, labels, totals in rows:
        row = UsageRow(subject_id, at_ms, labels, _totals.decode(totals))
        found[owner[subject_id]].append(row)
    return found


async def read_windows(
    tx: Tx, generation: int, *, customer: str, start: int, end: int
) -> list[tuple[int, str, Totals]]:
    """Return ``(window_ms, labels, totals)`` of a customer in ``[start, end)``.

    In no order: a busy customer has ten thousand of them in a week.
    """
    rows = await tx.fetch_all(
        "SELECT u.window_ms, g.labels, u.totals FROM usage u"  # noqa: S608 - our own words
        " JOIN groups g ON g.id = u.group_id"
        f" WHERE u.generation = ? AND u.subject_id IN ({THEIRS})"
        " AND u.window_ms >= ? AND u.window_ms < ?",
        (generation, customer, start, end),
    )
    return [(window, labels, _totals.decode(totals)) for window, labels, totals in rows]


async def read_unassigned(
    tx: Tx, generation: int, *, start: int, end: int, limit: int
) -> list[tuple[str | None, UsageRow]]:
    """Return usage that no customer pays for, each with its subject's name.

    In order of time, days and windows as above.
    """
    rows = await tx.fetch_all(
        f"SELECT s.name, t.subject_id, t.at_ms, t.labels, t.totals FROM ({_span_of('u.subject_id AS subject_id', NOBODYS)}) t"  # noqa: S608 - our own words
        " LEFT JOIN subjects s ON s.id = t.subject_id "
        " ORDER BY t.at_ms, t.subject_id, t.labels LIMIT ?",
        (*_each_part(generation, start=start, end=end), limit),
    )
    return [
        (name, UsageRow(s, w, g, _totals.decode(totals)))
        for name, s, w, g, totals in rows
    ]


def _span_of(subject: str, whose: str) -> str:
    """Return the query for a span: whole days, the windows before, and those after.

    Each part names its subjects in a subquery. Where they are joined, SQLite, which
    knows nothing of how many there are, reads all usage and asks of each row whose
    it is: half a second in place of half a millisecond.
    """
    where = f"u.generation = ? AND u.subject_id IN ({whose})"
    groups = "JOIN groups g ON g.id = u.group_id"
    windows = (
        f"SELECT {subject}, u.window_ms, g.labels, u.totals FROM usage u {groups}"  # noqa: S608 - our own words
        f" WHERE {where} AND u.window_ms >= ? AND u.window_ms < ?"
    )
    return (
        f"SELECT {subject}, u.day_ms AS at_ms, g.labels, u.totals FROM usage_days u"  # noqa: S608 - our own words
        f" {groups} WHERE {where} AND u.day_ms >= ? AND u.day_ms < ?"
        f" UNION ALL {windows} UNION ALL {windows}"
    )


def _each_part(generation: int, *whose: str, start: int, end: int) -> tuple[Value, ...]:
    """Return the parameters of such a query: days in the middle, windows around."""
    first = -(-start // DAY_MS) * DAY_MS
    beyond = max(first, end // DAY_MS * DAY_MS)
    head: tuple[Value, ...] = (generation, *whose)
    return (
        *head,
        first,
        beyond,
        *head,
        start,
        min(first, end),
        *head,
        max(beyond, start),
        end,
    )


async def count_unique(
    tx: Tx,
    generation: int,
    *,
    customer: str,
    start: int,
    end: int,
) -> list[tuple[str, str, int]]:
    """Return ``(meter, labels, distinct values)`` of a customer in ``[start, end)``."""
    rows = await tx.fetch_all(
        "SELECT v.meter, g.labels, count(DISTINCT v.value) FROM unique_values v"  # noqa: S608 - our own words
        " JOIN groups g ON g.id = v.group_id"
        f" WHERE v.generation = ? AND v.subject_id IN ({THEIRS})"
        " AND v.window_ms >= ? AND v.window_ms < ? GROUP BY v.meter, g.labels",
        (generation, customer, start, end),
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def changed_hours(
    tx: Tx, generation: int, *, after_event_id: int, up_to_event_id: int
) -> list[tuple[str, int]]:
    """Return ``(customer, hour_ms)`` whose usage changed between two events."""
    rows = await tx.fetch_all(
        "SELECT DISTINCT s.customer, u.window_ms / ? * ? FROM usage u"
        " JOIN subjects s ON s.id = u.subject_id WHERE u.generation = ?"
        " AND u.last_event_id > ? AND u.last_event_id <= ?"
        " AND s.customer IS NOT NULL ORDER BY 2, 1",
        (HOUR_MS, HOUR_MS, generation, after_event_id, up_to_event_id),
    )
    return [(row[0], row[1]) for row in rows]


async def changed_customers(
    tx: Tx, generation: int, *, after_event_id: int, up_to_event_id: int
) -> list[str]:
    """Return the customers whose usage changed between two events."""
    rows = await tx.fetch_all(
        "SELECT DISTINCT s.customer FROM usage u"
        " JOIN subjects s ON s.id = u.subject_id WHERE u.generation = ?"
        " AND u.last_event_id > ? AND u.last_event_id <= ?"
        " AND s.customer IS NOT NULL",
        (generation, after_event_id, up_to_event_id),
    )
    return [row[0] for row in rows]


async def first_use(tx: Tx, generation: int, *, customer: str) -> int | None:
    """Return the first day on which a customer used anything, UTC ms."""
    row = await tx.fetch_one(
        "SELECT min(u.day_ms) FROM usage_days u WHERE u.generation = ?"  # noqa: S608 - our own words
        f" AND u.subject_id IN ({THEIRS})",
        (generation, customer),
    )
    return None if row is None or row[0] is None else int(row[0])
