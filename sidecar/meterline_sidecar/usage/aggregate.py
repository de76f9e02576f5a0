"""Adds events up into usage: by a cursor, so that the cost follows the new events.

A change of meters holds for the events behind the cursor. Where it is to hold for what
is counted already, a generation counts all events again beside the one that is read,
which goes on as it was, and takes its place in the transaction in which it has caught
up with it.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial
from typing import Final, Protocol

from msgspec.structs import replace

from meterline_sidecar.clock import Clock
from meterline_sidecar.errors import EventsArchived, MeterlineError
from meterline_sidecar.properties import VALUES_MAX
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.edge import archive
from meterline_sidecar.store.edge import event_log as audit
from meterline_sidecar.store.edge import usage as store
from meterline_sidecar.store.edge import values as value_store
from meterline_sidecar.store.edge.corrections import CorrectionRow
from meterline_sidecar.store.edge.usage import ReadEvents
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.terms import NEVER_MS
from meterline_sidecar.store.usage import Generation
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.usage.added import add_deltas, note_late
from meterline_sidecar.usage.correction import WorkedOut, part_of, work_out
from meterline_sidecar.usage.counted import counted
from meterline_sidecar.usage.definition import (
    Change,
    Definition,
    changes,
    decode,
    encode,
    first_definition,
)
from meterline_sidecar.usage.misfits import add_misfits, keep_misfits
from meterline_sidecar.usage.rewritten import Rewritten
from meterline_sidecar.usage.step import (
    Endpoints,
    Pace,
    Step,
    cuts_in,
    read_step,
)

DELETE_ROWS: Final = 20_000
AGAIN_S: Final = 0.5
"""So long all is counted again before new events are counted in between: most of what these
take is the same for one as for a thousand."""


Release = Callable[[], Awaitable[int]]
"""Stores what was held and may be counted by now, as new events."""


class OfEdges(Protocol):
    """Knows what edges count that keep their events."""

    async def kept(self, tx: Tx, served: Generation) -> dict[str, str]:
        """Return the epochs that nobody can count again, each with its generation."""
        ...

    def is_everywhere(self, generation: str, *, up_to_event: int) -> bool:
        """Say whether what all edges have counted by a generation is up to an event."""
        ...


class Aggregator:
    """Counts new events into usage, a step to a transaction.

    Args:
        release: is called before counting.
        read_events: reads what is to be counted; events may have left the ledger.
        values_max: how many values of a property are told apart.
    """

    def __init__(
        self,
        database: Database,
        terms: Terms,
        *,
        clock: Clock,
        release: Release | None = None,
        read_events: ReadEvents = store.events_after,
        values_max: int = VALUES_MAX,
    ) -> None:
        self._database = database
        self._terms = terms
        self._clock = clock
        self._release = release
        self._read_events = read_events
        self._values_max = values_max
        self._endpoints: Endpoints = {}
        self._paces = {False: Pace(), True: Pace()}
        """Of the generation that is read, and of the one beside it."""
        self._running = asyncio.Lock()
        self._leftovers = True
        self._of_edges: OfEdges | None = None
        self._when_counted: Callable[[], Awaitable[object]] | None = None

    def when_counted(self, work: Callable[[], Awaitable[object]]) -> None:
        """Do this at the end of each run, once all that was there is counted."""
        self._when_counted = work

    def count_with(self, edges: OfEdges) -> None:
        """Read no generation before these have counted by it as well."""
        self._of_edges = edges

    async def start(self) -> None:
        """Go on with what counts, by the meters that are agreed by now."""
        await self.follow(self._terms)

    async def follow(self, terms: Terms) -> None:
        """Count by what was learned of meters, from the next event on.

        What is to hold for events that are counted already makes a generation that
        counts all of them again.
        """
        self._leftovers = True  # of one that was given up
        async with self._database.transaction() as tx:
            served = await usage_store.newest_generation(tx)
            if served is None:
                first = _named(self._limited(first_definition(terms)))
                await store.add_generation(tx, encode(first))
                return
            beside = await usage_store.generation_beside(tx, served.id)
            newest = beside or served
            before = decode(newest.definition)
            known = self._limited(before)
            found = changes(known, terms, now_ms=self._clock.now_ms())
            if not found and known.terms_row >= 0 and known == before:
                return
            for generation in (served, beside):
                if generation is not None:
                    definition = self._limited(
                        decode(generation.definition)
                    ).with_steps(
                        (change.after(served.cursor) for change in found), terms.row_id
                    )
                    await store.put_definition(tx, generation.id, encode(definition))
            if await self._reaches_back(tx, found, served):
                again = known.with_steps(
                    (
                        change.after(0 if change.reaches_back else served.cursor)
                        for change in found
                    ),
                    terms.row_id,
                )
                again = _named(replace(again, kept=await self._kept(tx, served)))
                await store.add_generation(tx, encode(again))

    async def _kept(self, tx: Tx, served: Generation) -> dict[str, str]:
        return {} if self._of_edges is None else await self._of_edges.kept(tx, served)

    def _limited(self, definition: Definition) -> Definition:
        return replace(definition, values_max=self._values_max)

    @staticmethod
    async def _reaches_back(
        tx: Tx, found: Iterable[Change], served: Generation
    ) -> bool:
        for change in found:
            if change.reaches_back and await store.has_counted_since(
                tx, change.from_ms, cursor=served.cursor
            ):
                return True
        return False

    async def run(self, *, beside: bool = True) -> int:
        """Count every event that is there now; return how many were new.

        Args:
            beside: also count to its end what is counted again.
        """
        n_events = 0
        if self._release is not None:
            await self._release()
        async with self._running:
            while True:
                step = await self._count(beside=False)
                assert step is not None, "Aggregator.start() comes first"
                n_events += step.span.n_ids
                if step.is_full:
                    continue
                # All that was there is counted. What came meanwhile waits for the next
                # run: a step costs the same for one event as for a thousand.
                if not (beside and step.is_counted_again):
                    break
                if not await self._count_again():
                    break
            await self._drop_leftovers()
        if self._when_counted is not None:
            await self._when_counted()
        return n_events

    async def _count_again(self) -> bool:
        """Count beside, until new events have waited a while; say whether there is more."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + AGAIN_S
        while loop.time() < until_s:
            step = await self._count(beside=True)
            if step is None or not step.span.n_ids:
                return False
        return True

    async def behind(self) -> int:
        """Return how many events are not counted yet."""
        async with self._database.reading() as tx:
            return await audit.last_event_id(tx) - (await counted(tx)).up_to_event

    async def check_readable(self, hours: Collection[int]) -> None:
        """Make sure that whatever left the ledger of some hours can be read.

        A correction of them counts it again, and all that comes later would wait.

        Args:
            hours: when they begin, UTC ms.

        Raises:
            ArchiveFailed, EventsArchived: it cannot; the text names the file.
        """
        async with self._database.reading() as tx:
            for file in await archive.files_of_hours(tx, hours):
                before_id = file.first_event_id - 1
                await self._read_events(tx, before_id, skip_flags=0, limit=1)

    async def _count(self, *, beside: bool) -> Step | None:
        """Count a step of the generation that is read, or of the one beside it.

        ``None`` where there is none beside it.
        """
        pace = self._paces[beside]
        while True:
            step = await self._read(beside=beside)
            if step is None:
                return None
            pace.note(step)
            if not pace.admits(step):
                continue
            if step.correction is not None:
                if await self._correct(step, step.correction):
                    return step
            elif await self._database.write(partial(self._keep, step=step)):
                return step

    async def _read(self, *, beside: bool) -> Step | None:
        n_events = self._paces[beside].n_events

        async def folded(tx: Tx) -> Step | None:
            read = await read_step(
                tx, beside=beside, endpoints=self._endpoints, n_events=n_events
            )
            return None if read is None else read.folded()

        try:
            # In the database's thread: ingest must be answered meanwhile.
            return await self._database.read(folded)
        except EventsArchived:
            # Who reads the archive waits for more than the transaction.
            async with self._database.reading() as tx:
                read = await read_step(
                    tx,
                    beside=beside,
                    endpoints=self._endpoints,
                    n_events=n_events,
                    read_events=self._read_events,
                )
            return None if read is None else await asyncio.to_thread(read.folded)

    async def _keep(self, tx: Tx, *, step: Step) -> bool:
        """Store what a step came to, unless a meter or an owner changed meanwhile."""
        before, generation = step.before, step.before.id
        if (
            await store.get_generation(tx, generation) != before
            or await cuts_in(tx, step.span) != step.cuts
        ):
            return False
        if step.deltas:
            await add_deltas(tx, generation, step.definition, step.deltas)
        await self._advance(tx, before, step.span.last_id)
        await add_misfits(tx, generation, step.folder.misfits)
        await value_store.add_values(tx, step.values.learned)
        return True

    async def _correct(self, step: Step, correction: CorrectionRow) -> bool:
        """Store what a correction comes to, unless anything changes meanwhile."""
        what = (self._database, step, correction, self._endpoints)
        try:
            comes_to = await work_out(*what)
        except EventsArchived:
            comes_to = await work_out(*what, read_events=self._read_events)
        parts = comes_to.parts or [{}]
        for part in parts:
            write = partial(
                self._write_part,
                step=step,
                comes_to=comes_to,
                part=await part_of(self._database, step, part),
                is_last=part is parts[-1],
            )
            if not await self._database.write(write):
                return False
        return True

    async def _write_part(
        self, tx: Tx, *, step: Step, comes_to: WorkedOut, part: Rewritten, is_last: bool
    ) -> bool:
        """Write a part of a correction; with the last one, usage knows all of it.

        Usage that is counted again beside begins anew where the correction is about
        events that it has counted already.
        """
        before = step.before
        if (
            await store.get_generation(tx, before.id) != before
            or await store.cuts_between(tx, 0, NEVER_MS) != comes_to.cuts
        ):
            return False
        await part.write(tx, before.id)
        if not is_last:
            return True
        await note_late(tx, comes_to.deltas)
        beside = await usage_store.generation_beside(tx, before.id)
        if beside is not None and beside.cursor >= comes_to.first_event_id:
            await store.add_generation(tx, beside.definition)
            self._leftovers = True
        await self._advance(tx, before, step.span.last_id)
        await value_store.add_values(tx, step.values.learned)
        return True

    async def _advance(self, tx: Tx, before: Generation, cursor: int) -> None:
        """Move the cursor; once all is counted, let the generation be read."""
        is_alone = await store.advance(
            tx, before.id, cursor, before=before.cursor, now_ms=self._clock.now_ms()
        )
        if not is_alone:
            raise MeterlineError(
                "another process counts these events as well; stop every sidecar of"
                " this ledger but one"
            )
        if before.is_complete:
            return
        served = await counted(tx)
        is_first = served.generation == before.id
        goal = await audit.last_event_id(tx) if is_first else served.up_to_event
        if cursor < goal:
            return
        if not is_first and not await self._is_everywhere(tx, before, cursor):
            return
        await store.complete(tx, before.id)
        self._leftovers = True

    async def _is_everywhere(self, tx: Tx, beside: Generation, cursor: int) -> bool:
        """Say whether a generation that has caught up here has done so at all edges.

        Where an edge was given up meanwhile, what it had counted is to stand in it, too:
        another generation begins in its place.
        """
        if self._of_edges is None:
            return True
        served = await usage_store.newest_generation(tx)
        assert served is not None, "it counts beside that one"
        definition = decode(beside.definition)
        kept = await self._kept(tx, served)
        if definition.kept != kept:
            await store.add_generation(tx, encode(replace(definition, kept=kept)))
            self._leftovers = True
            return False
        name = definition.called(beside.id)
        return self._of_edges.is_everywhere(name, up_to_event=cursor)

    async def _drop_leftovers(self) -> None:
        """Delete a piece of what is not read any more, so that nobody waits."""
        if not self._leftovers:
            return
        async with self._database.transaction() as tx:
            served = (await counted(tx)).generation
            beside = await usage_store.generation_beside(tx, served)
            kept = [served] if beside is None else [served, beside.id]
            await keep_misfits(tx, kept)
            deleted = 0
            for generation in await store.left_over(tx, kept):
                deleted = await store.drop(tx, generation, limit=DELETE_ROWS)
                if deleted:
                    break
        self._leftovers = deleted > 0


def _named(definition: Definition) -> Definition:
    return replace(definition, name=secrets.token_hex(8))
