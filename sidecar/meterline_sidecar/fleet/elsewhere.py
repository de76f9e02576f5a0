"""Which numbers of its workers an edge leaves out, as another edge has counted them.

That one had the worker for a while, and this edge before and behind that. What goes from
the first number on is in ``rolled_up_before``.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from meterline_sidecar.store import facts
from meterline_sidecar.store.port import Tx

ELSEWHERE: Final = "counted_elsewhere "
"""With a worker behind it: a fact, the first and the last number of each part."""

Parts = Mapping[str, Sequence[tuple[int, int]]]
"""By worker, the first and the last number of each part."""

_decode: Final = msgspec.json.Decoder(list[tuple[int, int]])


async def add_elsewhere(tx: Tx, told: Parts) -> None:
    """Note what the centre tells; what was noted stays."""
    for worker, parts in told.items():
        text = await facts.get_fact(tx, f"{ELSEWHERE}{worker}")
        known = dict(_decode.decode(text or "[]"))
        for first, last in parts:
            known[first] = max(last, known.get(first, 0))
        text = msgspec.json.encode(sorted(known.items())).decode()
        await facts.put_fact(tx, f"{ELSEWHERE}{worker}", text)


async def counted_elsewhere(tx: Tx) -> Parts:
    """Return what is noted; mostly nothing."""
    found = await facts.facts_from(tx, ELSEWHERE)
    return {
        name.removeprefix(ELSEWHERE): _decode.decode(text)
        for name, text in found.items()
    }


def is_within(seq: int, parts: Sequence[tuple[int, int]]) -> bool:
    """Say whether a number is in one of some parts."""
    return any(first <= seq <= last for first, last in parts)


def below(seq: int, parts: Sequence[tuple[int, int]]) -> int:
    """Return the last number up to one that is in none of some parts; 0: there is none."""
    for first, last in sorted(parts, reverse=True):
        if first <= seq <= last:
            seq = first - 1
    return seq
