"""The centre's meters, as its edges roll up by them, and what of that it has."""

import asyncio
from collections.abc import Iterator
from typing import Final

from meterline.edge_wire import Covered, Epochs, Meters, Workers
from meterline.wire import WireError
from meterline_sidecar.fleet.edge import Edge
from meterline_sidecar.fleet.edges import Edges
from meterline_sidecar.fleet.owners import note_begins
from meterline_sidecar.fleet.taking_over import covered_elsewhere
from meterline_sidecar.store import facts
from meterline_sidecar.store import fleet as edge_store
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.edge import roll_ups as store
from meterline_sidecar.store.edge.events import find_producer, update_producer
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.usage import Generation
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.usage.definition import decode
from meterline_sidecar.usage.rolled_up import EPOCH_CHARS, OWN_APP, rolled_up_in

NEVER: Final = 1 << 62
OVER: Final = "edge_epoch_over:"
"""The fact, by an edge, that names its last epoch here if that is over: nothing of the next
one need have come yet.
"""
LEFT: Final = (
    "edge {name} was put back to a time of which the centre's events are in its archive:"
    " there, bring back the file of that time with `meterline archive restore FILE` (`meterline"
    " archive list` has their times), and it is taken in"
)
COVERED_MAX: Final = 15_000  # producers of one answer, of 45 bytes: a frame has 1 MiB


class Countings:
    """By which generations edges roll up: the one that is read, and one beside it."""

    def __init__(self, database: Database, edges: Edges) -> None:
        self._database = database
        self._edges = edges
        self._changed = asyncio.Event()

    async def follow(self, _terms: Terms) -> None:
        """Have edges told soon that meters may be others."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def when_changed(self) -> None:
        """Wait until meters may be others."""
        await self._changed.wait()

    async def meters(self) -> Meters:
        """Return by which meters edges roll up now."""
        async with self._database.reading() as tx:
            found = await _generations(tx)
        return Meters(tuple((_name(one), one.definition) for one in found))

    async def covered(self, edge: Edge, epochs: Epochs) -> Covered:
        """Return what is here of an edge, and its ledger does not know.

        Args:
            epochs: those that it knows, the newest last.

        Raises:
            WireError: what says it has left this ledger.
        """
        is_over, ahead, covers = False, dict[str, int](), dict[str, int]()
        newest = next(reversed(epochs.producers), "")[:EPOCH_CHARS]
        async with self._database.reading() as tx:
            for one in await _generations(tx):
                is_over |= newest in decode(one.definition).kept
            for edge_id, producer, last_seq in await store.epochs_of_edges(
                tx, app=OWN_APP
            ):
                known = epochs.producers.get(producer, 0)
                if edge_id != edge.row.id or last_seq <= known:
                    continue
                ahead[producer] = last_seq
                if not await store.has_batch_of(tx, producer, known + 1):
                    raise WireError("archived", LEFT.format(name=edge.row.name))
                for text in await store.texts_of(tx, producer, after_seq=known):
                    for worker, seq in rolled_up_in(text).covers.items():
                        covers[worker] = max(seq, covers.get(worker, 0))
        is_over |= bool(ahead)
        await self._expect_no_more(edge, epochs, is_over=is_over)
        found = dict(list(covers.items())[:COVERED_MAX])
        return Covered(is_over, ahead, found)

    async def covered_elsewhere(self, edge: Edge, asked: Workers) -> Covered:
        """Return which numbers of workers of an edge count by what others sent."""
        async with self._database.reading() as tx:
            served = await usage_store.newest_generation(tx)
            if served is None:
                return Covered(is_over=False)
            found = await covered_elsewhere(
                *(tx, edge.row.id, asked),
                kept=await self.kept(tx, served),
                served=_name(served),
            )
        if found.producers:
            async with self._database.transaction() as tx:
                await note_begins(tx, edge.row.id, found.producers)
        return found

    async def check_counts_nowhere(self, worker: str) -> None:
        """Make sure that no edge has rolled up events of a worker that are sent as such.

        Raises:
            WireError: one has; nobody can tell which of them count already.
        """
        async with self._database.reading() as tx:
            covers = await store.edge_covers(tx, [worker])
        if covers:
            raise WireError(
                "duplicate_producer",
                f"events of producer {worker} are here as usage already, by an edge that"
                ' forwarded that: start this one with `forward = "usage"` and a new'
                " `sidecar.database`, so that they do not count twice",
            )

    async def _expect_no_more(
        self, edge: Edge, epochs: Epochs, *, is_over: bool
    ) -> None:
        """Wait for no number of an epoch that its ledger has lost: none will come.

        What it stood for is in the next ones, as far as the ledger has the events.

        Args:
            is_over: whether another epoch begins.
        """
        async with self._database.transaction() as tx:
            for edge_id, producer, _ in await store.epochs_of_edges(tx, app=OWN_APP):
                row = await find_producer(tx, producer)
                if edge_id != edge.row.id or row is None:
                    continue
                if is_over:
                    name = f"{OVER}{edge_id}"
                    await facts.put_fact(tx, name, producer[:EPOCH_CHARS])
                there = max(row.last_seq, epochs.producers.get(producer, 0))
                if row.recorded_seq > there:
                    await update_producer(tx, row._replace(recorded_seq=there))

    # --- what counting asks

    async def kept(self, tx: Tx, served: Generation) -> dict[str, str]:
        """Return the epochs whose events nobody can count again, each with its generation.

        Those of retired edges, and those that are over: their ledgers are gone, or were
        put back.
        """
        retired = await edge_store.retired_edges(tx)
        over = await facts.facts_from(tx, OVER)
        newest: dict[int, str] = {}
        of_all: list[tuple[int, str]] = []
        for edge_id, producer, _ in await store.epochs_of_edges(tx, app=OWN_APP):
            epoch = producer[:EPOCH_CHARS]
            newest[edge_id] = epoch
            of_all.append((edge_id, epoch))
        before = decode(served.definition).kept
        return {
            epoch: before.get(epoch, _name(served))
            for edge_id, epoch in of_all
            if edge_id in retired
            or newest[edge_id] != epoch
            or over.get(f"{OVER}{edge_id}") == epoch
        }

    async def counting_again(self) -> set[str]:
        """Return the ids of edges that have not rolled up by all that is counted here.

        Until they have, a generation beside the one that is read takes no place of it.
        """
        async with self._database.reading() as tx:
            wanted = [_name(one) for one in await _generations(tx)]
        return {
            edge.row.edge
            for edge in self._rolling_up()
            if not edge.generations.keys() >= set(wanted)
        }

    def is_everywhere(self, generation: str, *, up_to_event: int) -> bool:
        """Say whether all that edges have rolled up by a generation is counted here."""
        return not any(
            edge.generations.get(generation, NEVER) > up_to_event
            for edge in self._rolling_up()
        )

    def _rolling_up(self) -> Iterator[Edge]:
        for edge in self._edges.all():
            if edge.rolls_up and not edge.is_retired:
                yield edge


async def _generations(tx: Tx) -> list[Generation]:
    served = await usage_store.newest_generation(tx)
    if served is None:
        return []
    beside = await usage_store.generation_beside(tx, served.id)
    return [served] if beside is None else [served, beside]


def _name(generation: Generation) -> str:
    return decode(generation.definition).called(generation.id)
