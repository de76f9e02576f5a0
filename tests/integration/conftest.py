"""The sidecar's parts, joined as the daemon joins them, on a file in tmp_path."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.commit import Committer
from meterline_sidecar.ingest.receiver import Receiver
from meterline_sidecar.ingest.whose import Whose
from meterline_sidecar.ledger.chain import ChainFiles, ledger_number
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from tests.clock import FakeClock
from tests.outbox_rows import Shop


@dataclass
class Sidecar:
    """What a test may look at."""

    database: SqliteDatabase
    ingest: Ingest
    receiver: Receiver
    clock: FakeClock
    socket: Path
    whose: Whose


@pytest.fixture
async def sidecar(
    tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncGenerator[Sidecar]:
    """Return the parts; a parameter is how long a commit waits for company."""
    async with sidecar_at(tmp_path, getattr(request, "param", 0)) as opened:
        yield opened


@asynccontextmanager
async def sidecar_at(
    folder: Path, company_s: float = 0, *, packed_from: int | None = None
) -> AsyncGenerator[Sidecar]:
    """Open the parts in a folder."""
    clock = FakeClock()
    database = await SqliteDatabase.open(folder / "meterline.db")
    chain = ChainFiles(database.path)
    key = chain.key(has_batches=False)
    committer = Committer(
        database,
        clock=clock,
        key=key,
        history_of=lambda subject: [
            (0, "acme" if subject.startswith("acct_") else None)
        ],
        packed_from=packed_from,
    )
    await committer.start()
    ingest = Ingest(database, committer, clock=clock, chain=chain, company_s=company_s)
    running = asyncio.create_task(ingest.run())
    socket = folder / "meterline.sock"
    whose = Whose(ledger_number(key))
    async with Receiver(
        *(ingest, socket),
        uids=(),
        on_fatal=lambda error: pytest.fail(str(error)),
        whose=whose,
    ) as receiver:
        yield Sidecar(database, ingest, receiver, clock, socket, whose)
    running.cancel()
    await ingest.drain()
    await database.close()


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncGenerator[Shop]:
    shop = await Shop.open(tmp_path / "meterline.db")
    yield shop
    await shop.close()
