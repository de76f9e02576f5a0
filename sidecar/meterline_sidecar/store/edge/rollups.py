"""SQL that writes usage at a coarser grain: what many windows add up to."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from meterline_sidecar.meters import Totals
from meterline_sidecar.store.columns import number_rows
from meterline_sidecar.store.dialects import either
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.rollups import ALL, DAYS, WINDOWS, Rollup, RollupKey

PARAMETERS_MAX: Final = 750  # in one query; SQLite takes 32,766

_totals: Final = msgspec.json.Decoder(Totals)


def _found(rollup: Rollup) -> str:
    """Return what finds the totals under each of ``k``, by their keys.

    Both are told to look each up. Of some 100 keys SQLite believes that reading all of a
    table costs less, and PostgreSQL of a few hundred.
    """
    names = rollup.columns
    found = ", ".join(f"u.{name}" for name in names)
    joined = " AND ".join(f"u.{name} = k.{name}" for name in names)
    where = f"u.generation = ? AND {joined}"
    return either(
        sqlite=f"SELECT {found}, u.totals FROM k CROSS JOIN {rollup.table} u WHERE {where}",  # noqa: S608 - our own names
        postgres=f"SELECT {found}, u.totals FROM k CROSS JOIN LATERAL"  # noqa: S608 - our own names
        f" (SELECT {found}, u.totals FROM {rollup.table} u WHERE {where} LIMIT 1) AS u",
    )


_FOUND: Final = {rollup: _found(rollup) for rollup in (WINDOWS, DAYS, ALL)}


async def totals_of(
    tx: Tx, rollup: Rollup, generation: int, keys: Sequence[RollupKey]
) -> dict[RollupKey, Totals]:
    """Return what is stored under these keys."""
    names = rollup.columns
    width = len(names)
    found: dict[RollupKey, Totals] = {}
    step = PARAMETERS_MAX // width
    for start in range(0, len(keys), step):
        part = keys[start : start + step]
        rows = await tx.fetch_all(
            f"WITH k ({', '.join(names)}) AS (VALUES {number_rows(width, len(part))})"
            f" {_FOUND[rollup]}",
            [*(field for key in part for field in key), generation],
        )
        found.update((tuple(key), _totals.decode(totals)) for *key, totals in rows)
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


async def drop(tx: Tx, rollup: Rollup, generation: int, *, limit: int) -> int:
    """Delete rows of a generation, a bounded piece; return how many."""
    names = ", ".join(("generation", *rollup.columns))
    return await tx.execute(
        f"DELETE FROM {rollup.table} WHERE ({names}) IN"  # noqa: S608 - our own names
        f" (SELECT {names} FROM {rollup.table} WHERE generation = ? LIMIT ?)",
        (generation, limit),
    )
