"""What SQLite keeps in memory of the file."""

from pathlib import Path
from typing import Final

from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.sqlite.driver import READERS, SqliteDatabase

TOGETHER_KIB_MAX: Final = 18 << 10
"""A sixth of what a sidecar with 10,000 customers may have: docs/scaling.md."""


async def _cache_kib(tx: Tx) -> int:
    row = await tx.fetch_one("PRAGMA cache_size")
    assert row is not None
    return -int(row[0])  # below 0 it is KiB, above pages


async def test_all_connections_together_keep_no_more_than_18_mib(
    tmp_path: Path,
) -> None:
    database = await SqliteDatabase.open(tmp_path / "meterline.db")
    async with database.transaction() as tx:
        writer = await _cache_kib(tx)
    async with database.reading() as tx:
        reader = await _cache_kib(tx)
    await database.close()

    assert 0 < writer + READERS * reader <= TOGETHER_KIB_MAX
