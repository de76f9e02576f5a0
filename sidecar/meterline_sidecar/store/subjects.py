"""SQL for subjects: who used something, and who pays for them."""

from collections.abc import Sequence

from meterline_sidecar.store.columns import marks, pieces
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


async def names_of(tx: Tx, subject_ids: Sequence[int]) -> dict[int, str]:
    """Return the names of subjects by their ids."""
    found: dict[int, str] = {}
    for part in pieces(subject_ids):
        rows = await tx.fetch_all(
            f"SELECT id, name FROM subjects WHERE id IN ({marks(len(part))})",  # noqa: S608 - only marks
            part,
        )
        found.update(dict(rows))
    return found
