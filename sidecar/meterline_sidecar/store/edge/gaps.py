"""SQL for what producers recorded and has not arrived."""

from typing import NamedTuple

from meterline_sidecar.store.edge.events import SELECT_PRODUCER, ProducerRow
from meterline_sidecar.store.port import Tx


class Gap(NamedTuple):
    """Numbers that a producer recorded and that have not arrived."""

    producer: str
    app: str
    host: str
    pid: int
    first_seq: int
    last_seq: int


async def open_gaps(tx: Tx, *, before_ms: int) -> list[Gap]:
    """Return what may still arrive of the time before ``before_ms``.

    A producer sends in order: once an event of a later time has arrived, what is
    still missing of it is later as well.
    """
    rows = await tx.fetch_all(
        "SELECT p.producer, p.app, p.host, p.pid, p.last_seq + 1, p.recorded_seq"
        " FROM producers p WHERE p.recorded_seq > p.last_seq AND p.started_ms < ?"
        " AND coalesce((SELECT e.time_ms FROM events e WHERE e.id ="
        " (SELECT max(b.first_event_id + b.events - 1) FROM batches b"
        " WHERE b.producer_id = p.id AND b.events > 0)), 0) < ?"
        " ORDER BY p.id",
        (before_ms, before_ms),
    )
    return [Gap(*row) for row in rows]


class SilentGaps(NamedTuple):
    """What silent producers recorded and has not arrived."""

    producers: int
    events: int
    latest: ProducerRow | None
    """The one of them that was seen last."""


async def silent_gaps(tx: Tx, *, seen_before_ms: int) -> SilentGaps:
    """Return the gaps of producers that have not been heard of since a time."""
    row = await tx.fetch_one(
        "SELECT count(*), coalesce(sum(recorded_seq - last_seq), 0) FROM producers"
        " WHERE recorded_seq > last_seq AND seen_ms < ?",
        (seen_before_ms,),
    )
    assert row is not None
    if row[0] == 0:
        return SilentGaps(0, 0, None)
    latest = await tx.fetch_one(
        f"{SELECT_PRODUCER} WHERE recorded_seq > last_seq AND seen_ms < ?"
        " ORDER BY seen_ms DESC LIMIT 1",
        (seen_before_ms,),
    )
    assert latest is not None
    return SilentGaps(row[0], row[1], ProducerRow(*latest))
