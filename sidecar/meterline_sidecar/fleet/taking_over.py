"""What edges have rolled up of each worker, for whichever edge that one goes over to.

A worker whose edge has lost its disk sends what it was not acked to another edge, and
part of that may stand here as usage already. With each state an edge says up to which
number of each worker it has all by then; that is noted in the transaction that stores
the state, so that neither is ever here without the other. An edge asks before it rolls up
a worker's first event, and counts only what comes behind. From then on the worker is
its own: what the edge of before may still send of it is refused.
"""

from collections.abc import Mapping, Sequence

import msgspec

from meterline.edge_wire import Covered, Workers
from meterline.wire import Batch, split_records
from meterline_sidecar.fleet.owners import Part, parts_had
from meterline_sidecar.fleet.records import USAGE_FIELD
from meterline_sidecar.ingest.watermarks import SentElsewhere
from meterline_sidecar.store import fleet as edge_store
from meterline_sidecar.store.edge import roll_ups as store
from meterline_sidecar.store.edge.events import find_producer
from meterline_sidecar.store.edge.roll_ups import EdgeCover
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage import rolled_up

_decode = msgspec.msgpack.Decoder().decode


def covers_in(batch: Batch, *, edge_id: int, after_seq: int) -> list[EdgeCover]:
    """Return what the rolled-up events of a batch say of workers; few say anything.

    Args:
        batch: as it came.
        edge_id: of the edge that it came from.
        after_seq: of those up to this number it is known.

    Raises:
        WireError: its records cannot be told apart.
    """
    if b'"covers":' not in batch.records:
        return []
    found: list[EdgeCover] = []
    for seq, (_, _, payload) in enumerate(
        split_records(batch.records), batch.first_seq
    ):
        if seq > after_seq and b'"covers":' in payload:
            found += _covers_of(payload, edge_id)
    return found


def _covers_of(payload: bytes, edge_id: int) -> list[EdgeCover]:
    try:
        said = rolled_up.decode(_decode(payload)[USAGE_FIELD])
    except (ValueError, LookupError, TypeError, RecursionError):
        return []  # it is refused alone, as any bad event, or no usage at all
    return [
        EdgeCover(producer, said.epoch, said.generation, edge_id, seq)
        for producer, seq in said.covers.items()
    ]


async def note_covers(covers: Sequence[EdgeCover], tx: Tx, _first_id: int) -> None:
    """Note how far an edge is, in the transaction that stores what it rolled up.

    Raises:
        SentElsewhere: a worker has gone over to another edge meanwhile.
    """
    of_each = {cover.producer: cover.edge_id for cover in covers}
    owners = await edge_store.edges_of_producers(tx, sorted(of_each))
    for worker, edge_id in of_each.items():
        if owners.get(worker) != edge_id:
            raise SentElsewhere(worker)
    await store.add_edge_covers(tx, covers)


async def covered_elsewhere(
    tx: Tx,
    edge_id: int,
    asked: Workers,
    *,
    kept: Mapping[str, str],
    served: str,
) -> Covered:
    """Return which numbers of workers count already, by what other edges sent.

    Args:
        tx: a transaction.
        edge_id: of the edge that asks.
        asked: about whom.
        kept: by which counting each epoch is read of which that is not the newest one.
        served: by which all others are.
    """
    reached: dict[tuple[str, int], int] = {}
    for cover in await store.edge_covers(tx, asked.producers):
        is_read = cover.generation == kept.get(cover.epoch, served)
        if is_read and cover.edge_id != edge_id:
            key = (cover.producer, cover.edge_id)
            reached[key] = max(cover.last_seq, reached.get(key, 0))
    found: dict[str, int] = {}
    parts: dict[str, list[Part]] = {}
    for (worker, other), last_seq in reached.items():
        had: list[Part] = [(1, last_seq)]
        if asked.begins is not None:
            *before, (first, _) = await parts_had(tx, other, worker)
            had = [*before, (first, last_seq)]
        for first, last in had:
            if first == 1:
                found[worker] = max(last, found.get(worker, 0))
            elif first <= last:
                parts.setdefault(worker, []).append((first, last))
    for worker in asked.producers:
        row = await find_producer(tx, worker)
        if row is not None and row.last_seq:  # its edge sent each event
            found[worker] = max(row.last_seq, found.get(worker, 0))
    told = {worker: tuple(some) for worker, some in parts.items()}
    return Covered(is_over=False, producers=found, parts=told)
