"""Writes a group of accepted messages in one transaction, with its chain links."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from meterline_sidecar.clock import DAY_MS, HOUR_MS, Clock
from meterline_sidecar.ingest.decode import APPS_FLAGS, HELD, due_ms
from meterline_sidecar.ingest.names import NOT_LOOKED_UP, Known, Named, Names
from meterline_sidecar.ingest.request_keys import Keyed, RequestKeys
from meterline_sidecar.ingest.watermarks import check_watermarks
from meterline_sidecar.ledger.chain import GENESIS, Head, batch_mac
from meterline_sidecar.ledger.verify import check_kept
from meterline_sidecar.store.edge import erase as erasures
from meterline_sidecar.store.edge import events as store
from meterline_sidecar.store.edge import held
from meterline_sidecar.store.edge.events import (
    BatchRow,
    EventRow,
    LossRow,
    ProducerRow,
)
from meterline_sidecar.store.fence import fence, fenced
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.terms import set_owners

NOBODY: Final[dict[str | None, int]] = {None: 0}
"""The id of no subject: an event that nobody can be billed for."""
NAMES_CACHED_MAX: Final = 100_000  # subjects and endpoints; more are looked up again

_time_ms = attrgetter("time_ms")
_subject = attrgetter("subject")
_endpoint = attrgetter("method", "route")


WhenStored = Callable[[Tx, int], Awaitable[None]]
"""Is called in the transaction that stores a piece, with the id of its first event."""


@dataclass(slots=True)
class Producer:
    """A producer that is connected: what is on disk, and what is on its way there."""

    row: ProducerRow
    next_seq: int
    """The number to come next, behind everything that was accepted."""
    n_waiting: int = 0
    """How many of its messages are accepted and not committed."""
    flags_kept: int = APPS_FLAGS
    """Which flags of its events are as they came."""


@dataclass(slots=True)
class Piece:
    """One accepted message, waiting for the next commit."""

    producer: Producer
    last_seq: int
    recorded_seq: int
    events: list[EventRow] = field(default_factory=list[EventRow])
    losses: list[LossRow] = field(default_factory=list[LossRow])
    unattributed: int = 0
    held: int = 0
    bad_quantities: int = 0
    duplicates: int = 0
    n_bytes: int = 0
    """As it came over the wire."""
    accepted_s: float = 0.0
    """When it began to wait, by the event loop's time."""
    is_bye: bool = False
    named: Sequence[Named] = ()
    """The names of events that have one."""
    named_as_of: int = NOT_LOOKED_UP
    """The version of ``Names`` in which all of them were free."""
    keyed: Sequence[Keyed] = ()
    """The keys of requests whose clients gave them one."""
    clashes: dict[int, Known] = field(default_factory=dict[int, Known])
    """Of events that turned out not to count, by their places: the one that does."""
    when_stored: WhenStored | None = None
    """What else must be true as soon as the events are there."""
    fence: int | None = field(default_factory=fence)
    """Under which number of an election it came; see ``store.fence``."""
    done: "asyncio.Future[int]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def n_rows(self) -> int:
        """How much it is to store."""
        return len(self.events) + len(self.losses)


