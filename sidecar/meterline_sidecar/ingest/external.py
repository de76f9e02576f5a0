"""Takes events that came over HTTP: each has a name of its sender's, and counts once.

A name is a source and an id in it, unique for ever. Under a name that is stored, the same
event is a duplicate, and any other a conflict, which changes nothing. Events take the way
of all others: through the group commit and into the chain, as a producer of the ledger's
own whose numbers nobody sends. Their names are stored in the same transaction.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import count
from typing import Final, Literal, NamedTuple

import msgspec

from meterline.usage_event import UsageEvent
from meterline_sidecar.clock import Clock, JumpWatch
from meterline_sidecar.errors import MeterlineError, RetryLater
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.commit import Piece, Producer
from meterline_sidecar.ingest.decode import EVER, HELD, NEVER, possible_ms, to_row
from meterline_sidecar.ingest.names import SOURCES_MAX, Known, Name, Named
from meterline_sidecar.ingest.own_producer import own_row
from meterline_sidecar.ledger.external import EXTERNAL, name_mac
from meterline_sidecar.store.edge import external as store
from meterline_sidecar.store.edge.events import EventRow
from meterline_sidecar.store.port import Database, Tx

STORE_TIMEOUT_S: Final = 30.0  # a commit takes milliseconds; then something is wrong
OWN_APP: Final = "external events"
OWN_PRODUCER: Final = "external_producer"
"""The fact that says under which id these events are stored."""

Verdict = Literal["accepted", "duplicate", "conflict", "refused"]


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that came."""

    name: Name
    row: EventRow
    """Without its number, and not judged yet."""
    is_timed: bool
    mac: bytes


class Taken(msgspec.Struct, frozen=True, gc=False):
    """What became of an event."""

    verdict: Verdict
    event_id: int | None = None
    """The event that has this name in the ledger."""
    is_held: bool = False
    """Whether it is accepted and not counted: its time cannot be right."""
    reason: str | None = None
    field: str | None = None
    """Which field of the event the reason is about."""


WhenStored = Callable[[Tx, int], Awaitable[None]]
"""Is called in the transaction that stores events, with how many of them count."""


class Together(NamedTuple):
    """What is known of events that are taken at once."""

    n_bytes: int
    """How long they were as they came."""
    is_backfill: bool = False
    """Whether somebody brings what happened at any time, on purpose."""
    when_stored: WhenStored | None = None


_Outcome = asyncio.Future[dict[Name, Known] | RetryLater]
"""What is stored under the names that one request is the first to bring."""


