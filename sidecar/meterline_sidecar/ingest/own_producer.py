"""Producers of the ledger's own: what they store was not sent by any worker."""

import secrets
from typing import Final

from meterline.wire import VERSION, Hello
from meterline_sidecar.ingest.producer_row import new_row
from meterline_sidecar.store import facts
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge.events import ProducerRow
from meterline_sidecar.store.port import Tx

OWN_PID: Final = 0
"""No process has it: what such a producer stores was recorded by others."""


async def own_row(tx: Tx, fact: str | None, *, app: str, now_ms: int) -> ProducerRow:
    """Return a producer of the ledger's own as it stands; the first time it is made.

    Args:
        fact: the name of the fact that says which producer it is; without one it is new.
        app: what it is called where people see it.
    """
    producer = None if fact is None else await facts.get_fact(tx, fact)
    if producer is None:
        producer = secrets.token_hex(16)
        if fact is not None:
            await facts.put_fact(tx, fact, producer)
        hello = Hello(VERSION, producer, app, "", OWN_PID, started_ms=now_ms)
        row = new_row(hello, seen_ms=now_ms, is_closed=True)
        await event_store.add_producer(tx, row)
    found = await event_store.find_producer(tx, producer)
    assert found is not None, "it is never deleted"
    return found
