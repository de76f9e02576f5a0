"""Events on their way from a frame to the disk, and from there into usage.

python -m tests.guards.ingest FOLDER
"""

import asyncio
import sys
from pathlib import Path
from typing import Final

import msgspec

from meterline import wire
from meterline.wire import Batch
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.commit import Committer
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.usage.aggregate import Aggregator
from tests.agreed import keep, terms_of
from tests.clock import FakeClock
from tests.fault.oracle import METER
from tests.fault.steps import hello
from tests.guards.window import counted
from tests.producer import event

EVENTS: Final = 1_000
BATCH_EVENTS: Final = 100
SUBJECTS: Final = 50
ROUTES: Final = 20

_encode = msgspec.msgpack.Encoder().encode


def batches(first_seq: int) -> list[Batch]:
    """Return plain events of some customers and routes, as frames bring them."""
    return [
        Batch(start, start + BATCH_EVENTS - 1, _records(start))
        for start in range(first_seq, first_seq + EVENTS, BATCH_EVENTS)
    ]


def _records(start: int) -> bytes:
    return b"".join(
        wire.encode_record(
            seq,
            _encode(
                event(
                    subject=f"acct_{seq % SUBJECTS}",
                    route=f"/v1/items/{seq % ROUTES}",
                    quantities={"n": seq % 100},
                )
            ),
        )
        for seq in range(start, start + BATCH_EVENTS)
    )


async def main(folder: Path) -> None:
    """Take events in and add them up: once to warm up, and once to be counted."""
    clock = FakeClock()
    database = await SqliteDatabase.open(folder / "meterline.db")
    chain = ChainFiles(database.path)
    key = chain.key(has_batches=False)
    committer = Committer(
        database, clock=clock, key=key, history_of=lambda subject: [(0, None)]
    )
    await committer.start()
    ingest = Ingest(database, committer, clock=clock, chain=chain, company_s=0)
    terms = terms_of(METER)
    await keep(database, terms, key=key)
    aggregator = Aggregator(database, terms, clock=clock)
    await aggregator.start()
    producer = await ingest.hello(hello("guard"))
    committing = asyncio.create_task(ingest.run())
    for frame in batches(1):  # what is new now is known then
        await ingest.accept(producer, frame)
    await aggregator.run()
    frames = batches(EVENTS + 1)
    with counted("an event to the disk"):
        for frame in frames:
            await ingest.accept(producer, frame)
    with counted("an event into usage"):
        await aggregator.run()
    committing.cancel()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