class External:
    """Stores events under the names that their senders gave them.

    Args:
        ingest: commits them.
        watch: says whether events can be judged by the clock.
        key: of the ledger's chain.
    """

    def __init__(
        self,
        database: Database,
        ingest: Ingest,
        *,
        clock: Clock,
        watch: JumpWatch | None,
        key: bytes,
    ) -> None:
        self._database = database
        self._ingest = ingest
        self._clock = clock
        self._watch = watch
        self._key = key
        self._starting = asyncio.Lock()
        self._producer: Producer | None = None
        self.names = ingest.names
        self._arriving: dict[Name, _Outcome] = {}
        """Names that are looked up or on their way to the disk: nobody else stores them."""
        self.verdicts: Counter[Verdict] = Counter()
        """How many events got each since the start."""

    def prepare(self, name: Name, event: UsageEvent, *, is_timed: bool) -> NewEvent:
        """Return an event as it is stored; safe in any thread.

        Args:
            is_timed: whether the sender said when it happened.

        Raises:
            UnicodeEncodeError: a text holds half of a surrogate pair.
        """
        row = to_row(0, event, EVER)
        mac = name_mac(
            self._key,
            source=name.source,
            external_id=name.external_id,
            is_timed=is_timed,
            event=row,
        )
        return NewEvent(name, row, is_timed, mac)

    async def take(
        self,
        events: Sequence[NewEvent],
        *,
        n_bytes: int,
        is_backfill: bool = False,
        when_stored: WhenStored | None = None,
    ) -> list[Taken]:
        """Store what is new, and return for each event what became of it.

        It returns once that is on disk, for ever.

        Args:
            n_bytes: how long they were as they came.
            is_backfill: whether any time that is past can be right.
            when_stored: what else must be true as soon as new ones are there; where
                none is new, it is not called.

        Raises:
            RetryLater: not all is stored; whoever sends it again counts nothing twice.
            DiskFailed, DatabaseCorrupt: the ledger cannot be read.
        """
        if not self._ingest.has_room:
            raise RetryLater("too much waits to be stored; send it again", after_s=1)
        producer = self._producer or await self._start()
        # Once for each source: a request has few, and as many events as it likes.
        full = {
            source
            for source in dict.fromkeys(event.name.source for event in events)
            if not self.names.admits(source)
        }
        mine: dict[Name, NewEvent] = {}
        for event in events:
            if event.name.source not in full:
                mine.setdefault(event.name, event)
        others = {
            name: self._arriving[name] for name in mine.keys() & self._arriving.keys()
        }
        for name in others:
            del mine[name]
        outcome: _Outcome = asyncio.get_running_loop().create_future()
        self._arriving |= dict.fromkeys(mine, outcome)
        together = Together(n_bytes, is_backfill, when_stored)
        stored = await self._store_new(producer, mine, outcome, together)
        known = await _settled({outcome, *others.values()})
        taken = [
            TOO_MANY_SOURCES
            if event.name.source in full
            else _judged(
                event, known[event.name], is_new=stored.get(event.name) is event
            )
            for event in events
        ]
        await self._note(taken)
        return taken

    def refuse(self, n_events: int) -> None:
        """Count events that nobody can take as they are."""
        self.verdicts["refused"] += n_events

    async def _note(self, taken: Sequence[Taken]) -> None:
        conflicts = [
            one.event_id
            for one in taken
            if one.verdict == "conflict" and one.event_id is not None
        ]
        if conflicts:
            async with self._database.transaction() as tx:
                await store.note_conflicts(tx, conflicts)
        self.verdicts.update(one.verdict for one in taken)

    async def _store_new(
        self,
        producer: Producer,
        mine: dict[Name, NewEvent],
        outcome: _Outcome,
        together: Together,
    ) -> dict[Name, NewEvent]:
        """Begin to store those events whose names are free; return them."""

        def tell(found: "dict[Name, Known] | RetryLater") -> None:
            for name in mine:
                del self._arriving[name]
            outcome.set_result(found)

        if not mine:
            tell({})
            return {}
        try:
            as_of = self.names.version
            # Nothing is stored of a source without an id: whatever is on its way is
            # waited for by its name.
            known = await self._database.read(partial(self.names.find, names=mine))
            new = {name: event for name, event in mine.items() if name not in known}
            if new:
                self._store(
                    producer,
                    list(new.values()),
                    known,
                    tell,
                    together=together,
                    as_of=as_of,
                )
        except BaseException:
            tell(RetryLater("this event is not stored yet; send it again", after_s=1))
            raise
        if not new:
            tell(known)
        return new

    def _store(
        self,
        producer: Producer,
        new: Sequence[NewEvent],
        known: dict[Name, Known],
        tell: "Callable[[dict[Name, Known] | RetryLater], None]",
        *,
        together: Together,
        as_of: int,
    ) -> None:
        """Put events behind those that wait for the next commit, and tell of it then.

        Whoever waits for them may be cancelled; they are stored all the same, and their
        names stay taken until they are.
        """
        rows = self._rows(producer, new, is_backfill=together.is_backfill)
        first_ids: list[int] = []

        async def note(tx: Tx, first_id: int) -> None:
            first_ids.append(first_id)
            if together.when_stored is not None:
                await together.when_stored(tx, len(new) - len(piece.clashes))

        def committed(done: "asyncio.Future[int]") -> None:
            error = done.exception()
            if error is not None:
                tell(_later(error))
                return
            stored = {
                event.name: Known(event_id, event.mac, row.flags & HELD != 0)
                for event_id, event, row in zip(count(first_ids[-1]), new, rows)
            }
            clashes = {new[i].name: before for i, before in piece.clashes.items()}
            tell(known | stored | clashes)

        last_seq = rows[-1].seq
        piece = Piece(
            producer,
            last_seq,
            last_seq,
            events=rows,
            unattributed=sum(row.subject is None for row in rows),
            held=sum(row.flags & HELD != 0 for row in rows),
            n_bytes=together.n_bytes,
            is_bye=True,  # nobody is connected
            named=[
                Named(i, event.name, event.is_timed, event.mac)
                for i, event in enumerate(new)
            ],
            named_as_of=as_of,
            when_stored=note,
        )
        try:
            done = self._ingest.append(piece)
        except MeterlineError as error:
            raise _later(error) from error
        done.add_done_callback(committed)

    def _rows(
        self, producer: Producer, new: Sequence[NewEvent], *, is_backfill: bool
    ) -> list[EventRow]:
        """Return events with their numbers, as they are judged by now."""
        is_right = self._watch is None or self._watch.is_right()
        earliest, latest = possible_ms(self._clock.now_ms()) if is_right else NEVER
        if is_backfill and is_right:
            earliest = 0
        # Unpacked: this is done for every event.
        # fmt: off
        return [
            EventRow(
                seq, time_ms, kind, subject, method, route, status, took_us, n_in, n_out,
                EXTERNAL if earliest <= time_ms <= latest else EXTERNAL | HELD,
                quantities, properties,
            )
            for seq, (
                _, time_ms, kind, subject, method, route, status, took_us, n_in, n_out,
                _, quantities, properties,
            ) in enumerate((event.row for event in new), producer.next_seq)
        ]
        # fmt: on

    async def _start(self) -> Producer:
        """Return the producer that these events are stored under.

        It is read once: nothing but this changes it from then on. Where others write it
        is one of this process's own, as each worker has one.
        """
        async with self._starting:
            if self._producer is None:
                async with self._database.transaction() as tx:
                    row = await own_row(
                        tx,
                        None if self._database.others_write else OWN_PRODUCER,
                        app=OWN_APP,
                        now_ms=self._clock.now_ms(),
                    )
                self._producer = Producer(row, next_seq=row.last_seq + 1)
            return self._producer


