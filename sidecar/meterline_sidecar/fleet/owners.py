"""Whose a worker is, and which numbers of it each edge had that it has been at.

A worker goes over to another edge once the one that it was at is retired, and comes back
where that is taken in again. Each of them counts what it has: the first one numbers that
the second never had, since the worker had given them up by then.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from meterline.wire import SEQ_MAX
from meterline_sidecar.store import facts
from meterline_sidecar.store import fleet as store
from meterline_sidecar.store.edge.events import find_producer
from meterline_sidecar.store.port import Tx

HAD: Final = "worker_at "
"""With an edge and a worker that went over behind it: a fact, which numbers it had."""
PARTS_MAX: Final = 100  # of one worker at one edge: each is a decision of a person

Part = tuple[int, int]
"""The first and the last number of a worker's events that follow on each other."""

_decode: Final = msgspec.json.Decoder(list[Part])


async def claimed(tx: Tx, producer: str, *, edge_id: int, begins: int) -> int | None:
    """Return whose a producer is, once an edge has asked for it; ``None``: this host's."""
    owner = await store.edge_of_producer(tx, producer)
    if owner is None and await find_producer(tx, producer) is None:
        owner = edge_id
        await store.claim_producer(tx, producer, edge_id=edge_id)
        if begins > 1:  # the edge that had it before never asked
            await _put(tx, edge_id, producer, [(begins, SEQ_MAX)])
    if owner is None or owner == edge_id or owner not in await store.retired_edges(tx):
        return owner
    await store.claim_producer(tx, producer, edge_id=edge_id)
    left = await parts_had(tx, owner, producer)
    first, _ = left[-1]
    await _put(tx, owner, producer, [*left[:-1], (first, max(first, begins - 1))])
    had = await facts.get_fact(tx, _name(edge_id, producer))
    before = [] if had is None else _decode.decode(had)
    await _put(tx, edge_id, producer, [*before, (begins, SEQ_MAX)])
    return edge_id


async def note_begins(tx: Tx, edge_id: int, known: Mapping[str, int]) -> None:
    """Note of workers that went over to an edge what counted already by then.

    Args:
        known: by worker, up to which number others had counted.
    """
    for producer, last_seq in known.items():
        had = await facts.get_fact(tx, _name(edge_id, producer))
        parts = [] if had is None else _decode.decode(had)
        if parts and parts[-1][0] <= last_seq:
            await _put(tx, edge_id, producer, [*parts[:-1], (last_seq + 1, SEQ_MAX)])


async def parts_had(tx: Tx, edge_id: int, producer: str) -> Sequence[Part]:
    """Return which numbers of a worker an edge had; where the last part ends is open."""
    had = await facts.get_fact(tx, _name(edge_id, producer))
    return [(1, SEQ_MAX)] if had is None else _decode.decode(had)


async def _put(tx: Tx, edge_id: int, producer: str, parts: Sequence[Part]) -> None:
    text = msgspec.json.encode(parts[-PARTS_MAX:]).decode()
    await facts.put_fact(tx, _name(edge_id, producer), text)


def _name(edge_id: int, producer: str) -> str:
    return f"{HAD}{edge_id} {producer}"
