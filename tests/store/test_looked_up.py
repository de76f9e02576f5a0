"""Rows that are asked for by their keys are looked up, however many keys there are."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from meterline_sidecar.store.edge import events, external, rollups, windows
from meterline_sidecar.store.edge.usage import Key
from meterline_sidecar.store.port import Row, Tx, Value
from meterline_sidecar.store.rollups import ALL, DAYS, WINDOWS
from meterline_sidecar.store.sqlite.driver import SqliteDatabase

NUMBERS: Final = (1, 2, 80, 90, 110, 119, 250)
"""Of keys. SQLite believed of 77 to 119 that reading all of a table costs less."""


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[SqliteDatabase]:
    database = await SqliteDatabase.open(tmp_path / "meterline.db")
    yield database
    await database.close()


class Explained:
    """A transaction that notes how SQLite finds what it is asked for."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self.looks: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        plan = await self._tx.fetch_all(f"EXPLAIN QUERY PLAN {sql}", parameters)
        self.looks += [look for *_, look in plan if look.startswith(("SCAN", "SEARCH"))]
        return await self._tx.fetch_all(sql, parameters)


@pytest.mark.parametrize("n_keys", NUMBERS)
async def test_no_number_of_keys_has_a_whole_table_read(
    database: SqliteDatabase, n_keys: int
) -> None:
    keys = [Key(i, i, i) for i in range(n_keys)]
    names = [str(i) for i in range(n_keys)]

    async with database.transaction() as real:
        tx: Any = Explained(real)
        for rollup in (WINDOWS, DAYS, ALL):
            await rollups.totals_of(tx, rollup, 1, keys)
        await windows.values_of(tx, 1, keys)
        await events.subjects_of(tx, names)
        await events.intern_endpoints(tx, [(name, name) for name in names])
        await external.named(tx, [(1, name) for name in names])

    looks = [one for one in tx.looks if "CONSTANT" not in one]
    assert looks[::2] in ([*["SCAN k"] * 6, "SCAN w"], [*["SCAN k"] * 6, "SCAN wanted"])
    for one in looks[1::2]:
        assert one.startswith("SEARCH")
        assert "(generation=?)" not in one
        assert "AUTOMATIC" not in one
