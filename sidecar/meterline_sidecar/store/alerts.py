"""SQL for alerts: raised once each, and told to a webhook from here."""

from typing import Final, Literal, NamedTuple

from meterline_sidecar.store.columns import Columns
from meterline_sidecar.store.port import Tx

State = Literal["pending", "delivered", "failed", "shown"]


class AlertRow(NamedTuple):
    """An alert, and what became of telling it."""

    id: int
    rule: str
    customer: str
    since_ms: int
    level: int
    kind: str
    message: str
    body: str
    raised_ms: int
    state: State
    attempts: int
    next_ms: int
    delivered_ms: int | None
    error: str | None


ALL: Final = Columns(AlertRow._fields)
NEW: Final = ALL.without("id", "attempts", "next_ms", "delivered_ms", "error")
SELECT: Final = f"SELECT {ALL.listed} FROM alerts"  # noqa: S608 - names


async def raise_once(tx: Tx, row: AlertRow) -> bool:
    """Add an alert; return whether it is new.

    ``row.id`` is ignored, and so is what only telling it changes.
    """
    changed = await tx.execute(
        f"INSERT INTO alerts ({NEW.listed}) VALUES ({NEW.marks})"  # noqa: S608 - names and marks
        " ON CONFLICT (rule, customer, since_ms, level) DO NOTHING",
        NEW.of(row),
    )
    return changed > 0


async def known_levels(tx: Tx, rule: str, customer: str, since_ms: int) -> set[int]:
    """Return the levels that were raised already."""
    rows = await tx.fetch_all(
        "SELECT level FROM alerts WHERE rule = ? AND customer = ? AND since_ms = ?",
        (rule, customer, since_ms),
    )
    return {row[0] for row in rows}


async def due(tx: Tx, *, now_ms: int, limit: int) -> list[AlertRow]:
    """Return alerts that are to be told now, the oldest first."""
    rows = await tx.fetch_all(
        f"{SELECT} WHERE state = 'pending' AND next_ms <= ? ORDER BY id LIMIT ?",
        (now_ms, limit),
    )
    return [AlertRow(*row) for row in rows]


async def settle(
    tx: Tx,
    alert_id: int,
    *,
    state: State,
    next_ms: int,
    delivered_ms: int | None,
    error: str | None,
) -> None:
    """Note how an attempt to tell went."""
    await tx.execute(
        "UPDATE alerts SET state = ?, attempts = attempts + 1, next_ms = ?,"
        " delivered_ms = ?, error = ? WHERE id = ?",
        (state, next_ms, delivered_ms, error, alert_id),
    )


async def newest(tx: Tx, *, before: int, limit: int) -> list[AlertRow]:
    """Return alerts with ids below ``before``, the newest first."""
    rows = await tx.fetch_all(
        f"{SELECT} WHERE id < ? ORDER BY id DESC LIMIT ?", (before, limit)
    )
    return [AlertRow(*row) for row in rows]


async def waiting(tx: Tx) -> tuple[int, int]:
    """Return how many alerts are still to be told, and how many never will be."""
    row = await tx.fetch_one(
        "SELECT count(*) FILTER (WHERE state = 'pending'),"
        " count(*) FILTER (WHERE state = 'failed') FROM alerts"
    )
    assert row is not None
    return row[0], row[1]
