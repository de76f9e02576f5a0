"""SQL for usage as it is read: what was counted, per subject, window and group."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.meters import Totals
from meterline_sidecar.store.columns import Columns, marks
from meterline_sidecar.store.dialects import either
from meterline_sidecar.store.owned import (
    NOBODY,
    PAID,
    one_of,
    parts,
    parts_given,
    whole,
)
from meterline_sidecar.store.port import Tx, Value

GROUPS: Final = "JOIN groups g ON g.id = u.group_id"

_LISTED: Final = either(
    sqlite="group_concat(w.totals)", postgres="string_agg(w.totals, ',')"
)
_totals: Final = msgspec.json.Decoder(Totals)
_listed_totals: Final = msgspec.json.Decoder(list[Totals])


class Generation(NamedTuple):
    """Usage counted from the first event on, and how far that is."""

    id: int
    definition: str
    """What each meter measures from when on, as ``usage.definition`` reads it."""
    cursor: int
    last_success_ms: int | None
    is_complete: int
    """Whether it ever had counted all there was; until then it is not read."""


GENERATION: Final = Columns(Generation._fields)


class UsageRow(NamedTuple):
    """Usage of a subject in a window and group."""

    subject_id: int
    window_ms: int
    labels: str
    totals: Totals


async def newest_generation(tx: Tx) -> Generation | None:
    """Return the generation that is read: the newest that has caught up.

    Before any has, the newest: what it has counted is all there is.
    """
    row = await tx.fetch_one(
        f"SELECT {GENERATION.listed} FROM generations"  # noqa: S608 - names
        " ORDER BY is_complete DESC, id DESC LIMIT 1"
    )
    return None if row is None else Generation(*row)


async def generation_beside(tx: Tx, generation: int) -> Generation | None:
    """Return the generation that counts again beside the one that is read, if any.

    It is the newest of all, unless it was given up: those between count no more.
    """
    row = await tx.fetch_one(
        f"SELECT {GENERATION.listed} FROM generations WHERE id > ?"  # noqa: S608 - names
        " AND id = (SELECT max(id) FROM generations)"
        " AND id NOT IN (SELECT generation FROM generation_ends)",
        (generation,),
    )
    return None if row is None else Generation(*row)


async def read_usage(
    tx: Tx, generation: int, *, customer: str, start: int, end: int
) -> list[UsageRow]:
    """Return a customer's usage of ``[start, end)``, in order of time.

    What lies between two midnights UTC comes as one row a day, the edges as windows.
    Of a subject that changed hands it is what they used while this customer paid.
    """
    test, span = one_of(1), {"start": start, "end": end}
    rows = await tx.fetch_all(
        _days_and_edges(test), _whole_given(generation, customer, **span)
    )
    found = [UsageRow(s, w, g, _totals.decode(totals)) for s, w, g, totals in rows]
    found += [r for _, r in await _of_parts(tx, generation, test, customer, **span)]
    found.sort(key=lambda row: row.window_ms)
    return found


async def read_sums_of(
    tx: Tx, generation: int, *, customers: Sequence[str], start: int, end: int
) -> dict[str, list[tuple[str, list[Totals]]]]:
    """Return the same of several customers as ``(labels, totals)``, in no order.

    Those of a subject and a group come together: a long span takes hardly longer so.
    """
    test, span = one_of(len(customers)), {"start": start, "end": end}
    rows = await tx.fetch_all(
        "SELECT s.customer, g.labels, d.totals FROM"  # noqa: S608 - our own words
        f" (SELECT w.subject_id, w.group_id, {_LISTED} AS totals FROM"
        f" ({_days_and_edges(test, named=False)}) AS w GROUP BY w.subject_id, w.group_id)"
        " AS d JOIN subjects s ON s.id = d.subject_id JOIN groups g ON g.id = d.group_id",
        _whole_given(generation, *customers, **span),
    )
    found: dict[str, list[tuple[str, list[Totals]]]] = {name: [] for name in customers}
    for customer, labels, totals in rows:
        found[customer].append((labels, _listed_totals.decode(f"[{totals}]")))
    for owner, row in await _of_parts(tx, generation, test, *customers, **span):
        assert owner is not None
        found[owner].append((row.labels, [row.totals]))
    return found


async def read_windows(
    tx: Tx, generation: int, *, customer: str, start: int, end: int
) -> list[tuple[int, str, Totals]]:
    """Return ``(window_ms, labels, totals)`` of a customer in ``[start, end)``.

    In no order: a busy customer has ten thousand of them in a week.
    """
    rows = await tx.fetch_all(
        f"SELECT u.window_ms, g.labels, u.totals FROM usage u {GROUPS}"  # noqa: S608 - our own words
        f" WHERE u.generation = ? AND u.subject_id IN ({whole(one_of(1))})"
        " AND u.window_ms >= ? AND u.window_ms < ?",
        (generation, customer, start, end),
    )
    rows += await tx.fetch_all(
        f"WITH t AS ({parts(one_of(1))})"  # noqa: S608 - our own words
        " SELECT u.window_ms, g.labels, u.totals FROM t CROSS JOIN usage u"
        f" {GROUPS} WHERE u.generation = ? AND u.subject_id = t.subject_id"
        " AND u.window_ms >= t.start_ms AND u.window_ms < t.end_ms",
        (*parts_given(customer, start=start, end=end), generation),
    )
    return [(window, labels, _totals.decode(totals)) for window, labels, totals in rows]


async def windows_since(
    tx: Tx, generation: int, *, subjects: Sequence[int], since_ms: int
) -> list[UsageRow]:
    """Return all windows of some subjects, at most ``MARKS_MAX``, since a time."""
    rows = await tx.fetch_all(
        f"SELECT u.subject_id, u.window_ms, g.labels, u.totals FROM usage u {GROUPS}"  # noqa: S608 - our own words
        f" WHERE u.generation = ? AND u.subject_id IN ({marks(len(subjects))})"
        " AND u.window_ms >= ?",
        (generation, *subjects, since_ms),
    )
    return [UsageRow(s, w, g, _totals.decode(totals)) for s, w, g, totals in rows]


async def unique_since(
    tx: Tx, generation: int, *, subjects: Sequence[int], since_ms: int
) -> list[tuple[int, int, str, str, str]]:
    """Return ``(subject id, window_ms, labels, meter, value)`` of the same windows."""
    rows = await tx.fetch_all(
        "SELECT u.subject_id, u.window_ms, g.labels, u.meter, u.value"  # noqa: S608 - our own words
        f" FROM unique_values u {GROUPS}"
        f" WHERE u.generation = ? AND u.subject_id IN ({marks(len(subjects))})"
        " AND u.window_ms >= ?",
        (generation, *subjects, since_ms),
    )
    return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]


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


async def read_unassigned(
    tx: Tx, generation: int, *, start: int, end: int, limit: int
) -> list[tuple[str | None, UsageRow]]:
    """Return usage that no customer pays for, each with its subject's name.

    In order of time, days and windows as above.
    """
    rows = await tx.fetch_all(
        f"{_days_and_edges(NOBODY)} ORDER BY at_ms, subject_id, labels LIMIT ?",
        (*_whole_given(generation, start=start, end=end), limit),
    )
    found = [UsageRow(s, w, g, _totals.decode(totals)) for s, w, g, totals in rows]
    for _, row in await _of_parts(tx, generation, NOBODY, start=start, end=end):
        found.append(row)
    found.sort(key=lambda row: (row.window_ms, row.subject_id, row.labels))
    names: dict[int, str | None] = {0: None}
    for row in found[:limit]:
        if row.subject_id not in names:
            named = await tx.fetch_one(
                "SELECT name FROM subjects WHERE id = ?", (row.subject_id,)
            )
            names[row.subject_id] = None if named is None else named[0]
    return [(names[row.subject_id], row) for row in found[:limit]]


def _days_and_edges(test: str, *, named: bool = True) -> str:
    """Return the query for a span: whole days, the windows before, and those after.

    Each part names its subjects in a subquery. Where they are joined, SQLite, which
    knows nothing of how many there are, reads all usage and asks of each row whose
    it is: half a second in place of half a millisecond.
    """
    group, groups = ("g.labels AS labels", GROUPS) if named else ("u.group_id", "")
    where = f"u.generation = ? AND u.subject_id IN ({whole(test)})"
    windows = (
        f"SELECT u.subject_id, u.window_ms, {group}, u.totals FROM usage u {groups}"  # noqa: S608 - our own words
        f" WHERE {where} AND u.window_ms >= ? AND u.window_ms < ?"
    )
    return (
        f"SELECT u.subject_id AS subject_id, u.day_ms AS at_ms, {group},"  # noqa: S608 - our own words
        f" u.totals FROM usage_days u {groups}"
        f" WHERE {where} AND u.day_ms >= ? AND u.day_ms < ?"
        f" UNION ALL {windows} UNION ALL {windows}"
    )


def _whole_given(
    generation: int, *customers: str, start: int, end: int
) -> tuple[Value, ...]:
    """Return the parameters of such a query: days in the middle, windows around."""
    first = -(-start // DAY_MS) * DAY_MS
    beyond = max(first, end // DAY_MS * DAY_MS)
    head: tuple[Value, ...] = (generation, *customers)
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


async def _of_parts(
    tx: Tx, generation: int, test: str, *customers: str, start: int, end: int
) -> list[tuple[str | None, UsageRow]]:
    """Return usage of subjects that changed hands, each with who paid for it then.

    Here the few times are joined, first: a span of its own for each subject.
    """
    joined = "WHERE u.generation = ? AND u.subject_id = t.subject_id"
    windows = (
        "SELECT t.customer, u.subject_id, u.window_ms, g.labels, u.totals"  # noqa: S608 - our own words
        f" FROM t CROSS JOIN usage u {GROUPS} {joined}"
    )
    rows = await tx.fetch_all(
        f"WITH t AS ({parts(test)})"  # noqa: S608 - our own words
        " SELECT t.customer, u.subject_id, u.day_ms, g.labels, u.totals"
        f" FROM t CROSS JOIN usage_days u {GROUPS} {joined}"
        " AND u.day_ms >= t.first_ms AND u.day_ms < t.last_ms"
        f" UNION ALL {windows} AND u.window_ms >= t.start_ms AND u.window_ms <"
        " CASE WHEN t.first_ms < t.last_ms THEN t.first_ms ELSE t.end_ms END"
        f" UNION ALL {windows} AND t.first_ms < t.last_ms"
        " AND u.window_ms >= t.last_ms AND u.window_ms < t.end_ms",
        (*parts_given(*customers, start=start, end=end), *[generation] * 3),
    )
    return [
        (customer, UsageRow(s, w, g, _totals.decode(totals)))
        for customer, s, w, g, totals in rows
    ]


async def count_unique(
    tx: Tx,
    generation: int,
    *,
    customer: str,
    start: int,
    end: int,
) -> list[tuple[str, str, int]]:
    """Return ``(meter, labels, distinct values)`` of a customer in ``[start, end)``."""
    test = one_of(1)
    rows = await tx.fetch_all(
        f"WITH t AS ({parts(test)})"  # noqa: S608 - our own words
        " SELECT d.meter, g.labels, count(DISTINCT d.value) FROM ("
        "SELECT u.meter, u.group_id, u.value FROM unique_values u"
        f" WHERE u.generation = ? AND u.subject_id IN ({whole(test)})"
        " AND u.window_ms >= ? AND u.window_ms < ? UNION ALL"
        " SELECT u.meter, u.group_id, u.value FROM t CROSS JOIN unique_values u"
        " WHERE u.generation = ? AND u.subject_id = t.subject_id"
        " AND u.window_ms >= t.start_ms AND u.window_ms < t.end_ms"
        ") AS d JOIN groups g ON g.id = d.group_id GROUP BY d.meter, g.labels",
        (
            *parts_given(customer, start=start, end=end),
            generation,
            customer,
            start,
            end,
            generation,
        ),
    )
    return [(row[0], row[1], row[2]) for row in rows]


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


async def first_use(tx: Tx, generation: int, *, customer: str) -> int | None:
    """Return the first window in which a customer used anything, UTC ms.

    Not its day, which may have begun in another month of the customer's calendar.
    """
    day = await tx.fetch_one(
        "SELECT min(u.day_ms) FROM usage_days u"  # noqa: S608 - our own words
        f" WHERE u.generation = ? AND u.subject_id IN ({whole(one_of(1))})"
        f" AND {_USED.format(first='day_ms', length=DAY_MS)}",
        (generation, customer),
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


_USED: Final = (
    "(u.totals <> '{{}}' OR EXISTS (SELECT 1 FROM unique_values v"
    " WHERE v.generation = u.generation AND v.subject_id = u.subject_id"
    " AND v.window_ms >= u.{first} AND v.window_ms < u.{first} + {length}"
    " AND v.group_id = u.group_id))"
)
"""Whether usage has anything in it: of what was corrected nothing may be left."""
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
