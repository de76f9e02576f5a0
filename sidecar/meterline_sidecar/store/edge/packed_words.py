"""SQL for words in packed events: where they stand, and what is stored without them."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec

from meterline_sidecar.store.edge.packed import last_packed
from meterline_sidecar.store.packs import IDS_MAX, TEXTS
from meterline_sidecar.store.port import Tx


async def batches_of_subject(
    tx: Tx, subject_id: int, words: Sequence[str], batches: tuple[int, int]
) -> set[int]:
    """Return in which batches behind one, up to another, packed events of a subject are,
    or such as hold a word in their properties.
    """
    spans = await tx.fetch_all(
        "SELECT first_event_id, first_event_id + events - 1, id FROM batches"
        " WHERE id > ? AND id <= ? AND events > 0 ORDER BY id",
        batches,
    )
    if not spans or await last_packed(tx) < spans[0][0]:
        return set()
    first, last = spans[0][0], spans[-1][1]
    rows = await tx.fetch_all(
        "SELECT p.first_id + l.value FROM packed_events p, json_each(search_pack(p.body,"
        " ? - p.first_id, ? - p.first_id, 'properties', ?, ?)) l"
        " WHERE p.first_id BETWEEN ? AND ? AND p.last_id >= ?",
        (first, last, _json(words), subject_id, first - IDS_MAX + 1, last, first),
    )
    firsts = [span[0] for span in spans]
    return {spans[bisect_right(firsts, event_id) - 1][2] for (event_id,) in rows}


async def n_packed_with(tx: Tx, words: Sequence[str]) -> int:
    """Return how many packed events hold a word in a text."""
    if not await last_packed(tx):
        return 0
    row = await tx.fetch_one(
        "SELECT count(*) FROM packed_events p, json_each(search_pack(p.body, 0,"  # noqa: S608 - names
        f" p.last_id - p.first_id, '{','.join(TEXTS)}', ?, -1)) l",
        (_json(words),),
    )
    assert row is not None
    return int(row[0])


async def packs_of(tx: Tx, ids: Iterable[int]) -> list[tuple[int, int, bytes]]:
    """Return ``(first id, last id, body)`` of the packs in whose runs some ids are."""
    found: list[tuple[int, int, bytes]] = []
    for event_id in sorted(ids):
        if found and event_id <= found[-1][1]:
            continue
        row = await tx.fetch_one(
            "SELECT first_id, last_id, body FROM packed_events"
            " WHERE first_id BETWEEN ? AND ? AND last_id >= ?",
            (event_id - IDS_MAX + 1, event_id, event_id),
        )
        if row is not None:
            found.append((row[0], row[1], row[2]))
    return found


async def put_bodies(tx: Tx, bodies: Iterable[tuple[int, bytes]]) -> None:
    """Store packs of the same events anew: ``(first id, body)``."""
    await tx.execute_many(
        "UPDATE packed_events SET body = ? WHERE first_id = ?",
        [(body, first_id) for first_id, body in bodies],
    )


def _json(words: Sequence[str]) -> str:
    return msgspec.json.encode(words).decode()
