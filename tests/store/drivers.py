"""The drivers that every statement of the money side is run on.

A further driver is one more row of ``DRIVERS``: a function that opens an empty ledger.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Final

from meterline_sidecar.config.postgres import PostgresUrl
from meterline_sidecar.store.open import open_ledger
from meterline_sidecar.store.port import Ledger
from tests.postgres_server import shared_database

Opened = AbstractAsyncContextManager[Ledger]
EMPTY: Final = """
DO $$
DECLARE
  place TEXT;
BEGIN
  FOR place IN SELECT tablename FROM pg_tables WHERE schemaname = 'public'
    AND tablename NOT IN ('writer', 'lease', 'producer_sums')
  LOOP
    EXECUTE format('DELETE FROM %I', place);
  END LOOP;
END
$$
"""
INDEXES: Final = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'public'"


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncGenerator[Ledger]:
    ledger = await open_ledger(folder / "meterline.db")
    try:
        yield ledger
    finally:
        await ledger.close()


@asynccontextmanager
async def postgres(version: int) -> AsyncGenerator[Ledger]:
    """Open a ledger on a server, and empty it behind the test.

    A new database for each takes 50 times as long.
    """
    ledger = await open_ledger(_url(version))
    async with ledger.reading() as tx:
        before = await tx.fetch_one(INDEXES)
    try:
        yield ledger
    finally:
        async with ledger.transaction() as tx:
            await tx.execute(EMPTY)
            after = await tx.fetch_one(INDEXES)
        await ledger.close()
        if after != before:
            _url.cache_clear()  # a test took one away


NEWER: Final = "postgres-18"
ON_NEWER: Final = {"test_documents", "test_outbox", "test_told", "test_usage"}
"""What the newer server is tried with: the statements that planners disagree about."""
DRIVERS: Final[dict[str, Callable[[Path], Opened]]] = {
    "sqlite": sqlite,
    "postgres-15": lambda _folder: postgres(15),
    "postgres-18": lambda _folder: postgres(18),
}


@cache
def _url(version: int) -> PostgresUrl:
    return shared_database(version)


def place_of(driver: str, folder: Path) -> str:
    """Return where such a driver's ledger is, for another process to open."""
    if driver == "sqlite":
        return str(folder / "meterline.db")
    return _url(int(driver.rpartition("-")[2])).url


def drivers_for(module: str) -> list[str]:
    """Return the drivers that a module of tests is run on."""
    return [name for name in DRIVERS if name != NEWER or module in ON_NEWER]
