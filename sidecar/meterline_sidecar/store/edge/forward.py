"""SQL for what an edge sends on: its batches in order, and how far that has come."""

from typing import NamedTuple

from meterline_sidecar.store.columns import marks
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.edge.events import (
    SELECT_PRODUCER,
    BatchRow,
    EventRow,
    ProducerRow,
)
from meterline_sidecar.store.edge.hashed import HashedEvents
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.sums import summed, whole


class NamedEvent(NamedTuple):
    """An event with its texts, and the name that it has from its app."""

    event: EventRow
    source: str | None
    external_id: str | None


async def events_to_send(
    tx: Tx, batch: BatchRow, *, first: int, limit: int
) -> list[NamedEvent]:
    """Return events of a batch from one on, in order, with their names."""
    last = min(batch.first_event_id + batch.events, first + limit) - 1
    found = await HashedEvents().between(tx, first, last)
    named = await names_between(tx, first, last)
    return [
        NamedEvent(EventRow(*row), *named.get(event_id, (None, None)))
        for event_id, producer_id, row in zip(
            found.ids, found.producer_ids, found.rows, strict=True
        )
        if producer_id == batch.producer_id
    ]


async def names_between(tx: Tx, first: int, last: int) -> dict[int, tuple[str, str]]:
    """Return the names that events of some ids have from their apps, with their sources.

    These stay in the ledger when their events leave it.
    """
    rows = await tx.fetch_all(
        "SELECT x.event_id, xs.name, x.external_id FROM external_events x"
        " JOIN external_sources xs ON xs.id = x.source_id"
        " WHERE x.event_id BETWEEN ? AND ?",
        (first, last),
    )
    return {row[0]: (row[1], row[2]) for row in rows}


async def producers_of(tx: Tx, ids: list[int]) -> dict[int, ProducerRow]:
    """Return producers by their ids here; at most some hundred."""
    rows = await tx.fetch_all(
        f"{SELECT_PRODUCER} WHERE id IN ({marks(len(ids))})",
        ids,
    )
    return {row[0]: ProducerRow(*row) for row in rows}


async def last_seq_by(tx: Tx, producer_id: int, *, batch_id: int) -> int:
    """Return the last number of a producer in the batches up to one; 0 for none.

    What left the ledger is before all that is here.
    """
    row = await tx.fetch_one(
        "SELECT last_seq FROM batches WHERE id <= ? AND producer_id = ?"
        " ORDER BY id DESC LIMIT 1",
        (batch_id, producer_id),
    )
    if row is None and (await begin(tx)).batch_id:
        row = await tx.fetch_one(
            "SELECT coalesce((SELECT min(first_seq) - 1 FROM batches"
            " WHERE producer_id = p.id), p.last_seq) FROM producers p WHERE p.id = ?",
            (producer_id,),
        )
    return 0 if row is None else int(row[0])


async def batch_by_event(tx: Tx, event_id: int, *, after: int) -> int:
    """Return the last batch that has no event behind one, looking behind a batch."""
    row = await tx.fetch_one(
        "SELECT coalesce((SELECT id - 1 FROM batches WHERE id > ?"
        " AND first_event_id + events - 1 > ? ORDER BY id LIMIT 1),"
        " (SELECT max(id) FROM batches), 0)",
        (after, event_id),
    )
    assert row is not None
    return max(after, int(row[0]))


async def last_seqs_between(tx: Tx, after: int, last: int) -> dict[int, int]:
    """Return the last number of each producer in the batches between two."""
    rows = await tx.fetch_all(
        "SELECT producer_id, max(last_seq) FROM batches WHERE id > ? AND id <= ?"
        " GROUP BY producer_id",
        (after, last),
    )
    return {row[0]: row[1] for row in rows}


async def unfinished_producers(tx: Tx) -> list[ProducerRow]:
    """Return producers that recorded more than is here."""
    rows = await tx.fetch_all(
        f"{SELECT_PRODUCER} WHERE recorded_seq > last_seq ORDER BY id"
    )
    return [ProducerRow(*row) for row in rows]


async def n_lost(tx: Tx) -> int:
    """Return how many events of all producers were lost or refused."""
    row = await tx.fetch_one(f"SELECT {summed('lost + refused')} FROM producers")  # noqa: S608 - our own words
    assert row is not None
    return whole(*row)


class Forgotten(NamedTuple):
    """Numbers that a worker says its ledger has forgotten."""

    producer: str
    first_seq: int
    last_seq: int
    counted_seq: int
    """Up to which number an earlier ledger had counted what is at the centre."""


async def forgotten(tx: Tx, *, reason: str) -> list[Forgotten]:
    """Return what workers say that this ledger has forgotten.

    Args:
        reason: what they call it.
    """
    rows = await tx.fetch_all(
        "SELECT p.producer, l.first_seq, l.last_seq, coalesce(b.last_seq, 0)"
        " FROM losses l JOIN producers p ON p.id = l.producer_id"
        " LEFT JOIN rolled_up_before b ON b.producer = p.producer"
        " WHERE l.reason = ? AND l.payload IS NULL ORDER BY l.id",
        (reason,),
    )
    return [Forgotten(*row) for row in rows]


async def closed_producers(
    tx: Tx, *, seen_from_ms: int, after: int, limit: int
) -> list[ProducerRow]:
    """Return producers behind an id that said goodbye at a time or later, in order."""
    rows = await tx.fetch_all(
        f"{SELECT_PRODUCER} WHERE is_closed = 1 AND seen_ms >= ? AND id > ?"
        " ORDER BY id LIMIT ?",
        (seen_from_ms, after, limit),
    )
    return [ProducerRow(*row) for row in rows]


async def first_hour_behind(tx: Tx, event_id: int) -> int | None:
    """Return the earliest UTC hour of which there may be events behind one."""
    row = await tx.fetch_one(
        "SELECT min(hour_ms) FROM event_hours WHERE last_event_id > ?", (event_id,)
    )
    return None if row is None else row[0]
