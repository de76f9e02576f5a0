"""Producers of the ledger's own: what they store was not sent by any worker."""

import secrets
from typing import Final

from meterline_sidecar.store import facts
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge.events import ProducerRow
from meterline_sidecar.store.port import Tx

OWN_PID: Final = 0
"""No process has it: what such a producer stores was recorded by others."""


async def own_row(tx: Tx, fact: str, *, app: str, now_ms: int) -> ProducerRow:
    """Return a producer of the ledger's own as it stands; the first time it is made.

    Args:
        fact: the name of the fact that says which producer it is.
        app: what it is called where people see it.
    """
    producer = await facts.get_fact(tx, fact)
    if producer is None:
        producer = secrets.token_hex(16)
        await facts.put_fact(tx, fact, producer)
        await event_store.add_producer(tx, _new_row(producer, app, now_ms))
    row = await event_store.find_producer(tx, producer)
    assert row is not None, "it is never deleted"
    return row


def _new_row(producer: str, app: str, now_ms: int) -> ProducerRow:
    return ProducerRow(
        id=0,
        producer=producer,
        app=app,
        host="",
        pid=OWN_PID,
        started_ms=now_ms,
        spool="file",
        recorded_seq=0,
        last_seq=0,
        ingested=0,
        refused=0,
        lost=0,
        duplicates=0,
        unattributed=0,
        held=0,
        bad_quantities=0,
        seen_ms=now_ms,
        is_closed=1,
    )
