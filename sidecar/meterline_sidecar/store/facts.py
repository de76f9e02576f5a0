"""SQL for small facts about this ledger, by name."""

from meterline_sidecar.store.port import Tx


async def get_fact(tx: Tx, name: str) -> str | None:
    """Return a small fact about this ledger."""
    row = await tx.fetch_one("SELECT value FROM facts WHERE name = ?", (name,))
    return None if row is None else row[0]


async def facts_from(tx: Tx, prefix: str) -> dict[str, str]:
    """Return the small facts whose names begin with a text, by their names."""
    rows = await tx.fetch_all(
        "SELECT name, value FROM facts WHERE name >= ? AND name < ? ORDER BY name",
        (prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)),
    )
    return dict(rows)


async def put_fact(tx: Tx, name: str, value: str) -> None:
    """Set a small fact about this ledger."""
    await tx.execute(
        "INSERT INTO facts (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


async def drop_fact(tx: Tx, name: str) -> None:
    """Forget a small fact about this ledger."""
    await tx.execute("DELETE FROM facts WHERE name = ?", (name,))
