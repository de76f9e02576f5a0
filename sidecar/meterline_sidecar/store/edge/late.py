"""SQL for usage that came when its period was final, and waits for a person."""

from typing import Final, Literal, NamedTuple

from meterline_sidecar.store.dialects import either
from meterline_sidecar.store.edge.corrections import STORED as CORRECTION
from meterline_sidecar.store.edge.corrections import CorrectionRow
from meterline_sidecar.store.port import Tx

State = Literal["waiting", "accepted", "rejected"]


class LateRow(NamedTuple):
    """Late usage that is or was held back, and what was decided about it."""

    correction: CorrectionRow
    """By which its events do not count; the one that takes it back accepts it."""
    rejected_ms: int | None
    author: str | None
    reason: str | None
    """Of the rejection, or of accepting it."""

    @property
    def state(self) -> State:
        """What became of it; it can be accepted after it was rejected."""
        if self.correction.reverted_by is not None:
            return "accepted"
        return "waiting" if self.rejected_ms is None else "rejected"


_SELECT: Final = (
    f"SELECT {', '.join(f'c.{name}' for name in CORRECTION.names)}, r.id,"  # noqa: S608 - names
    " l.rejected_ms, coalesce(r.author, l.author), coalesce(r.reason, l.reason)"
    " FROM corrections c LEFT JOIN corrections r ON r.reverts = c.id"
    " LEFT JOIN late_rejections l ON l.correction_id = c.id WHERE c.kind = 'late'"
)
_IS_THEIRS: Final = either(
    sqlite=" AND c.query ->> '$.customer' = ?",
    postgres=" AND as_json(c.query) ->> 'customer' = ?",
)


async def late_before(
    tx: Tx, correction_id: int, *, limit: int, customer: str | None = None
) -> list[LateRow]:
    """Return late usage before a correction, the newest first.

    Args:
        customer: only theirs.
    """
    theirs, of_whom = ("", ()) if customer is None else (_IS_THEIRS, (customer,))
    rows = await tx.fetch_all(
        f"{_SELECT} AND c.id < ?{theirs} ORDER BY c.id DESC LIMIT ?",
        (correction_id, *of_whom, limit),
    )
    return [LateRow(CorrectionRow(*row[:-3]), *row[-3:]) for row in rows]


async def get_late(tx: Tx, correction_id: int) -> LateRow | None:
    """Return late usage; ``None``: there is none of that id."""
    row = await tx.fetch_one(f"{_SELECT} AND c.id = ?", (correction_id,))
    return None if row is None else LateRow(CorrectionRow(*row[:-3]), *row[-3:])


async def n_waiting(tx: Tx) -> int:
    """Return how many late events nobody has decided about."""
    row = await tx.fetch_one(
        "SELECT coalesce(sum(c.events), 0) FROM corrections c WHERE c.kind = 'late'"
        " AND NOT EXISTS (SELECT 1 FROM corrections r WHERE r.reverts = c.id)"
        " AND NOT EXISTS (SELECT 1 FROM late_rejections l WHERE l.correction_id = c.id)"
    )
    assert row is not None
    return int(row[0])


async def add_rejection(
    tx: Tx, correction_id: int, *, rejected_ms: int, author: str, reason: str
) -> int:
    """Note that late usage is not to be billed, and return the row's id."""
    row = await tx.fetch_one(
        "INSERT INTO late_rejections (correction_id, rejected_ms, author, reason)"
        " VALUES (?, ?, ?, ?) RETURNING id",
        (correction_id, rejected_ms, author, reason),
    )
    assert row is not None
    return int(row[0])


async def has_come_since(tx: Tx, event_id: int) -> bool:
    """Say whether usage of what is final changed with events behind one."""
    row = await tx.fetch_one(
        "SELECT 1 FROM late_usage WHERE last_event_id > ? LIMIT 1", (event_id,)
    )
    return row is not None
