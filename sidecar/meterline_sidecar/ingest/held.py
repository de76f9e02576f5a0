"""Lets go of held events: when their time has become possible, or a person says so.

A held event is never changed. What is counted in its place is an event of its own, with
the same facts, stored as all others are: so it is counted once by whatever counts
events, in whatever order, now or in a recount, and it was learned when it was let go.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from meterline.events import Flag
from meterline_sidecar.clock import Clock, JumpWatch
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.commit import Piece, Producer
from meterline_sidecar.ingest.decode import AHEAD_MS_MAX, possible_ms
from meterline_sidecar.ingest.own_producer import own_row
from meterline_sidecar.store.edge import held as store
from meterline_sidecar.store.edge.begin import check_here
from meterline_sidecar.store.edge.events import EventRow, ProducerRow
from meterline_sidecar.store.edge.held import Decision, Wanted
from meterline_sidecar.store.port import Database, Tx

STEP_EVENTS: Final = 1_000  # in one transaction, while others wait for it
OWN_APP: Final = "meterline"
OWN_PRODUCER: Final = "held_producer"
"""The fact that says under which id released events are stored."""


class NoSuchHeldEvent(MeterlineError):
    """This event is not held; the text says where to look."""


class AlreadyCounted(MeterlineError):
    """This event is counted, and stays so; the text says as what."""


class Journal(Protocol):
    """Links rows, so that one that is changed later is found."""

    async def link(self, tx: Tx, entry: str, row_id: int) -> None:
        """Link a row that was written in this transaction."""
        ...


class Held:
    """What is held, and the two ways out: its time, and a person.

    Args:
        ingest: stores what is let go.
        journal: links decisions.
        watch: says whether our clock can be judged by.
        leads: says whether this process lets go by itself, where several write.
    """

    def __init__(
        self,
        database: Database,
        ingest: Ingest,
        journal: Journal,
        *,
        clock: Clock,
        watch: JumpWatch | None = None,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self._leads = leads
        self._watch = watch
        self._database = database
        self._ingest = ingest
        self._journal = journal
        self._clock = clock
        self._changing = asyncio.Lock()
        self._storing: asyncio.Future[int] | None = None
        self._judged_ms: int | None = None
        """By our clock: when it was last looked at what is held."""

    async def release(self) -> int:
        """Store what is to be counted now; return how many events that were.

        Does nothing while nobody commits: before the start, and behind the end. Of
        several processes the one that leads does.

        Raises:
            RetryLater: it cannot be stored now; it stays held.
        """
        n_events = 0
        if not self._leads():
            return 0
        async with self._changing:
            if not await self._judge_again():
                return 0  # nobody knows what is due
            while self._ingest.is_running:
                if self._storing is not None:
                    # Whoever waited for it was cancelled, and it goes its way.
                    await asyncio.wait([self._storing])
                async with self._database.reading() as tx:
                    due = await store.due_events(
                        tx, now_ms=self._clock.now_ms(), limit=STEP_EVENTS
                    )
                if not due:
                    break
                await self._store(due)
                n_events += len(due)
        return n_events

    async def _judge_again(self) -> bool:
        """Judge what is held once more where our own clock may have been mended.

        That is at the start, when it was set, and when a jump turned out right.
        What was ahead of a clock that was behind is let go by its time. Returns
        whether the clock can be judged by now.
        """
        before_ms, now_ms = self._judged_ms, self._clock.now_ms()
        if self._watch is not None and not self._watch.is_right():
            self._judged_ms = None
            return False
        self._judged_ms = now_ms
        if before_ms is not None and abs(now_ms - before_ms) <= AHEAD_MS_MAX:
            return True
        earliest_ms, latest_ms = possible_ms(now_ms)
        async with self._database.transaction() as tx:
            await store.judge_again(
                tx, now_ms=now_ms, earliest_ms=earliest_ms, latest_ms=latest_ms
            )
        return True

    async def decide(
        self, wanted: Wanted, *, is_accepted: bool, author: str, reason: str
    ) -> int:
        """Accept or reject what waits; return how many events that were.

        A single event that is named may have been rejected before. What is accepted
        is stored at once, and counted with the next events.

        Raises:
            NoSuchHeldEvent: the event that is named is not held.
            AlreadyCounted: it is counted already.
            EventsArchived: it left the ledger.
        """
        n_events = after = 0
        wanted = await self._checked(wanted)
        while True:
            async with self._changing, self._database.transaction() as tx:
                found = await store.read_held(
                    tx, wanted, after=after, limit=STEP_EVENTS
                )
                for row in found:
                    decision = Decision(
                        event_id=row.event_id,
                        is_accepted=int(is_accepted),
                        decided_ms=self._clock.now_ms(),
                        author=author,
                        reason=reason,
                    )
                    row_id = await store.add_decision(tx, decision)
                    await self._journal.link(tx, "held_decisions", row_id)
            if not found:
                break
            n_events += len(found)
            after = found[-1].event_id
        await self.release()
        return n_events

    async def _checked(self, wanted: Wanted) -> Wanted:
        """Return which events a decision is about.

        Raises:
            NoSuchHeldEvent, AlreadyCounted, EventsArchived: as ``decide``.
        """
        if wanted.event is None:
            return wanted._replace(state="waiting")
        async with self._database.reading() as tx:
            found = await store.read_held(tx, wanted, after=0, limit=1)
            await check_here(tx, wanted.event - 1)
        if not found:
            raise NoSuchHeldEvent(
                f"event {wanted.event} is not held; `meterline held list` has those"
                " that are"
            )
        if found[0].counted_as is not None:
            raise AlreadyCounted(
                f"event {wanted.event} is counted already, as event"
                f" {found[0].counted_as}; what is counted stays counted"
            )
        return wanted

    async def _store(self, due: Sequence[tuple[int, EventRow]]) -> None:
        row = await self._own_row()
        events = [
            event._replace(
                seq=row.last_seq + 1 + i,
                # The name that its sender gave it stays with the one that came.
                flags=event.flags & ~(Flag.HELD | Flag.EXTERNAL | Flag.NAMED)
                | Flag.RELEASED,
            )
            for i, (_, event) in enumerate(due)
        ]

        async def note(tx: Tx, first_id: int) -> None:
            ids = enumerate((event_id for event_id, _ in due), first_id)
            await store.note_counted(tx, list(ids))

        last_seq = events[-1].seq
        piece = Piece(
            Producer(row, next_seq=row.last_seq + 1),
            last_seq,
            last_seq,
            events=events,
            unattributed=sum(event.subject is None for event in events),
            is_bye=True,  # nobody is connected
            when_stored=note,
        )
        self._storing = self._ingest.append(piece)
        # Not awaited itself: who is cancelled here must not cancel the storing.
        await asyncio.wait([self._storing])
        self._storing.result()

    async def _own_row(self) -> ProducerRow:
        """Return the producer that released events are stored under.

        Read each time: how far it is, is known by the ledger alone.
        """
        async with self._database.transaction() as tx:
            return await own_row(
                tx, OWN_PRODUCER, app=OWN_APP, now_ms=self._clock.now_ms()
            )
