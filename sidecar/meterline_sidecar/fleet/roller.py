"""Rolls up what an edge took in, by the meters of its centre, into events that are sent.

Whatever came since the last time is folded, and what it comes to in each place is stored
as events of a producer of the ledger's own, in the transaction that moves the cursor. So
they have numbers, and cross as the events of workers do. An edge rolls up only while its
centre is there and has said by which meters: what came meanwhile is counted then, by the
meters of its time.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence, Set
from typing import Final

from meterline.edge_wire import WORKERS_MAX, Covered, Epochs, Meters, Workers
from meterline.wire import VERSION, Hello
from meterline_sidecar.clock import Clock
from meterline_sidecar.errors import ArchiveFailed, EventsArchived
from meterline_sidecar.fleet.backlog import WHOLE_BYTES, own_and_epochs
from meterline_sidecar.fleet.elsewhere import add_elsewhere, counted_elsewhere
from meterline_sidecar.fleet.forgotten import Forgotten
from meterline_sidecar.fleet.records import bytes_of
from meterline_sidecar.fleet.rolling import (
    Sum,
    add_archived_step,
    add_step,
    as_counted_here,
    rows_of,
)
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.commit import Piece, Producer
from meterline_sidecar.ingest.own_producer import OWN_PID
from meterline_sidecar.ingest.producer_row import new_row
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge import roll_ups as store
from meterline_sidecar.store.edge import values as value_store
from meterline_sidecar.store.edge.events import EventRow
from meterline_sidecar.store.edge.roll_ups import Epoch, Roll, RollUp
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.usage import newest_generation
from meterline_sidecar.usage import rolled_up
from meterline_sidecar.usage.definition import decode, encode
from meterline_sidecar.usage.fold import Folder
from meterline_sidecar.usage.misfits import add_misfits
from meterline_sidecar.usage.step import Endpoints
from meterline_sidecar.usage.values import Values

EVERY_S: Final = 2.0
STEP_EVENTS: Final = 20_000  # read and folded at once, in some 20 ms
FIRST_EVENTS: Final = 4_000  # in the first one: all may be in places of their own
ROLL_EVENTS: Final = 400_000  # rolled up at once, where they are in few places
ARCHIVED_S: Final = 1.0  # likewise of files, which take long: a heartbeat is due
UNREAD_S: Final = 60.0  # until a file that could not be read is tried again
ROLL_PLACES: Final = 2_000  # written in one transaction, of some 30 ms

Pause = Callable[[float], Awaitable[None]]
"""Lets others go first behind a piece of work of so many seconds."""
Ask = Callable[[Workers], Awaitable[Covered]]
"""Asks the centre about workers."""


class Roller:
    """Rolls up events of one edge.

    Args:
        ingest: stores what they come to.
        archived: has the events that left the ledger.
        pause: is awaited behind each step.
    """

    def __init__(
        self,
        database: Database,
        ingest: Ingest,
        archived: Archived,
        *,
        clock: Clock,
        pause: Pause,
    ) -> None:
        self._database = database
        self._ingest = ingest
        self._archived = archived
        self._clock = clock
        self._pause = pause
        self._next_s = 0.0
        self._working = asyncio.Lock()
        self._storing: asyncio.Future[int] | None = None
        self._forgotten = Forgotten(database)
        self._known: set[str] = set()
        """Workers that the centre was asked about since it is there."""
        self._steps: dict[str, int] = {}
        """How many events the next step of each generation reads."""
        self._most: dict[str, int] = {}
        """How many it rolls up at once, where that is fewer than usual."""
        self._unread: dict[str, tuple[float, str]] = {}
        """Generations that need a file which cannot be read: until when they wait, why."""

    # --- what the centre says

    async def epochs(self) -> Epochs:
        """Return the epochs of this ledger; the first one begins with it."""
        self._known.clear()  # it may be another centre by now
        async with self._database.transaction() as tx:
            if not await store.list_epochs(tx):
                await _begin(tx, 0, now_ms=self._clock.now_ms())
            known: dict[str, int] = {}
            for epoch in await store.list_epochs(tx):
                row = await event_store.find_producer(tx, epoch.producer)
                here = 0 if row is None else row.last_seq
                known[epoch.producer] = max(here, epoch.known_seq)
        return Epochs(known)

    async def settle(self, covered: Covered) -> None:
        """Begin another epoch where the centre has more of the last one than this ledger.

        That was put back, then: what it had rolled up since counts already.
        """
        if not covered.is_over:
            return
        async with self._alone(), self._database.transaction() as tx:
            cursor = await store.rolled_up_at_all(tx)
            await store.add_rolled_up_before(tx, covered.producers.items())
            for producer, last_seq in covered.epochs.items():
                await store.put_epoch(tx, Epoch(producer, 0, last_seq))
            await _begin(tx, cursor, now_ms=self._clock.now_ms())
            await store.drop_roll_ups(tx, ())
        await self._forgotten.look()

    async def follow(self, meters: Meters) -> None:
        """Count by these meters, from the next event on; what is new, from the first."""
        async with self._alone(), self._database.transaction() as tx:
            known = {row.generation: row for row in await store.list_roll_ups(tx)}
            begin = (await store.list_epochs(tx))[-1].after_event_id
            newest = next(reversed(known.values()), None)
            for generation, text in meters.generations:
                row = known.get(generation)
                wanted = decode(text)
                definition = as_counted_here(wanted, row or newest, row is not None)
                if row is None:
                    # A centre that was put back may ask for one that was followed.
                    reached = await store.last_rolled_up(tx, generation)
                    row = RollUp(generation, "", max(begin, reached), 0)
                await store.put_roll_up(tx, row._replace(definition=encode(definition)))
            kept = [generation for generation, _ in meters.generations]
            await store.drop_roll_ups(tx, kept)

    # --- rolling up

    async def run(self, ask: Ask, *, is_urgent: bool = False) -> bool:
        """Roll up what is due; return whether anything is left to be rolled up.

        Args:
            ask: is asked about each worker before its first event is rolled up.
            is_urgent: not only every two seconds.
        """
        if time.monotonic() < self._next_s and not is_urgent:
            return False
        self._next_s = time.monotonic() + EVERY_S
        is_left = False
        async with self._alone():
            # Of some there may be nothing to roll up, and all at the centre.
            lost = await self._forgotten.workers()
            strangers = await self._strangers(lost.keys())
            async with self._database.reading() as tx:
                roll_ups = await store.list_roll_ups(tx)
            self._unread = {
                one.generation: self._unread[one.generation]
                for one in roll_ups
                if one.generation in self._unread
            }
            for roll_up in () if strangers else roll_ups:
                found = await self._summed_if_read(roll_up)
                if found is None:
                    continue
                strangers = await self._strangers(found.covers.keys())
                if strangers:
                    break
                is_news = found.is_all and not roll_up.is_complete
                if found.cursor > roll_up.cursor or is_news:
                    is_left |= not await self._store(found)
                is_left |= not found.is_all
        if strangers:  # others may go on meanwhile: the answer comes among theirs
            await self._meet(sorted(strangers), ask)
        is_left |= bool(strangers)
        if is_left:
            self._next_s = 0.0
        return is_left

    @property
    def due_s(self) -> float:
        """When it is due again, by the monotonic clock."""
        return self._next_s

    @property
    def trouble(self) -> str | None:
        """Why something is not counted again that left the ledger; ``None``: it is."""
        return next((why for _, why in self._unread.values()), None)

    async def _summed_if_read(self, roll_up: RollUp) -> Sum | None:
        """Return what the next events come to; ``None`` while their file cannot be read.

        What is counted besides goes on.
        """
        generation = roll_up.generation
        if time.monotonic() < self._unread.get(generation, (0.0, ""))[0]:
            return None
        try:
            found = await self._summed(roll_up)
        except ArchiveFailed as error:
            why = f"a meter is counted again, and needs a file: {error}"
            self._unread[generation] = (time.monotonic() + UNREAD_S, why)
            return None
        self._unread.pop(generation, None)
        return found

    async def _strangers(self, workers: Set[str]) -> Set[str]:
        """Return those of whom the centre was not asked yet what it has."""
        if workers <= self._known:
            return frozenset()
        async with self._database.reading() as tx:
            self._known |= await own_and_epochs(tx)
        return workers - self._known

    async def _meet(self, workers: Sequence[str], ask: Ask) -> None:
        """Note what of workers counts already, as their edge of before has sent it."""
        for start in range(0, len(workers), WORKERS_MAX):
            some = workers[start : start + WORKERS_MAX]
            begins = await self._forgotten.begins(some)
            covered = await ask(Workers(tuple(some), begins))
            if covered.producers or covered.parts:
                async with self._alone(), self._database.transaction() as tx:
                    await store.add_rolled_up_before(tx, covered.producers.items())
                    await add_elsewhere(tx, covered.parts)
                await self._forgotten.look()
            self._known.update(some)

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncGenerator[None]:
        """Wait for what was begun, also by who was cancelled meanwhile."""
        async with self._working:
            if self._storing is not None:
                await asyncio.wait([self._storing])
            yield

    async def _summed(self, roll_up: RollUp) -> Sum:
        """Return what the next events come to; of strangers', no more than a step."""
        definition = decode(roll_up.definition)
        most = self._most.get(roll_up.generation, ROLL_EVENTS)
        endpoints: Endpoints = {}
        async with self._database.reading() as tx:
            values = Values(
                await value_store.read_values(tx),
                values_max=definition.values_max,
                counted_up_to=roll_up.cursor,
            )
            elsewhere = await counted_elsewhere(tx)
        folder = Folder(definition, endpoints, values=values)
        found = Sum(roll_up, folder, values, endpoints, roll_up.cursor)
        found.elsewhere = elsewhere
        until_s = time.monotonic() + EVERY_S
        while not found.is_all:
            began_s = time.monotonic()
            left = most - (found.cursor - roll_up.cursor)
            limit = min(left, self._steps.get(roll_up.generation, FIRST_EVENTS))

            async def step(tx: Tx, limit: int = limit) -> None:
                await add_step(tx, definition, found, limit=limit)

            try:
                # In the database's thread: ingest must be answered meanwhile.
                await self._database.read(step)
            except EventsArchived:
                async with self._database.reading() as tx:
                    await add_archived_step(tx, found, self._archived, limit=limit)
                until_s = min(until_s, began_s + ARCHIVED_S)
            await self._pause(time.monotonic() - began_s)
            is_long = time.monotonic() >= until_s  # others were let go first
            if is_long or found.cursor - roll_up.cursor >= most:
                break
            if await self._strangers(found.covers.keys()):
                break
            if len(found.deltas) >= ROLL_PLACES:
                self._steps[roll_up.generation] = max(500, limit // 2)
                break
            self._steps[roll_up.generation] = min(STEP_EVENTS, 2 * limit)
        return found

    async def _store(self, found: Sum) -> bool:
        """Store it as events, and move the cursor with them; say whether it was not too large.

        Of what is, less is read the next time.
        """
        before = found.roll_up
        after = before._replace(
            cursor=found.cursor, is_complete=int(before.is_complete or found.is_all)
        )

        async def note(tx: Tx, first_id: int) -> None:
            roll = Roll(
                before.generation, before.cursor, after.cursor, first_id, len(events)
            )
            await store.add_roll(tx, roll)
            await self._move(tx, found, after)

        events, row = await self._events(found)
        n_read = found.cursor - before.cursor
        if n_read > 1 and bytes_of(events) > WHOLE_BYTES:
            self._most[before.generation] = n_read // 2
            return False
        self._most.pop(before.generation, None)
        if row is None:
            async with self._database.transaction() as tx:
                await self._move(tx, found, after)
            return True
        piece = Piece(
            Producer(row, next_seq=row.last_seq + 1),
            events[-1].seq,
            events[-1].seq,
            events=events,
            unattributed=sum(event.subject is None for event in events),
            is_bye=True,  # nobody is connected
            when_stored=note,
        )
        # Not awaited itself: who is cancelled here must not cancel the storing.
        self._storing = self._ingest.append(piece)
        await asyncio.wait([self._storing])
        self._storing.result()
        return True

    async def _move(self, tx: Tx, found: Sum, after: RollUp) -> None:
        known = {row.generation: row for row in await store.list_roll_ups(tx)}
        assert known.get(after.generation) == found.roll_up, "one at a time"
        await store.put_roll_up(tx, after)
        await value_store.add_values(tx, found.values.learned)
        served = await newest_generation(tx)
        if served is not None:
            await add_misfits(tx, served.id, found.folder.misfits)

    async def _events(
        self, found: Sum
    ) -> tuple[list[EventRow], event_store.ProducerRow | None]:
        """Return what is to be stored, and of which producer; none where that is nothing."""
        subject_ids = sorted({place.subject_id for place in found.deltas} - {0})
        async with self._database.reading() as tx:
            names = await store.names_of(tx, subject_ids)
            epochs, own = await store.list_epochs(tx), await own_and_epochs(tx)
            row = await event_store.find_producer(tx, epochs[-1].producer)
        if not found.deltas:
            return [], None
        assert row is not None, "it was made with its epoch"
        events = rows_of(
            *(found, names), epoch=epochs[-1].producer, own=own, after_seq=row.last_seq
        )
        return events, row

    # --- how far it is

    async def standing(self, tx: Tx, batch_id: int) -> tuple[int, tuple[str, ...]]:
        """Return up to which event all is at the centre, and by which generations.

        Args:
            batch_id: up to which batch all was acked.
        """
        reached = {
            row.generation: await store.rolled_up_to(tx, row, batch_id=batch_id)
            for row in await store.list_roll_ups(tx)
            if row.is_complete
        }
        first = next(iter(reached.values()), 0)
        # Of another one nothing may be on its way that is there of the first.
        there = {
            one: event_id for one, event_id in reached.items() if event_id >= first
        }
        return min(there.values(), default=0), tuple(there)


async def _begin(tx: Tx, after_event_id: int, *, now_ms: int) -> None:
    """Begin an epoch, with a producer of its own."""
    producer = secrets.token_hex(16)
    hello = Hello(VERSION, producer, rolled_up.OWN_APP, "", OWN_PID, started_ms=now_ms)
    await event_store.add_producer(tx, new_row(hello, seen_ms=now_ms, is_closed=True))
    await store.put_epoch(tx, Epoch(producer, after_event_id))
