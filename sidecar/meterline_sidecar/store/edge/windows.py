"""SQL for counting some windows again: what happened in them, and what is stored."""

from collections.abc import Container, Iterable, Sequence
from typing import Final

import msgspec

from meterline_sidecar.meters import Totals
from meterline_sidecar.store.columns import marks, number_rows, pieces
from meterline_sidecar.store.edge.rollups import PARAMETERS_MAX
from meterline_sidecar.store.edge.usage import Key
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.rollups import RollupKey

_totals: Final = msgspec.json.Decoder(Totals)


async def id_ranges(tx: Tx, hours: Sequence[int]) -> list[tuple[int, int]]:
    """Return ``(first, last)`` of the ids that events of hours can have, in order.

    Those that overlap are one.

    Args:
        hours: when they begin, UTC ms.
    """
    rows: list[tuple[int, int]] = []
    for part in pieces(hours):
        found = await tx.fetch_all(
            "SELECT first_event_id, last_event_id FROM event_hours"  # noqa: S608 - only marks
            f" WHERE hour_ms IN ({marks(len(part))})",
            part,
        )
        rows += [(row[0], row[1]) for row in found]
    ranges: list[tuple[int, int]] = []
    for first, last in sorted(rows):
        if ranges and first <= ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], max(ranges[-1][1], last))
        else:
            ranges.append((first, last))
    return ranges


async def windows_of(
    tx: Tx,
    generation: int,
    subject_id: int,
    *,
    start: int,
    end: int,
    without: Container[tuple[int, int]] = (),
) -> dict[Key, Totals]:
    """Return what is stored of a subject's windows in ``[start, end)``.

    Args:
        without: of which windows and groups it is not asked for.
    """
    rows = await tx.fetch_all(
        "SELECT window_ms, group_id, totals FROM usage WHERE generation = ?"
        " AND subject_id = ? AND window_ms >= ? AND window_ms < ?",
        (generation, subject_id, start, end),
    )
    return {
        Key(subject_id, window_ms, group_id): _totals.decode(totals)
        for window_ms, group_id, totals in rows
        if (window_ms, group_id) not in without
    }


async def windows_of_all(
    tx: Tx, generation: int, *, start: int, end: int
) -> list[tuple[Key, Totals]]:
    """Return what is stored of everybody's windows in ``[start, end)``.

    It looks at each subject, one after the other: for what cannot be had otherwise.
    """
    rows = await tx.fetch_all(
        "WITH RECURSIVE s (id) AS (SELECT min(subject_id) FROM usage WHERE generation = ?"
        " UNION ALL SELECT (SELECT min(n.subject_id) FROM usage n WHERE n.generation = ?"
        " AND n.subject_id > s.id) FROM s WHERE s.id IS NOT NULL)"
        " SELECT u.subject_id, u.window_ms, u.group_id, u.totals FROM s"
        " CROSS JOIN usage u WHERE u.generation = ? AND u.subject_id = s.id"
        " AND u.window_ms >= ? AND u.window_ms < ?",
        (generation, generation, generation, start, end),
    )
    return [(Key(*key), _totals.decode(totals)) for *key, totals in rows]


async def values_of(
    tx: Tx, generation: int, keys: Sequence[Key]
) -> set[tuple[Key, str, str]]:
    """Return the distinct values that are stored of windows: ``(key, meter, value)``."""
    found: set[tuple[Key, str, str]] = set()
    width = len(Key._fields)
    step = PARAMETERS_MAX // width
    for start in range(0, len(keys), step):
        part = keys[start : start + step]
        rows = await tx.fetch_all(
            "WITH k (subject_id, window_ms, group_id) AS"  # noqa: S608 - only marks
            f" (VALUES {number_rows(width, len(part))})"
            " SELECT u.subject_id, u.window_ms, u.group_id, u.meter, u.value FROM k"
            # Of some 100 keys SQLite would else read all values there are.
            " CROSS JOIN unique_values u"
            " WHERE u.generation = ? AND u.subject_id = k.subject_id"
            " AND u.window_ms = k.window_ms AND u.group_id = k.group_id",
            [*(field for key in part for field in key), generation],
        )
        found.update((Key(*key), meter, value) for *key, meter, value in rows)
    return found


async def drop_values(
    tx: Tx, generation: int, rows: Iterable[tuple[Key, str, str]]
) -> None:
    """Delete distinct values that no counted event has: ``(key, meter, value)``."""
    await tx.execute_many(
        "DELETE FROM unique_values WHERE generation = ? AND subject_id = ?"
        " AND window_ms = ? AND group_id = ? AND meter = ? AND value = ?",
        ((generation, *key, meter, value) for key, meter, value in rows),
    )


async def everybodys(
    tx: Tx, generation: int, *, step_ms: int, start: int, end: int
) -> dict[RollupKey, Totals]:
    """Return everybody's usage in the spans that begin in ``[start, end)``, by key."""
    rows = await tx.fetch_all(
        "SELECT step_ms, start_ms, group_id, totals FROM usage_totals"
        " WHERE generation = ? AND step_ms = ? AND start_ms >= ? AND start_ms < ?",
        (generation, step_ms, start, end),
    )
    return {tuple(key): _totals.decode(totals) for *key, totals in rows}


async def values_between(
    tx: Tx, generation: int, subject_id: int, *, start: int, end: int
) -> list[tuple[Key, str, str]]:
    """Return the distinct values of a subject's windows: ``(key, meter, value)``."""
    rows = await tx.fetch_all(
        "SELECT window_ms, group_id, meter, value FROM unique_values"
        " WHERE generation = ? AND subject_id = ? AND window_ms >= ? AND window_ms < ?",
        (generation, subject_id, start, end),
    )
    return [(Key(subject_id, row[0], row[1]), row[2], row[3]) for row in rows]


async def groups(tx: Tx) -> dict[int, str]:
    """Return the labels of every group, by its id."""
    return dict(await tx.fetch_all("SELECT id, labels FROM groups"))
