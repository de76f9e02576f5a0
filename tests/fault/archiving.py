"""Moves a ledger's events out and back: ``python -m`` with its place, and how often."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from meterline_sidecar.ledger.archive import Archive, Judge
from meterline_sidecar.ledger.archived import LINES, Archived
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.ledger.shelf import DirectoryShelf
from meterline_sidecar.store.edge import archive as store
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from tests.clock import FakeClock


async def judging(tx: Tx) -> Judge:
    return lambda subject, time_ms: None


async def main(path: Path, folder: Path, now_ms: int, times: int) -> None:
    """Go on where the last one was killed; 0 times: until this one is."""
    # One thread makes every call on a file, so that each has the same number every time.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    database = await SqliteDatabase.open(path)
    key = ChainFiles(path).key(has_batches=True)
    archive = Archive(
        database,
        Archived(DirectoryShelf(folder), key),
        Journal(key),
        form=LINES,
        clock=FakeClock(now_ms),
        before=lambda: now_ms,
        judging=judging,
    )
    print("ready", flush=True)  # noqa: T201 - whoever kills it waits for this
    for _ in range(times) if times else count():
        while (await archive.step(by_hand=True)).moved is not None:
            pass
        async with database.reading() as tx:
            oldest = (await store.files(tx))[0].file
        while (await archive.bring_back(oldest)).file != oldest:
            pass
    await database.close()


if __name__ == "__main__":
    numbers = map(int, sys.argv[3:])
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), *numbers))
