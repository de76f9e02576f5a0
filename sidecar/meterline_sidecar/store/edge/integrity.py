"""SQL for whoever checks that the ledger is what was written to it."""

from typing import Final

import msgspec

from meterline_sidecar.meters import Totals
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.rollups import Rollup, RollupKey

_totals: Final = msgspec.json.Decoder(Totals)


async def batch_mac(tx: Tx, batch_id: int) -> bytes | None:
    """Return the mac of a batch, or ``None`` where there is no such batch."""
    row = await tx.fetch_one("SELECT mac FROM batches WHERE id = ?", (batch_id,))
    return None if row is None else row[0]


async def stray_events(tx: Tx) -> int:
    """Return how many more events there are than were committed in batches."""
    row = await tx.fetch_one(
        "SELECT (SELECT count(*) FROM events)"
        " - (SELECT coalesce(sum(events), 0) FROM batches)"
    )
    assert row is not None
    return int(row[0])


async def wrong_watermarks(tx: Tx) -> list[tuple[str, int, int]]:
    """Return ``(producer, its watermark, what its batches say)`` where they differ."""
    rows = await tx.fetch_all(
        "SELECT p.producer, p.last_seq, coalesce(max(b.last_seq), 0)"
        " FROM producers p LEFT JOIN batches b ON b.producer_id = p.id"
        " GROUP BY p.id HAVING p.last_seq <> coalesce(max(b.last_seq), 0)"
        " OR p.ingested <> coalesce(sum(b.events), 0)"
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def wrong_owners(tx: Tx) -> list[str]:
    """Return subjects whose payer does not agree with the history of their payers."""
    rows = await tx.fetch_all(
        "SELECT s.name FROM subjects s WHERE s.is_split <>"
        " EXISTS (SELECT 1 FROM owners o WHERE o.subject_id = s.id)"
        " OR s.is_split = 1 AND s.customer IS NOT (SELECT o.customer FROM owners o"
        " WHERE o.subject_id = s.id ORDER BY o.from_ms DESC LIMIT 1)"
    )
    return [row[0] for row in rows]


async def totals_after(
    tx: Tx, rollup: Rollup, generation: int, key: RollupKey, *, limit: int
) -> list[tuple[RollupKey, str, Totals]]:
    """Return totals behind a key, in order of the key: ``(key, labels, totals)``."""
    columns = ", ".join(f"u.{name}" for name in rollup.columns)
    marks = ", ".join("?" * len(rollup.columns))
    rows = await tx.fetch_all(
        f"SELECT {columns}, g.labels, u.totals"  # noqa: S608 - our own names and marks
        f" FROM {rollup.table} u JOIN groups g ON g.id = u.group_id"
        f" WHERE u.generation = ? AND ({columns}) > ({marks})"
        f" ORDER BY {columns} LIMIT ?",
        (generation, *key, limit),
    )
    return [
        (tuple(key), labels, _totals.decode(totals)) for *key, labels, totals in rows
    ]


async def unique_counts(
    tx: Tx, generation: int
) -> dict[tuple[int, int, str, str], int]:
    """Return distinct values by ``(subject, window, labels, meter)``."""
    rows = await tx.fetch_all(
        "SELECT v.subject_id, v.window_ms, g.labels, v.meter, count(*)"
        " FROM unique_values v JOIN groups g ON g.id = v.group_id"
        " WHERE v.generation = ? GROUP BY 1, 2, 3, 4",
        (generation,),
    )
    return {(row[0], row[1], row[2], row[3]): row[4] for row in rows}
