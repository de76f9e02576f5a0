"""SQL that puts days of usage into packs, and takes groups out of them again."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from meterline_sidecar.meters import Aggregation, Totals, merge
from meterline_sidecar.store.columns import number_rows
from meterline_sidecar.store.edge.rollups import PARAMETERS_MAX
from meterline_sidecar.store.packed_days import pack, unpacked
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.rollups import RollupKey

_totals: Final = msgspec.json.Decoder(Totals)


class Day(NamedTuple):
    """A subject's day."""

    subject_id: int
    day_ms: int


async def days_to_pack(
    tx: Tx,
    generation: int,
    *,
    after_subject: int,
    limit: int,
    start: int,
    end: int,
    groups_min: int,
    groups_max: int,
) -> tuple[list[Day], int | None]:
    """Return days of the next ``limit`` subjects that have so many rows each.

    And the last of these subjects; ``None``: there are no more.

    Args:
        start: only days from here on, UTC ms ...
        end: ... and before this.
    """
    some = "SELECT id FROM subjects WHERE id > ? ORDER BY id LIMIT ?"
    row = await tx.fetch_one(
        f"SELECT max(s.id) FROM ({some}) AS s",  # noqa: S608 - our own words
        (after_subject, limit),
    )
    if row is None or row[0] is None:
        return [], None
    rows = await tx.fetch_all(
        "SELECT u.subject_id, u.day_ms FROM"  # noqa: S608 - our own words
        f" ({some}) AS s CROSS JOIN usage_days u"
        " WHERE u.generation = ? AND u.subject_id = s.id AND u.day_ms >= ?"
        " AND u.day_ms < ? AND u.totals <> '{}' GROUP BY u.subject_id, u.day_ms"
        " HAVING count(*) BETWEEN ? AND ? ORDER BY u.subject_id, u.day_ms",
        (after_subject, limit, generation, start, end, groups_min, groups_max),
    )
    return [Day(*day) for day in rows], int(row[0])


async def pack_day(
    tx: Tx, generation: int, day: Day, aggregations: Mapping[str, Aggregation]
) -> int:
    """Put the rows of a day into its pack, with what it says already; return the rows.

    Rows in which nothing is stay: some are of values that are counted one by one.
    """
    rows = await tx.fetch_all(
        "SELECT group_id, totals FROM usage_days WHERE generation = ?"
        " AND subject_id = ? AND day_ms = ? AND totals <> '{}'",
        (generation, *day),
    )
    if not rows:
        return 0
    whole = (await _packs_of(tx, generation, [day])).get(day, {})
    for group_id, totals in rows:
        known = whole.setdefault(group_id, {})
        merge(known, more=_totals.decode(totals), aggregations=aggregations)
    await _put(tx, generation, day, whole)
    await tx.execute(
        "DELETE FROM usage_days WHERE generation = ? AND subject_id = ?"
        " AND day_ms = ? AND totals <> '{}'",
        (generation, *day),
    )
    return len(rows)


async def take_out(tx: Tx, generation: int, keys: Iterable[RollupKey]) -> None:
    """Take groups out of the packs of their days: rows say all of them from now on.

    Args:
        keys: subject, day and group.
    """
    taken: dict[Day, set[int]] = defaultdict(set)
    for subject_id, day_ms, group_id in keys:
        taken[Day(subject_id, day_ms)].add(group_id)
    for day, known in (await _packs_of(tx, generation, list(taken))).items():
        if taken[day].isdisjoint(known):
            continue
        left = {i: totals for i, totals in known.items() if i not in taken[day]}
        if left:
            await _put(tx, generation, day, left)
        else:
            await tx.execute(
                "DELETE FROM packed_days WHERE generation = ? AND subject_id = ?"
                " AND day_ms = ?",
                (generation, *day),
            )


async def in_packs(
    tx: Tx, generation: int, keys: Iterable[RollupKey]
) -> set[RollupKey]:
    """Return those of some groups that are in the packs of their days.

    Args:
        keys: subject, day and group.
    """
    wanted = set(keys)
    days = sorted({Day(subject_id, day_ms) for subject_id, day_ms, _ in wanted})
    packs = await _packs_of(tx, generation, days)
    return {key for key in wanted if key[2] in packs.get(Day(*key[:2]), ())}


async def packs_between(
    tx: Tx, generation: int, *, first: Day, last: Day, limit: int
) -> list[tuple[Day, str]]:
    """Return the packs of days from one to another, both included, in their order."""
    rows = await tx.fetch_all(
        "SELECT subject_id, day_ms, body FROM packed_days WHERE generation = ?"
        " AND (subject_id, day_ms) >= (?, ?) AND (subject_id, day_ms) <= (?, ?)"
        " ORDER BY subject_id, day_ms LIMIT ?",
        (generation, *first, *last, limit),
    )
    return [(Day(subject_id, day_ms), body) for subject_id, day_ms, body in rows]


async def _packs_of(
    tx: Tx, generation: int, days: list[Day]
) -> dict[Day, dict[int, Totals]]:
    """Return what the packs of days say, by group; not of days that have none."""
    found: dict[Day, dict[int, Totals]] = {}
    step = PARAMETERS_MAX // len(Day._fields)
    for start in range(0, len(days), step):
        part = days[start : start + step]
        rows = await tx.fetch_all(
            f"WITH k (subject_id, day_ms) AS (VALUES {number_rows(2, len(part))})"  # noqa: S608 - only marks
            " SELECT p.subject_id, p.day_ms, p.body FROM k CROSS JOIN packed_days p"
            " WHERE p.generation = ? AND p.subject_id = k.subject_id"
            " AND p.day_ms = k.day_ms",
            [*(field for day in part for field in day), generation],
        )
        for subject_id, day_ms, body in rows:
            found[Day(subject_id, day_ms)] = unpacked(body)
    return found


async def _put(tx: Tx, generation: int, day: Day, totals: Mapping[int, Totals]) -> None:
    await tx.execute(
        "INSERT INTO packed_days (generation, subject_id, day_ms, body)"
        " VALUES (?, ?, ?, ?) ON CONFLICT (generation, subject_id, day_ms)"
        " DO UPDATE SET body = excluded.body",
        (generation, *day, pack(totals)),
    )
