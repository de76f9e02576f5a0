"""SQL that keeps usage by parts of days, and forgets it once windows change."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.meters import Aggregation, Totals, merge
from meterline_sidecar.store.columns import number_rows
from meterline_sidecar.store.day_parts import Part, Span
from meterline_sidecar.store.dialects import either
from meterline_sidecar.store.edge.packed_days import Day
from meterline_sidecar.store.edge.rollups import PARAMETERS_MAX
from meterline_sidecar.store.packed_days import pack
from meterline_sidecar.store.port import Tx

_LISTED: Final = either(
    sqlite="group_concat(totals)", postgres="string_agg(totals, ',')"
)
LOWEST: Final = -(1 << 63)
"""A number behind which every row lies."""
_totals: Final = msgspec.json.Decoder(list[Totals])


class Paid(NamedTuple):
    """A subject that one customer pays for all the time."""

    subject_id: int
    customer: str


async def paid_subjects(tx: Tx, *, after: int, limit: int) -> list[Paid]:
    """Return the next subjects behind one that have one payer, in order of their ids."""
    rows = await tx.fetch_all(
        "SELECT id, customer FROM subjects WHERE id > ? AND is_split = 0"
        " AND customer IS NOT NULL ORDER BY id LIMIT ?",
        (after, limit),
    )
    return [Paid(*row) for row in rows]


async def used_days(
    tx: Tx, generation: int, subject_id: int, *, start: int, end: int
) -> dict[int, set[Span]]:
    """Return the days of ``[start, end)`` with usage, each with the parts there are."""
    span = (generation, subject_id, start, end)
    days: dict[int, set[Span]] = {
        row[0]: set()
        for row in await tx.fetch_all(
            "SELECT day_ms FROM usage_days WHERE generation = ? AND subject_id = ?"
            " AND day_ms >= ? AND day_ms < ? UNION"
            " SELECT day_ms FROM packed_days WHERE generation = ? AND subject_id = ?"
            " AND day_ms >= ? AND day_ms < ?",
            span * 2,
        )
    }
    for part_start, part_end in await tx.fetch_all(
        "SELECT start_ms, end_ms FROM day_parts WHERE generation = ?"
        " AND subject_id = ? AND start_ms >= ? AND start_ms < ?",
        span,
    ):
        days.setdefault(part_start // DAY_MS * DAY_MS, set()).add(
            (part_start, part_end)
        )
    return days


async def n_windows(tx: Tx, generation: int, day: Day) -> int:
    """Return how many rows of windows a day has."""
    row = await tx.fetch_one(
        "SELECT count(*) FROM usage WHERE generation = ? AND subject_id = ?"
        " AND window_ms >= ? AND window_ms < ?",
        (generation, day.subject_id, day.day_ms, day.day_ms + DAY_MS),
    )
    assert row is not None
    return int(row[0])


async def parts_of(
    tx: Tx,
    generation: int,
    subject_id: int,
    spans: Iterable[Span],
    aggregations: Mapping[str, Aggregation],
) -> list[Part]:
    """Return what windows come to in parts of days; not where nothing was used."""
    found: list[Part] = []
    for start, end in spans:
        rows = await tx.fetch_all(
            f"SELECT group_id, {_LISTED} FROM usage WHERE generation = ?"  # noqa: S608 - our own words
            " AND subject_id = ? AND window_ms >= ? AND window_ms < ?"
            " AND totals <> '{}' GROUP BY group_id",
            (generation, subject_id, start, end),
        )
        whole: dict[int, Totals] = defaultdict(dict)
        for group_id, totals in rows:
            for more in _totals.decode(f"[{totals}]"):
                merge(whole[group_id], more=more, aggregations=aggregations)
        if whole:
            found.append(Part(subject_id, start, end, pack(whole)))
    return found


async def put_days(
    tx: Tx, generation: int, days: Mapping[Day, Sequence[Part]], *, cursor: int
) -> int:
    """Keep parts of days in place of those there are; return of how many days.

    Those whose windows changed stay as they are.

    Args:
        days: some; their parts as they followed from windows while events up to
            ``cursor`` were counted.
    """
    starts = [day.day_ms for day in days]
    # Whatever changes a window notes an event behind the cursor: of these there are few.
    rows = await tx.fetch_all(
        "SELECT subject_id, window_ms FROM usage WHERE generation = ?"
        " AND last_event_id > ? AND window_ms >= ? AND window_ms < ?",
        (generation, cursor, min(starts), max(starts) + DAY_MS),
    )
    changed = {
        Day(subject_id, window_ms // DAY_MS * DAY_MS) for subject_id, window_ms in rows
    }
    kept = [day for day in days if day not in changed]
    await _delete(tx, generation, kept)
    await tx.execute_many(
        "INSERT INTO day_parts (generation, subject_id, start_ms, end_ms, body)"
        " VALUES (?, ?, ?, ?, ?)",
        ((generation, *part) for day in kept for part in days[day]),
    )
    return len(kept)


async def forget(tx: Tx, generation: int, days: Iterable[Day]) -> None:
    """Delete the parts of days whose windows change, if there are any."""
    wanted = sorted(set(days))
    step = PARAMETERS_MAX // len(Day._fields)
    found: list[Day] = []
    for first in range(0, len(wanted), step):
        some = wanted[first : first + step]
        rows = await tx.fetch_all(
            f"WITH k (subject_id, day_ms) AS (VALUES {number_rows(2, len(some))})"  # noqa: S608 - only marks
            " SELECT DISTINCT k.subject_id, k.day_ms FROM k CROSS JOIN day_parts p"
            " WHERE p.generation = ? AND p.subject_id = k.subject_id"
            f" AND p.start_ms >= k.day_ms AND p.start_ms < k.day_ms + {DAY_MS}",
            [*(field for day in some for field in day), generation],
        )
        found += (Day(*row) for row in rows)
    if found:
        await _delete(tx, generation, found)


async def parts_after(
    tx: Tx, generation: int, last: tuple[int, int] | None, *, limit: int
) -> list[Part]:
    """Return parts behind one, by its subject and start, in this order.

    Args:
        last: ``None``: from the first one on.
    """
    rows = await tx.fetch_all(
        "SELECT subject_id, start_ms, end_ms, body FROM day_parts WHERE generation = ?"
        " AND (subject_id, start_ms) > (?, ?) ORDER BY subject_id, start_ms LIMIT ?",
        (generation, *(last or (LOWEST, LOWEST)), limit),
    )
    return [Part(*row) for row in rows]


async def _delete(tx: Tx, generation: int, days: Iterable[Day]) -> None:
    await tx.execute_many(
        "DELETE FROM day_parts WHERE generation = ? AND subject_id = ?"
        " AND start_ms >= ? AND start_ms < ?",
        ((generation, s, day_ms, day_ms + DAY_MS) for s, day_ms in days),
    )
