"""SQL for counts of usage as wholes: which are given up, and which are being corrected."""

from meterline_sidecar.store.port import Tx


async def is_being_corrected(tx: Tx, generation: int, cursor: int) -> bool:
    """Say whether a part of usage is of an event that is not counted yet."""
    row = await tx.fetch_one(
        "SELECT 1 FROM usage WHERE generation = ? AND last_event_id > ? LIMIT 1",
        (generation, cursor),
    )
    return row is not None


async def end_generation(
    tx: Tx, generation: int, *, ended_ms: int, author: str, reason: str
) -> int:
    """Note that a generation is given up, and return the row's id."""
    found = await tx.fetch_one(
        "INSERT INTO generation_ends (generation, ended_ms, author, reason)"
        " VALUES (?, ?, ?, ?) RETURNING id",
        (generation, ended_ms, author, reason),
    )
    assert found is not None
    return int(found[0])
