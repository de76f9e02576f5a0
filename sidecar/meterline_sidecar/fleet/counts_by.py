"""By which countings edges have rolled up all, as every centre of a ledger knows it.

The centre that an edge is connected to hears of it, and the one that leads may be another:
it is a fact of the ledger.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from meterline_sidecar.fleet.edge import Edge
from meterline_sidecar.store import facts
from meterline_sidecar.store.edge.events import marks
from meterline_sidecar.store.port import Database, Tx

PREFIX: Final = "edge_counts_by:"

_decode = msgspec.json.Decoder(dict[str, int]).decode


async def note(database: Database, edge: Edge, generations: Iterable[str]) -> None:
    """Note what an edge says, with the last event here by then."""
    async with database.transaction() as tx:
        here = (await marks(tx)).event_id
        found = {one: edge.generations.get(one, here) for one in generations}
        text = msgspec.json.encode(found).decode()
        await facts.put_fact(tx, PREFIX + edge.row.edge, text)
    edge.generations = found


async def read(tx: Tx) -> dict[str, dict[str, int]]:
    """Return what is noted, by the ids of edges."""
    found = await facts.facts_from(tx, PREFIX)
    return {name.removeprefix(PREFIX): _decode(text) for name, text in found.items()}
