"""A disk that is too slow slows the socket: memory stays bounded, nothing is lost."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from meterline.wire import Ack, encode_frame
from meterline_sidecar.ingest import accept as module
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.commit import Committer
from meterline_sidecar.ingest.receiver import Receiver
from meterline_sidecar.ingest.whose import Whose
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from tests.clock import FakeClock
from tests.producer import Connection, batch, event

BATCH_EVENTS = 500
BATCHES = 200  # 5 MB: more than every buffer on the way together


@asynccontextmanager
async def receiving(tmp_path: Path) -> AsyncGenerator[tuple[Ingest, Receiver]]:
    """Receive, and commit nothing yet."""
    clock = FakeClock()
    database = await SqliteDatabase.open(tmp_path / "meterline.db")
    chain = ChainFiles(database.path)
    committer = Committer(
        database,
        clock=clock,
        key=chain.key(has_batches=False),
        history_of=lambda _subject: [(0, None)],
    )
    await committer.start()
    ingest = Ingest(database, committer, clock=clock, chain=chain, company_s=0)
    async with Receiver(
        *(ingest, tmp_path / "socket"),
        uids=(),
        on_fatal=lambda _error: None,
        whose=Whose(1),
    ) as receiver:
        yield ingest, receiver
    await database.close()


async def test_a_sender_waits_for_a_slow_disk_and_gets_every_ack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PENDING_ROWS_MAX", 4 * BATCH_EVENTS)
    async with (
        receiving(tmp_path) as (ingest, receiver),
        Connection(receiver.path) as app,
    ):
        await app.hello()
        frames = [
            encode_frame(
                batch(*[event()] * BATCH_EVENTS, first_seq=1 + BATCH_EVENTS * i)
            )
            for i in range(BATCHES)
        ]
        sending = asyncio.create_task(app.send_bytes(b"".join(frames)))

        # Nothing is committed yet: the sidecar takes what it has room for, no more.
        while ingest.has_room:
            await asyncio.sleep(0)
        before = ingest.pending_rows
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert ingest.pending_rows == before == 4 * BATCH_EVENTS
        assert not sending.done()

        committing = asyncio.create_task(ingest.run())
        for i in range(1, BATCHES + 1):
            assert await app.receive() == Ack(BATCH_EVENTS * i)
        await sending
        committing.cancel()


@pytest.mark.parametrize(
    ("limit", "value", "record"),
    [
        ("PENDING_ROWS_MAX", 1_000, b"\x01"),  # refused: a loss
        ("PENDING_ROWS_MAX", 1_000, event()),
        ("PENDING_BYTES_MAX", 100_000, event(route="/" + "x" * 500)),
    ],
    ids=["losses", "events", "bytes"],
)
async def test_many_senders_together_get_no_more_room_than_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: int,
    record: object,
) -> None:
    """Each of them may have read a frame while there was room for one."""
    monkeypatch.setattr(module, limit, value)
    frame = batch(*[record] * 300)
    async with AsyncExitStack() as stack:
        ingest, receiver = await stack.enter_async_context(receiving(tmp_path))
        apps = [
            await stack.enter_async_context(Connection(receiver.path))
            for _ in range(20)
        ]
        for i, app in enumerate(apps):
            await app.hello(f"{i:032x}")
        for app in apps:
            await app.send(frame)
        while ingest.has_room:
            await asyncio.sleep(0)
        for _ in range(1_000):
            await asyncio.sleep(0)

        rows_max = value if limit == "PENDING_ROWS_MAX" else 300 * 20
        assert ingest.pending_rows < rows_max + 300
        assert ingest.pending_rows < 300 * 20

        committing = asyncio.create_task(ingest.run())
        acks = [await app.receive() for app in apps]
        committing.cancel()
    assert acks == [Ack(300)] * 20


async def test_a_stop_in_the_middle_of_a_commit_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    is_writing = asyncio.Event()

    async def write(*_arguments: object, **_more: object) -> None:
        is_writing.set()
        await asyncio.Event().wait()

    async with (
        receiving(tmp_path) as (ingest, receiver),
        Connection(receiver.path) as app,
    ):
        await app.hello()
        monkeypatch.setattr("meterline_sidecar.store.edge.events.add_batch", write)
        await app.send(batch(event()))
        committing = asyncio.create_task(ingest.run())
        await is_writing.wait()

        committing.cancel()
        await asyncio.wait([committing])

        assert ingest.storing.trouble is None
        assert caplog.records == []
