from pathlib import Path
from typing import Final

import meterline_sidecar.store
from meterline_sidecar.store import outbox, reconciliation, seals, stripe_events
from meterline_sidecar.store.port import Database
from meterline_sidecar.store.stripe_events import StripeEvent
from tests.store.rows import HOUR, add_rows, end_in, new_row
from tests.store.test_told import COMPARISON

STORE: Final = Path(meterline_sidecar.store.__path__[0])
OUTBOX, CURSOR, RECONCILIATIONS, CALLS, EVENTS = seals.SEALED


async def seal_all(database: Database) -> None:
    """Give every row that has no seal one."""
    async with database.transaction() as tx:
        for of in seals.SEALED:
            rows = await seals.unsealed(tx, of, limit=100)
            await seals.put_seals(tx, of, [(b"sealed", row.key) for row in rows])


async def unsealed(database: Database) -> list[tuple[str, object]]:
    async with database.reading() as tx:
        return [
            (of.table, row.key)
            for of in seals.SEALED
            for row in await seals.unsealed(tx, of, limit=100)
        ]


async def test_a_row_that_is_new_or_changed_has_no_seal(database: Database) -> None:
    first, second = await add_rows(database, new_row(0), new_row(1))
    assert sorted(await unsealed(database)) == [
        ("outbox", (first,)),
        ("outbox", (second,)),
        ("outbox_cursor", (1,)),
    ]
    await seal_all(database)
    assert sorted(await unsealed(database)) == []

    await end_in(database, "confirmed", second)

    assert sorted(await unsealed(database)) == [
        ("outbox", (second,)),
        ("outbox_cursor", (1,)),
    ]


async def test_rows_of_every_table_are_read_with_their_seals(
    database: Database,
) -> None:
    await add_rows(database, new_row(0), new_row(1))
    async with database.transaction() as tx:
        assert not await seals.has_seals(tx)
        await reconciliation.save(tx, COMPARISON)
        await stripe_events.store(tx, StripeEvent("evt_1", "t", "{}"), now_ms=HOUR)
    await seal_all(database)

    async with database.reading() as tx:
        assert await seals.has_seals(tx)
        found = {
            of.table: await seals.sealed_after(tx, of, None, limit=9)
            for of in seals.SEALED
        }
        behind = await seals.sealed_after(tx, OUTBOX, (1,), limit=9)

    assert [row.key for row in found["outbox"]] == [(1,), (2,)]
    assert [row.key for row in behind] == [(2,)]
    assert found["stripe_events"][0].covered[:2] == ("evt_1", "t")
    assert all(row.seal == b"sealed" for rows in found.values() for row in rows)


async def test_the_outbox_says_how_many_rows_it_has(database: Database) -> None:
    async with database.reading() as tx:
        assert await seals.outbox_numbers(tx) == (0, 0, None)
    await add_rows(database, new_row(0), new_row(1))

    async with database.transaction() as tx:
        await tx.execute("DELETE FROM outbox WHERE id = 1")
        assert await seals.outbox_numbers(tx) == (1, 2, 2)


def test_every_statement_that_changes_a_sealed_row_takes_its_seal_off() -> None:
    tables = [of.table for of in seals.SEALED]
    statements = [
        line
        for path in STORE.glob("*.py")
        for line in path.read_text().splitlines()
        if any(f'"UPDATE {table} SET ' in line for table in tables)
    ]

    assert len(statements) > 20
    assert [line for line in statements if "SET seal = NULL, " not in line] == []
    assert outbox.ALL.names == OUTBOX.covered.names
    assert "seal = NULL" in (STORE / "reconciliation.py").read_text()
    assert CURSOR.key.names == EVENTS.key.names == ("id",)
    assert RECONCILIATIONS.covered.names == reconciliation.ALL.names
