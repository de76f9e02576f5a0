"""Counts events again into a ledger of its own, up to whichever event is asked for.

What a final invoice was made from is usage up to an event: so it is counted once, in
order, and stopped wherever an invoice was made. A correction holds from its own event
on, as it did in the ledger: the windows that it is about are counted again there. The
ledger is only read, a piece at a time, so that who writes it is not held up.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from meterline.events import UNCOUNTED
from meterline_sidecar.store import again as rows
from meterline_sidecar.store import subjects as subject_store
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.edge import usage as store
from meterline_sidecar.store.edge import values as value_store
from meterline_sidecar.store.edge.corrections import CorrectionRow
from meterline_sidecar.store.edge.usage import Cut, ReadEvents
from meterline_sidecar.store.edge.values import ValueRow
from meterline_sidecar.store.port import Database, Readable, Tx
from meterline_sidecar.store.terms import NEVER_MS
from meterline_sidecar.usage.added import add_deltas, note_late
from meterline_sidecar.usage.correction import corrected, in_parts
from meterline_sidecar.usage.definition import Definition, decode
from meterline_sidecar.usage.fold import Delta, Place
from meterline_sidecar.usage.in_bulk import BulkFolder
from meterline_sidecar.usage.rewritten import rewritten
from meterline_sidecar.usage.step import how_far
from meterline_sidecar.usage.values import Values

STEP_EVENTS: Final = 20_000
ROWS_PER_READ: Final = 5_000


class CountedAgain:
    """Usage of events of a ledger, in a scratch ledger.

    Args:
        ledger: is read.
        scratch: an empty one, in which usage is kept.
        read_events: of the ledger, also where they left it.
    """

    def __init__(
        self, ledger: Readable, scratch: Database, *, read_events: ReadEvents
    ) -> None:
        self._ledger = ledger
        self._scratch = scratch
        self._read_events = read_events
        self._definitions: dict[int, Definition] = {}
        self._cuts: list[Cut] = []
        self._known: list[ValueRow] = []
        self._folders: dict[int, BulkFolder] = {}
        self._endpoints: dict[int, tuple[str, str]] = {}
        self.reached = 0
        """The last event that is counted."""

    @property
    def generations(self) -> Iterable[int]:
        """By which countings it is counted."""
        return self._definitions

    async def begin(self, tx: Tx, generations: Iterable[int]) -> None:
        """Take over who used anything, and what meters measure.

        Args:
            tx: a snapshot of the ledger.
            generations: those that are wanted; one that there is not is left out.
        """
        self._cuts = await store.cuts_between(tx, 0, NEVER_MS)
        self._known = await value_store.read_values(tx)
        wanted = await store.definitions_of(tx, sorted(set(generations)))
        served = await usage_store.newest_generation(tx)
        if not wanted and served is not None:
            wanted = [(served.id, served.definition)]
        for generation, text in wanted:
            self._definitions[generation] = decode(text)
            self._folders[generation] = self._new_folder(generation)
        async with self._scratch.transaction() as own:
            await store.put_generations(own, wanted)
            await store.put_cuts(own, self._cuts)
        last_id = 0
        while subjects := await subject_store.subjects_after(
            tx, last_id, limit=ROWS_PER_READ
        ):
            async with self._scratch.transaction() as own:
                await rows.put_subjects(own, [(i, name) for i, name, _ in subjects])
            last_id = subjects[-1][0]

    async def count_to(self, event_id: int) -> bool:
        """Count a step up to an event; return whether there is more to count before it.

        Raises:
            ArchiveFailed: a file of the archive is needed; the text names it.
        """
        async with self._ledger.reading() as tx:
            limit, correction = await how_far(
                tx, self.reached, 0, n_events=min(STEP_EVENTS, event_id - self.reached)
            )
            events, reached = await self._read_events(
                tx, self.reached, skip_flags=UNCOUNTED, limit=limit
            )
            after = next(reversed(self._endpoints), 0)
            self._endpoints |= await store.endpoints(tx, after=after)
            comes_to = {
                generation: self._folders[generation].each.fold(events)
                if correction is None
                else await self._corrected(tx, generation, correction)
                for generation in self._definitions
            }
        if reached == self.reached:
            return False  # There are no more.
        async with self._scratch.transaction() as own:
            for generation, deltas in comes_to.items():
                if correction is None:
                    definition = self._definitions[generation]
                    await add_deltas(own, generation, definition, deltas)
                else:
                    await self._put(own, generation, deltas)
            for generation in self._definitions:
                await store.advance(
                    own, generation, reached, before=self.reached, now_ms=0
                )
        self.reached = reached
        return reached < event_id

    def _new_folder(self, generation: int) -> BulkFolder:
        return BulkFolder(
            self._definitions[generation],
            self._endpoints,
            self._cuts,
            # Nothing is learned here: what is told apart was when it was counted.
            values=Values(self._known, values_max=0),
            generation=generation,
        )

    async def _corrected(
        self, tx: Tx, generation: int, correction: CorrectionRow
    ) -> dict[Place, Delta]:
        """Return what windows come to with a correction, by a snapshot of the ledger."""
        found = await corrected(
            tx,
            correction,
            partial(self._new_folder, generation),
            after_id=self.reached,
            read_events=self._read_events,
        )
        return found.deltas

    async def _put(
        self, own: Tx, generation: int, deltas: Mapping[Place, Delta]
    ) -> None:
        """Put what windows come to in place of what was counted in them."""
        await note_late(own, deltas)
        groups = await store.intern_groups(own, {place.labels for place in deltas})
        aggregations = self._definitions[generation].aggregations
        for part in in_parts(deltas, groups):
            changed = await rewritten(own, generation, part, aggregations)
            await changed.write(own, generation)
