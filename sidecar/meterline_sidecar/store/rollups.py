"""SQL for usage at a coarser grain: what many windows add up to."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from meterline_sidecar.clock import DAY_MS, HOUR_MS, MINUTE_MS
from meterline_sidecar.meters import Totals
from meterline_sidecar.store.port import Tx

PARAMETERS_MAX: Final = 750  # in one query; SQLite takes 32,766

RollupKey = tuple[int, ...]

STEPS_MS: Final = (15 * MINUTE_MS, HOUR_MS, DAY_MS)
"""The spans over which everybody's usage is added up."""

_totals: Final = msgspec.json.Decoder(Totals)


class Rollup(NamedTuple):
    """A table of totals by generation and some more columns."""

    table: str
    columns: tuple[str, ...]


WINDOWS: Final = Rollup("usage", ("subject_id", "window_ms", "group_id"))
DAYS: Final = Rollup("usage_days", ("subject_id", "day_ms", "group_id"))
ALL: Final = Rollup("usage_totals", ("step_ms", "start_ms", "group_id"))


async def totals_of(
    tx: Tx, rollup: Rollup, generation: int, keys: Sequence[RollupKey]
) -> dict[RollupKey, Totals]:
    """Return what is stored under these keys."""
    names = rollup.columns
    width = len(names)
    one = f"({', '.join('?' * width)})"
    joined = " AND ".join(f"u.{name} = k.{name}" for name in names)
    found: dict[RollupKey, Totals] = {}
    step = PARAMETERS_MAX // width
    for start in range(0, len(keys), step):
        part = keys[start : start + step]
        rows = await tx.fetch_all(
            f"WITH k ({', '.join(names)}) AS (VALUES {', '.join([one] * len(part))})"  # noqa: S608 - our own names and marks
            f" SELECT {', '.join(f'u.{name}' for name in names)}, u.totals FROM k"
            f" JOIN {rollup.table} u ON u.generation = ? AND {joined}",
            [*(field for key in part for field in key), generation],
        )
        found.update((tuple(row[:width]), _totals.decode(row[width])) for row in rows)
    return found


async def put_totals(
    tx: Tx,
    rollup: Rollup,
    generation: int,
    rows: Iterable[tuple[RollupKey, Totals]],
) -> None:
    """Store totals under their keys, best in order of the key."""
    names = ("generation", *rollup.columns)
    await tx.execute_many(
        f"INSERT INTO {rollup.table} ({', '.join(names)}, totals)"  # noqa: S608 - our own names
        f" VALUES ({', '.join('?' * len(names))}, ?)"
        f" ON CONFLICT ({', '.join(names)}) DO UPDATE SET totals = excluded.totals",
        (
            (generation, *key, msgspec.json.encode(totals).decode())
            for key, totals in rows
        ),
    )


async def drop_older(tx: Tx, rollup: Rollup, generation: int, *, limit: int) -> int:
    """Delete rows of earlier generations, a bounded piece; return how many."""
    names = ", ".join(("generation", *rollup.columns))
    return await tx.execute(
        f"DELETE FROM {rollup.table} WHERE ({names}) IN"  # noqa: S608 - our own names
        f" (SELECT {names} FROM {rollup.table} WHERE generation < ? LIMIT ?)",
        (generation, limit),
    )


async def read_all(
    tx: Tx, generation: int, *, step_ms: int, start: int, end: int
) -> list[tuple[int, str, Totals]]:
    """Return ``(start_ms, labels, totals)`` of everybody in ``[start, end)``.

    Args:
        step_ms: how long each span is: one of ``STEPS_MS``.
    """
    rows = await tx.fetch_all(
        "SELECT u.start_ms, g.labels, u.totals FROM usage_totals u"
        " JOIN groups g ON g.id = u.group_id"
        " WHERE u.generation = ? AND u.step_ms = ?"
        " AND u.start_ms >= ? AND u.start_ms < ? ORDER BY u.start_ms",
        (generation, step_ms, start, end),
    )
    return [(at_ms, labels, _totals.decode(totals)) for at_ms, labels, totals in rows]