TOO_MANY_SOURCES: Final = Taken(
    "refused",
    reason=f"there are {SOURCES_MAX:,} sources; use one of those that there are",
    field="source",
)


def _judged(event: NewEvent, known: Known, *, is_new: bool) -> Taken:
    if is_new and not known.is_older:
        return Taken("accepted", known.event_id, is_held=known.is_held)
    if known.mac == event.mac:
        return Taken("duplicate", known.event_id)
    return Taken(
        "conflict",
        known.event_id,
        reason=f"event {known.event_id} has this id but different content; it stays,"
        " and this one is not stored",
        field="id",
    )


async def _settled(waited: set[_Outcome]) -> dict[Name, Known]:
    """Wait until it is known what is stored under the names of each; return it.

    Raises:
        RetryLater: of one it is not known.
    """
    # Not awaited themselves: who is cancelled here must not cancel them.
    _, late = await asyncio.wait(waited, timeout=STORE_TIMEOUT_S)
    if late:
        raise RetryLater(
            f"not stored within {STORE_TIMEOUT_S:.0f} s; send it again", after_s=5
        )
    known: dict[Name, Known] = {}
    for outcome in waited:
        found = outcome.result()
        if isinstance(found, RetryLater):
            raise RetryLater(str(found), after_s=found.after_s)
        known |= found
    return known


def _later(error: BaseException) -> RetryLater:
    """Return why something is not stored; sent again, it may be."""
    if isinstance(error, RetryLater):
        return error
    return RetryLater(f"{error}; send it again", after_s=5)
