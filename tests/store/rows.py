"""Rows for the tests of the store."""

from collections.abc import Sequence

import msgspec

from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.meters import Totals
from meterline_sidecar.store import outbox
from meterline_sidecar.store.outbox import NewRow, OutboxRow, State
from meterline_sidecar.store.outbox_sending import Settlement, mark_sending, settle
from meterline_sidecar.store.port import Database, Tx

DAY = 20_000 * DAY_MS  # a midnight
HOUR = DAY + 12 * HOUR_MS


def new_row(number: int = 0, **changes: object) -> NewRow:
    """Return an outbox row of an hour and a customer; each number is another part."""
    row = NewRow(
        customer="acme",
        stripe_customer="cus_acme",
        meter="calls",
        event_name="api_calls",
        mode="delta",
        hour_ms=HOUR,
        part=number,
        value=10 + number,
        identifier=f"id-{number}",
        created_ms=HOUR + number,
    )
    return msgspec.structs.replace(row, **changes)


async def add_rows(database: Database, *rows: NewRow) -> list[int]:
    """Start the outbox, add rows, and return their ids."""
    async with database.transaction() as tx:
        await outbox.start(tx, "install")
        return [await outbox.add(tx, row) for row in rows]


async def row_of(database: Database, row_id: int) -> OutboxRow:
    async with database.reading() as tx:
        row = await outbox.get(tx, row_id)
    assert row is not None
    return row


async def states(database: Database) -> list[State]:
    """Return the state of every row, in order of their ids."""
    async with database.reading() as tx:
        return [row.state for row in await outbox.page(tx)]


async def send(
    database: Database, *row_ids: int, now_ms: int = HOUR, batch_key: str | None = None
) -> set[int]:
    """Mark rows as being sent."""
    rows = [await row_of(database, row_id) for row_id in row_ids]
    async with database.transaction() as tx:
        return await mark_sending(tx, rows, now_ms=now_ms, batch_key=batch_key)


async def end_in(database: Database, state: State, *row_ids: int) -> None:
    """Send rows and let all of them end in a state."""
    await send(database, *row_ids)
    async with database.transaction() as tx:
        await settle(
            tx, [Settlement(row_id, state, settled_ms=HOUR + 1) for row_id in row_ids]
        )


async def add_subjects(tx: Tx, rows: Sequence[tuple[int, str, str | None]]) -> None:
    """Add subjects: ``(id, name, customer)``."""
    await tx.execute_many(
        "INSERT INTO subjects (id, name, customer) VALUES (?, ?, ?)", rows
    )


async def add_group(tx: Tx, group_id: int, labels: str) -> None:
    await tx.execute(
        "INSERT INTO groups (id, labels) VALUES (?, ?)", (group_id, labels)
    )


async def add_generation(
    tx: Tx, generation: int, *, cursor: int, is_complete: bool = True
) -> None:
    await tx.execute(
        "INSERT INTO generations (id, definition, cursor, is_complete)"
        " VALUES (?, ?, ?, ?)",
        (generation, "{}", cursor, int(is_complete)),
    )


async def add_window(
    tx: Tx,
    subject_id: int,
    window_ms: int,
    totals: Totals,
    *,
    generation: int = 1,
    group_id: int = 1,
    last_event_id: int = 1,
) -> None:
    """Add usage of a window alone, as if its day were not added up."""
    await tx.execute(
        "INSERT INTO usage (generation, subject_id, window_ms, group_id, totals,"
        " last_event_id) VALUES (?, ?, ?, ?, ?, ?)",
        (
            generation,
            subject_id,
            window_ms,
            group_id,
            msgspec.json.encode(totals).decode(),
            last_event_id,
        ),
    )


async def add_day(
    tx: Tx, subject_id: int, day_ms: int, totals: Totals, *, generation: int = 1
) -> None:
    """Add usage of a day alone, without its windows."""
    await tx.execute(
        "INSERT INTO usage_days (generation, subject_id, day_ms, group_id, totals)"
        " VALUES (?, ?, ?, 1, ?)",
        (generation, subject_id, day_ms, msgspec.json.encode(totals).decode()),
    )
