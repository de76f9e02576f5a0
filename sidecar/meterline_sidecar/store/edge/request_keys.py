"""SQL for what clients called their requests, which is kept for a time."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from meterline_sidecar.store.columns import Columns, marks, pieces
from meterline_sidecar.store.port import Tx


class KeyRow(NamedTuple):
    """A request that has a key of its client's, and counts."""

    key: bytes
    event_id: int
    time_ms: int


KEY: Final = Columns(KeyRow._fields)


async def read_keys(tx: Tx, keys: Sequence[bytes]) -> dict[bytes, int]:
    """Return when the requests happened that have these keys."""
    found: dict[bytes, int] = {}
    for part in pieces(keys):
        rows = await tx.fetch_all(
            f"SELECT key, time_ms FROM request_keys WHERE key IN ({marks(len(part))})",  # noqa: S608 - only marks
            part,
        )
        found.update(dict(rows))
    return found


async def put_keys(tx: Tx, rows: Iterable[KeyRow]) -> None:
    """Add keys, each in place of an older request's."""
    await tx.execute_many(
        f"INSERT INTO request_keys ({KEY.listed}) VALUES ({KEY.marks})"  # noqa: S608 - names and marks
        " ON CONFLICT (key) DO UPDATE SET event_id = excluded.event_id,"
        " time_ms = excluded.time_ms",
        rows,
    )


async def count_keys(tx: Tx) -> int:
    """Return how many keys there are."""
    row = await tx.fetch_one("SELECT count(*) FROM request_keys")
    assert row is not None
    return int(row[0])


async def forget_keys(tx: Tx, *, before_ms: int, limit: int) -> int:
    """Forget the oldest keys of requests before a time; return how many."""
    rows = await tx.fetch_all(
        "DELETE FROM request_keys WHERE key IN (SELECT key FROM request_keys"
        " WHERE time_ms < ? ORDER BY time_ms LIMIT ?) RETURNING time_ms",
        (before_ms, limit),
    )
    return len(rows)


async def oldest_key(tx: Tx) -> int | None:
    """Return when the oldest request happened whose key is there."""
    row = await tx.fetch_one("SELECT min(time_ms) FROM request_keys")
    return None if row is None else row[0]
