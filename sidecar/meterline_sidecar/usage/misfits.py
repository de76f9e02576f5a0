"""What meters could not take as it was recorded: rounded, or left out; kept and said.

Noted beside the cursor, in the transaction that counts the events. What is counted again
is noted anew: with a scale that fits, nothing is left to say.
"""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from meterline_sidecar.store import facts
from meterline_sidecar.store.port import Tx

FACT: Final = "misfits"
"""The fact that has them, of each generation."""


class Misfits(msgspec.Struct):
    """How many values of events one meter could not take as they were."""

    rounded: int = 0
    """They had more digits behind the point than its scale."""
    left_out: int = 0
    """They were not whole, and it has no scale."""


_OfGenerations = dict[int, dict[str, Misfits]]
_decode = msgspec.json.Decoder(_OfGenerations).decode
_encode = msgspec.json.Encoder().encode


async def add_misfits(tx: Tx, generation: int, found: Mapping[str, Misfits]) -> None:
    """Add what a step found to what its generation has."""
    if not found:
        return
    noted = await _noted(tx)
    mine = noted.setdefault(generation, {})
    for meter, more in found.items():
        before = mine.get(meter, Misfits())
        mine[meter] = Misfits(
            before.rounded + more.rounded, before.left_out + more.left_out
        )
    await facts.put_fact(tx, FACT, _encode(noted).decode())


async def keep_misfits(tx: Tx, generations: Collection[int]) -> None:
    """Forget what all other generations noted."""
    noted = await _noted(tx)
    kept = {known: of for known, of in noted.items() if known in generations}
    if kept != noted:
        await facts.put_fact(tx, FACT, _encode(kept).decode())


async def read_misfits(tx: Tx, generation: int) -> dict[str, Misfits]:
    """Return what a generation noted, by meter."""
    return (await _noted(tx)).get(generation, {})


async def _noted(tx: Tx) -> _OfGenerations:
    text = await facts.get_fact(tx, FACT)
    return {} if text is None else _decode(text)
