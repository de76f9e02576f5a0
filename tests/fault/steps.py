"""The sidecar's writing, from the empty file to the last checkpoint, step by step.

    python -m tests.fault.steps DATABASE LEDGER

Migrates, commits groups of events as they would arrive, adds them up, checkpoints,
and closes. Started again, it goes on as a sidecar and an app do after a crash: it
opens what it finds, asks where the producer stands, and sends the rest.
"""

import asyncio
import itertools
import sys
from pathlib import Path
from typing import Final

import msgspec

from meterline import wire
from meterline.events import Kind
from meterline.usage_event import UsageEvent
from meterline.wire import Batch, Bye, Hello
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.commit import Committer
from meterline_sidecar.ledger.chain import ChainFiles, Head
from meterline_sidecar.ledger.verify import alarm_at_start
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.usage.aggregate import Aggregator
from tests.agreed import keep, terms_of
from tests.clock import FakeClock
from tests.fault.load import Ledger
from tests.fault.oracle import METER
from tests.producer import NOON_MS

EVENTS: Final = 160
BATCH_EVENTS: Final = 20
AGGREGATE_EVERY: Final = 2  # batches
CHECKPOINT_EVERY: Final = 3  # batches

_encode = msgspec.msgpack.Encoder().encode


async def run(path: Path, ledger: Ledger) -> None:
    """Do every step that is not done yet.

    Raises:
        AssertionError: the ledger raises an alarm, or has forgotten what it acked.
    """
    database = await SqliteDatabase.open(path)
    try:
        await _run(database, ledger)
    finally:
        await database.close()


async def _run(database: SqliteDatabase, ledger: Ledger) -> None:
    clock = FakeClock()
    chain = ChainFiles(database.path)
    alarm = await alarm_at_start(database, chain)
    assert alarm is None, alarm
    async with database.reading() as tx:
        has_batches = (await event_store.marks(tx)).batch_id > 0
    committer = Committer(
        database,
        clock=clock,
        key=chain.key(has_batches=has_batches),
        history_of=lambda subject: [(0, None)],
    )
    await committer.start()
    ingest = Ingest(database, committer, clock=clock, chain=chain, company_s=0)
    terms = terms_of(METER)
    await keep(database, terms, key=chain.key(has_batches=has_batches))
    aggregator = Aggregator(database, terms, clock=clock)
    await aggregator.start()
    producer = await ingest.hello(hello(ledger.name))
    assert producer.row.last_seq >= ledger.done, "it has forgotten what it acked"
    committing = asyncio.create_task(ingest.run())
    for i in itertools.count(1):
        message = next_batch(producer.next_seq, ledger.name)
        if message is None:
            break
        ledger.begin(message.recorded_seq)
        ledger.finish(await ingest.accept(producer, message))
        if i % AGGREGATE_EVERY == 0:
            await aggregator.run()
        if i % CHECKPOINT_EVERY == 0:
            await checkpoint(database, chain)
    await ingest.accept(producer, Bye(EVENTS))
    committing.cancel()
    await aggregator.run()
    await checkpoint(database, chain)


async def checkpoint(database: SqliteDatabase, chain: ChainFiles) -> None:
    """Do as the daemon does: move the WAL, then write the head for good."""
    await database.checkpoint()
    async with database.reading() as tx:
        marks = await event_store.marks(tx)
    if marks.mac is not None:
        chain.write_head(Head(marks.batch_id, marks.mac), durably=True)


def hello(app: str, producer: str = "a" * 32) -> Hello:
    """Return the hello of a producer."""
    return Hello(
        version=wire.VERSION,
        producer=producer,
        app=app,
        host="localhost",
        pid=1,
        started_ms=NOON_MS,
    )


def next_batch(first_seq: int, subject: str) -> Batch | None:
    """Return the batch that begins with ``first_seq``; ``None`` behind the last."""
    last_seq = min(first_seq + BATCH_EVENTS - 1, EVENTS)
    if last_seq < first_seq:
        return None
    records = b"".join(
        wire.encode_record(seq, _encode(event(seq, subject)))
        for seq in range(first_seq, last_seq + 1)
    )
    return Batch(first_seq, last_seq, records)


def event(number: int, subject: str) -> UsageEvent:
    """Return event ``number``."""
    return UsageEvent(
        time_ms=NOON_MS,
        kind=Kind.USE,
        subject=subject,
        method=None,
        route=f"/{number // 50}",  # now and then a new name comes
        status=0,
        duration_us=0,
        bytes_in=0,
        bytes_out=0,
        quantities={"n": number},
    )


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), Ledger(Path(sys.argv[2]))))