class Committer:
    """Turns accepted messages into rows: all of a group, or nothing.

    Args:
        key: of the chain.
        history_of: who pays for a subject from when on, kept with it.
        learn: takes in what others agreed, before ``history_of`` is asked.
        keys_kept_ms: see ``RequestKeys``.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        key: bytes,
        history_of: Callable[[str], Sequence[tuple[int, str | None]]],
        learn: Callable[[Tx], Awaitable[None]] | None = None,
        keys_kept_ms: int = DAY_MS,
    ) -> None:
        self._database = database
        self._clock = clock
        self._key = key
        self._history_of = history_of
        self._learn = learn
        self._subjects: dict[str | None, int] = dict(NOBODY)
        self._endpoints: dict[tuple[str, str], int] = {}
        self._marks: store.Marks | None = None
        self._head: Head | None = None  # the newest that surely was committed
        self._erasure_id = 0
        self.names = Names(key=key, others_write=database.others_write)
        self.keys = RequestKeys(key=key, kept_ms=keys_kept_ms)

    async def start(self) -> None:
        """Read where the ledger ends."""
        async with self._database.reading() as tx:
            self._marks = await store.marks(tx)
            await self.names.start(tx)

    def forget_subjects(self) -> None:
        """Ask the ledger anew who is who: a subject has another name by now."""
        self._subjects = dict(NOBODY)

    async def write(self, group: list[Piece]) -> Head | None:
        """Commit a group, advance its producers, and return the chain's head.

        Raises:
            DiskFull, DiskFailed, DatabaseCorrupt: nothing was kept, and the
                producers stand where they stood.
        """
        try:
            return await self._write(group)
        except BaseException:
            # The transaction may have added names: their ids are no longer true. Or
            # it was cancelled during COMMIT, which went through all the same.
            self._subjects = dict(NOBODY)
            self._endpoints.clear()
            self._marks = None
            self.names.end(is_committed=False)
            self.keys.roll_back()
            raise

    async def _write(self, group: list[Piece]) -> Head | None:
        learned_ms = self._clock.now_ms()
        by_producer: dict[int, list[Piece]] = {}
        for piece in group:
            by_producer.setdefault(piece.producer.row.id, []).append(piece)
        rows: dict[str, ProducerRow] = {}

        async def work(tx: Tx) -> store.Marks:
            if self._database.others_write:
                await self._look_again(tx, group)
            marks = self._marks or await store.marks(tx)
            for pieces in by_producer.values():
                await self._judge(tx, pieces, first_id=marks.event_id + 1)
                row = _advanced(pieces, learned_ms)
                marks = await self._write_producer(tx, row, pieces, marks, learned_ms)
                rows[row.producer] = row
            return marks

        # Of several elections the newest: with another, nothing is kept, and sent again.
        number = max(
            (one.fence for one in group if one.fence is not None), default=None
        )
        with fenced(number):
            self._marks = marks = await self._database.write(work)
        self.names.end(is_committed=True)
        for pieces in by_producer.values():
            state = pieces[0].producer
            state.row = rows[state.row.producer]
        if marks.mac is not None:
            self._head = Head(marks.batch_id, marks.mac)
        return self._head

    async def _look_again(self, tx: Tx, group: list[Piece]) -> None:
        """See what others have written since.

        Raises:
            SentElsewhere, LedgerWentBack: nothing of this group is kept.
        """
        self._marks = None
        await check_kept(tx, self._head)
        erasure_id = await erasures.newest_id(tx)
        if erasure_id != self._erasure_id:
            self.forget_subjects()
            self._erasure_id = erasure_id
        await check_watermarks(tx, [piece.producer.row for piece in group])

    async def _judge(self, tx: Tx, pieces: list[Piece], *, first_id: int) -> None:
        """Find out which events of those that have names count; few have any."""
        for piece in pieces:
            if piece.named:
                judged = await self.names.judge(
                    tx,
                    piece.events,
                    piece.named,
                    first_id=first_id,
                    as_of=piece.named_as_of,
                )
                piece.events, piece.clashes = judged.events, judged.clashes
                piece.held -= judged.n_held
                piece.bad_quantities += judged.n_nameless
                piece.duplicates += len(judged.clashes)
            if piece.keyed:
                piece.duplicates += await self.keys.judge(
                    tx,
                    piece.events,
                    piece.keyed,
                    first_id=first_id,
                    now_ms=self._clock.now_ms(),
                )
            first_id += len(piece.events)

    async def _write_producer(
        self,
        tx: Tx,
        row: ProducerRow,
        pieces: list[Piece],
        marks: store.Marks,
        learned_ms: int,
    ) -> store.Marks:
        events = [event for piece in pieces for event in piece.events]
        losses = [loss for piece in pieces for loss in piece.losses]
        await store.update_producer(tx, row)
        if not events and not losses:
            return marks
        batch = BatchRow(
            id=marks.batch_id + 1,
            producer_id=row.id,
            first_seq=pieces[0].producer.row.last_seq + 1,
            last_seq=row.last_seq,
            first_event_id=marks.event_id + 1,
            events=len(events),
            first_loss_id=marks.loss_id + 1,
            losses=len(losses),
            learned_ms=learned_ms,
        )
        mac = batch_mac(
            self._key,
            marks.mac or GENESIS,
            batch=batch,
            producer=row.producer,
            events=events,
            losses=losses,
        )
        await self._add_events(tx, batch, events)
        await self._add_held(tx, batch, pieces)
        event_id = batch.first_event_id
        for piece in pieces:
            if piece.when_stored is not None:
                await piece.when_stored(tx, event_id)
            event_id += len(piece.events)
        await store.add_losses(
            tx, first_id=batch.first_loss_id, producer_id=row.id, losses=losses
        )
        await store.add_batch(tx, batch, mac)
        return store.Marks(
            marks.event_id + len(events), marks.loss_id + len(losses), batch.id, mac
        )

    async def _add_events(
        self, tx: Tx, batch: BatchRow, events: list[EventRow]
    ) -> None:
        if not events:
            return
        first_id = batch.first_event_id
        try:
            rows = self._stored(batch, events)
        except KeyError:  # few have a name that is new
            await self._intern(tx, events)
            rows = self._stored(batch, events)
        await store.add_events(tx, rows)
        last_id = first_id + len(events) - 1
        hours = sorted({at_ms // HOUR_MS for at_ms in set(map(_time_ms, events))})
        await store.note_hours(
            tx, ((hour * HOUR_MS, first_id, last_id) for hour in hours)
        )

    def _stored(
        self, batch: BatchRow, events: list[EventRow]
    ) -> list[tuple[int | str | None, ...]]:
        """Return events as rows in the order of ``StoredEvent``.

        They are unpacked into plain tuples, in half the time that fields by name
        take: this is done for every event. The chain covers each field, so that a
        value in another one's place is found by every verification.

        Raises:
            KeyError: one has a name whose id is not known here.
        """
        producer_id = batch.producer_id
        subjects, endpoints = self._subjects, self._endpoints
        # fmt: off
        return [
            (event_id, producer_id, seq, time_ms, kind, subjects[subject],
             endpoints[method, route], status, took_us, n_in, n_out, flags, quantities,
             properties)
            for event_id, (
                seq, time_ms, kind, subject, method, route, status, took_us,
                n_in, n_out, flags, quantities, properties,
            ) in enumerate(events, batch.first_event_id)
        ]
        # fmt: on

    async def _add_held(self, tx: Tx, batch: BatchRow, pieces: list[Piece]) -> None:
        """Note the events that are not counted for now, so that they can be found."""
        if not any(piece.held for piece in pieces):
            return
        events = [event for piece in pieces for event in piece.events]
        await held.add_held(
            tx,
            [
                held.NewHeld(
                    event_id,
                    batch.producer_id,
                    self._subjects[event.subject],
                    event.time_ms,
                    batch.learned_ms,
                    due_ms(event.time_ms, batch.learned_ms),
                )
                for event_id, event in enumerate(events, batch.first_event_id)
                if event.flags & HELD
            ],
        )

    async def _intern(self, tx: Tx, events: list[EventRow]) -> None:
        """Learn the ids of the names of events, within this transaction."""
        if len(self._subjects) > NAMES_CACHED_MAX:
            self._subjects = dict(NOBODY)
        if len(self._endpoints) > NAMES_CACHED_MAX:
            self._endpoints.clear()
        names = set(map(_subject, events)) - self._subjects.keys()
        endpoints = set(map(_endpoint, events)) - self._endpoints.keys()
        if names:
            texts = [name for name in names if name is not None]
            self._subjects.update(await self._intern_subjects(tx, texts))
        if endpoints:
            found = await store.intern_endpoints(tx, list(endpoints))
            self._endpoints.update(found)

    async def _intern_subjects(self, tx: Tx, names: list[str]) -> dict[str, int]:
        known = await store.subjects_of(tx, names)
        if self._learn is not None and self._database.others_write:
            await self._learn(tx)
        histories = {n: self._history_of(n) for n in names if n not in known}
        if not histories:
            return known
        # Who pays last stands beside the subject: nearly always that is everybody.
        added = await store.add_subjects(
            tx, [(name, history[-1][1]) for name, history in histories.items()]
        )
        split = {added[n]: of for n, of in histories.items() if len(of) > 1}
        if split:
            await set_owners(tx, split)
        return known | added


def _advanced(pieces: list[Piece], learned_ms: int) -> ProducerRow:
    """Return the producer's row as it stands behind these pieces."""
    counts: Counter[str] = Counter()
    for piece in pieces:
        counts["duplicates"] += piece.duplicates
        counts["ingested"] += len(piece.events)
        counts["unattributed"] += piece.unattributed
        counts["held"] += piece.held
        counts["bad_quantities"] += piece.bad_quantities
        for loss in piece.losses:
            kind = "lost" if loss.payload is None else "refused"
            counts[kind] += loss.last_seq - loss.first_seq + 1
    row = pieces[0].producer.row
    last_seq = pieces[-1].last_seq
    reported = max(piece.recorded_seq for piece in pieces)
    return row._replace(
        recorded_seq=max(row.recorded_seq, reported, last_seq),
        last_seq=last_seq,
        ingested=row.ingested + counts["ingested"],
        refused=row.refused + counts["refused"],
        lost=row.lost + counts["lost"],
        duplicates=row.duplicates + counts["duplicates"],
        unattributed=row.unattributed + counts["unattributed"],
        held=row.held + counts["held"],
        bad_quantities=row.bad_quantities + counts["bad_quantities"],
        seen_ms=learned_ms,
        is_closed=int(pieces[-1].is_bye),
    )
