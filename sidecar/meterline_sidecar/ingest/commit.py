"""Writes a group of accepted messages in one transaction, with its chain links."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from meterline_sidecar.clock import DAY_MS, Clock
from meterline_sidecar.ingest.decode import APPS_FLAGS
from meterline_sidecar.ingest.names import NOT_LOOKED_UP, Known, Named, Names
from meterline_sidecar.ingest.request_keys import Keyed, RequestKeys
from meterline_sidecar.ingest.watermarks import check_watermarks
from meterline_sidecar.ingest.writer import EventWriter, Written
from meterline_sidecar.ledger.chain import GENESIS, Head, batch_mac
from meterline_sidecar.ledger.verify import check_kept
from meterline_sidecar.store.edge import erase as erasures
from meterline_sidecar.store.edge import events as store
from meterline_sidecar.store.edge.events import (
    BatchRow,
    EventRow,
    LossRow,
    ProducerRow,
)
from meterline_sidecar.store.fence import fence, fenced
from meterline_sidecar.store.port import Database, Tx

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
        packed_from: see ``EventWriter``.
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
        packed_from: int | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._key = key
        self._writer = EventWriter(
            history_of=history_of,
            learn=learn if database.others_write else None,
            packed_from=packed_from,
        )
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
        self._writer.forget_subjects()

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
            self._writer.roll_back()
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
            written: list[Written] = []
            told: list[tuple[WhenStored, int]] = []
            for pieces in by_producer.values():
                await self._judge(tx, pieces, first_id=marks.event_id + 1)
                row = _advanced(pieces, learned_ms)
                before = marks
                marks = await self._write_producer(
                    tx, row, pieces, marks, learned_ms, written
                )
                if marks is not before:
                    told += _to_tell(pieces, before.event_id + 1)
                rows[row.producer] = row
            await self._writer.add(tx, written)
            for when_stored, event_id in told:
                await when_stored(tx, event_id)
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
        written: list[Written],
    ) -> store.Marks:
        """Write all of a producer but its events, which follow for all at once."""
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
        written.append((batch, events))
        await store.add_losses(
            tx, first_id=batch.first_loss_id, producer_id=row.id, losses=losses
        )
        await store.add_batch(tx, batch, mac)
        return store.Marks(
            marks.event_id + len(events), marks.loss_id + len(losses), batch.id, mac
        )


def _to_tell(
    pieces: Sequence[Piece], first_id: int
) -> Iterator[tuple[WhenStored, int]]:
    for piece in pieces:
        if piece.when_stored is not None:
            yield piece.when_stored, first_id
        first_id += len(piece.events)


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
