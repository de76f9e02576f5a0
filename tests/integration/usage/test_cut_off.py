"""Work that is cancelled in its middle, in a process that goes on: SIGTERM does that."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.commit import Committer
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.verify import check_head
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.usage.aggregate import Aggregator
from tests.agreed import keep, terms_of
from tests.clock import FakeClock
from tests.fault import steps
from tests.fault.oracle import METER, read_ledger, verify_ledger
from tests.fault.sim_database import Killed, SimDatabase


class Parts:
    """Ingest and aggregation on a database whose every step can be the last."""

    def __init__(self, path: Path) -> None:
        self.database = SimDatabase(path, lambda: None)
        self.chain = ChainFiles(path)
        self.clock = FakeClock()

    async def open(self) -> None:
        database = await self.database.bring_up_to_date()
        committer = Committer(
            database,
            clock=self.clock,
            key=self.chain.key(has_batches=False),
            history_of=lambda subject: [(0, None)],
        )
        await committer.start()
        self.ingest = Ingest(
            database, committer, clock=self.clock, chain=self.chain, company_s=0
        )
        terms = terms_of(METER)
        await keep(database, terms, key=self.chain.key(has_batches=False))
        self.aggregator = Aggregator(database, terms, clock=self.clock)
        await self.aggregator.start()

    async def send(self, app: str, producer: str) -> None:
        """Let an app send its next batch, and commit that."""
        who = steps.hello(app, producer)
        state = await self.ingest.hello(who)
        batch = steps.next_batch(state.next_seq, app)
        assert batch is not None
        done = self.ingest.accept(state, batch)
        await self.ingest.drain()
        await done


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncGenerator[Parts]:
    parts = Parts(tmp_path / "meterline.db")
    await parts.open()
    yield parts
    await parts.database.close()


async def test_aggregation_that_is_cut_off_anywhere_counts_once(parts: Parts) -> None:
    for n_steps in range(1, 60):
        await parts.send(f"app-{n_steps}", f"{n_steps:032x}")
        parts.database.steps_left = n_steps
        with contextlib.suppress(Killed):
            await parts.aggregator.run()
        parts.database.steps_left = None

        await parts.aggregator.run()

        read_ledger(parts.database.path)  # compares the sums with the events


async def test_a_commit_that_is_cut_off_anywhere_is_there_once_or_not_at_all(
    parts: Parts,
) -> None:
    for n_steps in range(1, 25):
        parts.database.steps_left = n_steps
        with contextlib.suppress(Killed):
            await parts.send(f"cut-{n_steps}", f"{n_steps:032x}")
        parts.database.steps_left = None
        async with parts.database.reading() as tx:
            assert await check_head(tx, parts.chain.head()) is None

        await parts.send(f"next-{n_steps}", f"{n_steps + 100:032x}")

    await parts.aggregator.run()
    found = read_ledger(parts.database.path)
    for app, numbers in found.numbers.items():
        assert numbers == list(range(1, steps.BATCH_EVENTS + 1)), app
    assert len(found.numbers) > 24
    report = await asyncio.to_thread(verify_ledger, parts.database.path)
    assert report.is_sound, report.findings


async def test_a_cancelled_transaction_leaves_the_connections_usable(
    tmp_path: Path,
) -> None:
    database = await SqliteDatabase.open(tmp_path / "meterline.db")

    async def write() -> None:
        async with database.transaction() as tx:
            await tx.fetch_one("SELECT 1")

    async def read() -> None:
        async with database.reading() as tx:
            await tx.fetch_one("SELECT 1")

    for i in range(60):
        for work in (write, read):
            task = asyncio.create_task(work())
            await asyncio.wait([task], timeout=i * 0.0001)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await work()
    await database.close()
