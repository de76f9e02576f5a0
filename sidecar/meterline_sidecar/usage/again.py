"""Counts events again into a ledger of its own, up to whichever event is asked for.

What a final invoice was made from is usage up to an event: so it is counted once, in
order, and stopped wherever an invoice was made. The ledger is only read, a piece at a
time, so that who writes it is not held up.
"""

from collections.abc import Iterable
from typing import Final

from meterline.events import UNCOUNTED
from meterline_sidecar.store import again as rows
from meterline_sidecar.store import subjects as subject_store
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.edge import usage as store
from meterline_sidecar.store.edge import values as value_store
from meterline_sidecar.store.edge.usage import ReadEvents
from meterline_sidecar.store.port import Database, Readable, Tx
from meterline_sidecar.store.terms import NEVER_MS
from meterline_sidecar.usage.added import add_deltas
from meterline_sidecar.usage.definition import Definition, decode
from meterline_sidecar.usage.fold import Folder
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
        self._folders: dict[int, Folder] = {}
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
        cuts = await store.cuts_between(tx, 0, NEVER_MS)
        known = await value_store.read_values(tx)
        wanted = await store.definitions_of(tx, sorted(set(generations)))
        served = await usage_store.newest_generation(tx)
        if not wanted and served is not None:
            wanted = [(served.id, served.definition)]
        for generation, text in wanted:
            definition = self._definitions[generation] = decode(text)
            self._folders[generation] = Folder(
                definition,
                self._endpoints,
                cuts,
                # Nothing is learned here: what is told apart was when it was counted.
                values=Values(known, values_max=0),
            )
        async with self._scratch.transaction() as own:
            await store.put_generations(own, wanted)
            await store.put_cuts(own, cuts)
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
            events, reached = await self._read_events(
                tx,
                self.reached,
                skip_flags=UNCOUNTED,
                limit=min(STEP_EVENTS, event_id - self.reached),
            )
            after = next(reversed(self._endpoints), 0)
            self._endpoints |= await store.endpoints(tx, after=after)
        if reached == self.reached:
            return False  # There are no more.
        async with self._scratch.transaction() as own:
            for generation, definition in self._definitions.items():
                deltas = self._folders[generation].fold(events)
                await add_deltas(own, generation, definition, deltas)
            for generation in self._definitions:
                await store.advance(
                    own, generation, reached, before=self.reached, now_ms=0
                )
        self.reached = reached
        return reached < event_id
