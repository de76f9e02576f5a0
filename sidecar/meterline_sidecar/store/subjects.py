"""SQL for subjects: who used something, and who pays for them."""

from meterline_sidecar.store.port import Tx


async def subjects_after(
    tx: Tx, subject_id: int, *, limit: int
) -> list[tuple[int, str, str | None]]:
    """Return ``(id, name, customer)`` of subjects behind an id."""
    rows = await tx.fetch_all(
        "SELECT id, name, customer FROM subjects WHERE id > ? ORDER BY id LIMIT ?",
        (subject_id, limit),
    )
    return [(row[0], row[1], row[2]) for row in rows]
