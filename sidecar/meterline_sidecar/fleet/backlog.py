"""What of an edge's ledger the centre does not have: batches in order, as frames.

Batches lie in the order in which they were committed, each of one producer. A slice is
a run of them, of which each producer's follow each other in frames as large as can be:
many small commits of one second are a few frames.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from meterline.edge_wire import Ahead
from meterline.wire import (
    FRAME_BYTES_MAX,
    RECORD_BYTES_MAX,
    VERSION,
    Batch,
    Hello,
    Lost,
)
from meterline_sidecar.errors import EventsArchived, MeterlineError
from meterline_sidecar.fleet.forgotten import n_lost
from meterline_sidecar.fleet.records import record_of, record_of_refused
from meterline_sidecar.ledger.bundle import Bundle, Stored
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store import facts
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge import forward as store
from meterline_sidecar.store.edge import held
from meterline_sidecar.store.edge.archive import file_of_batch
from meterline_sidecar.store.edge.events import BatchRow, LossRow, ProducerRow
from meterline_sidecar.store.edge.forward import NamedEvent
from meterline_sidecar.store.edge.roll_ups import list_epochs
from meterline_sidecar.store.port import Tx

BATCHES_MAX: Final = 256  # of one slice
EVENTS_MAX: Final = 4_000  # likewise: some 20 ms of reading and encoding
FRAME_BYTES: Final = 192 << 10  # a frame is full from here on; its limit is 1 MiB
FRAME_RECORDS: Final = 4_000
WHOLE_BYTES: Final = FRAME_BYTES_MAX - 1_000
WHOLE_EVENTS: Final = 10_000
"""What was rolled up at once is one frame up to here, so that the centre has all of it or
nothing: with the last of it comes what all of it covers."""
OWN_PRODUCERS: Final = ("held_producer", "external_producer")
"""Facts that name producers of the ledger's own: the centre has its own for these."""
ENDED_MAX: Final = 200

Frame = Hello | Batch | Lost


class Place(NamedTuple):
    """How far a ledger was read: up to a batch, and into the next one."""

    batch: int
    n_events: int = 0
    """Of the next one: a large batch is read in parts."""
    seq: int = 0
    """The number of the last of these."""


class Slice(NamedTuple):
    """A run of batches as frames, and where the next one begins."""

    ahead: Ahead | None
    """Up to which batch there is something in it; ``None`` where it is empty."""
    frames: list[Frame]
    end: Place
    is_all: bool
    """Whether nothing was behind it."""
    reached: dict[int, int]
    """By the id of each producer in it: up to which number of it that goes."""


async def read_slice(
    tx: Tx, place: Place, *, is_rolled_up: bool = False, away: Bundle | None = None
) -> Slice:
    """Return what is behind a place; no frames where there is nothing to send.

    Args:
        is_rolled_up: only what events were rolled up into, and not these themselves.
        away: the file with what comes next, where that left the ledger.

    Raises:
        EventsArchived: without ``away``, where it did.
        MeterlineError: events are missing in the ledger: nothing behind them is sent.
    """
    own = await own_producers(tx)
    epochs = {epoch.producer for epoch in await list_epochs(tx)}
    stored = await _stored_behind(tx, place.batch, away)
    if away is None:
        rows = await event_store.batches_after(tx, place.batch, limit=BATCHES_MAX)
        if rows and rows[0][0].id != place.batch + 1:
            raise EventsArchived(f"batch {place.batch + 1} left the ledger")
    else:
        rows = [(one.batch, one.producer, one.mac) for one in stored.values()]
    producers = await store.producers_of(
        tx, sorted({batch.producer_id for batch, _, _ in rows})
    )
    making: dict[int, _Making] = {}
    n_left, end, ahead = EVENTS_MAX, place, None
    for batch, producer, mac in rows:
        if n_left <= 0:
            break
        if batch.id != end.batch + 1:
            raise MeterlineError(
                f"batch {end.batch + 1} is missing in this ledger: run `meterline"
                " verify`; nothing after it is forwarded"
            )
        if producer in epochs if is_rolled_up else producer not in own:
            ahead = Ahead(batch.id, mac)
            one = making.setdefault(
                batch.producer_id, _Making(producers[batch.producer_id])
            )
            most = max(n_left, WHOLE_EVENTS) if is_rolled_up else n_left
            n_events = await _read_batch(
                *(tx, one, batch, end),
                limit=most,
                is_rolled_up=is_rolled_up,
                stored=stored.get(batch.id),
            )
            n_left -= n_events + 1
            if end.n_events + n_events < batch.events:
                end = Place(end.batch, end.n_events + n_events, one.last_seq)
                break
        end = Place(batch.id)
    frames = [frame for one in making.values() for frame in one.frames()]
    is_all = not rows or (len(rows) < BATCHES_MAX and end.batch == rows[-1][0].id)
    is_all = is_all and away is None  # The newest batch never leaves.
    reached = {producer_id: one.reached for producer_id, one in making.items()}
    return Slice(ahead, frames, end, is_all, reached)


async def _stored_behind(
    tx: Tx, batch_id: int, away: Bundle | None
) -> dict[int, Stored]:
    """Return the next batches of a file, with the numbers that producers have here."""
    behind = [] if away is None else [b for b in away.batches if b.batch.id > batch_id]
    ids: dict[str, int] = {}
    found: dict[int, Stored] = {}
    for one in behind[:BATCHES_MAX]:
        if one.producer not in ids:
            row = await event_store.find_producer(tx, one.producer)
            if row is None:
                raise MeterlineError(
                    f"producer {one.producer} is not in this ledger any more: run"
                    " `meterline verify`"
                )
            ids[one.producer] = row.id
        batch = one.batch._replace(producer_id=ids[one.producer])
        found[batch.id] = one._replace(batch=batch)
    return found


async def own_producers(tx: Tx) -> set[str | None]:
    """Return the producers whose events this ledger has made of others."""
    return {await facts.get_fact(tx, fact) for fact in OWN_PRODUCERS}


async def own_and_epochs(tx: Tx) -> set[str]:
    """Return the same, and those of what it has rolled up."""
    own = {name for name in await own_producers(tx) if name is not None}
    return own | {epoch.producer for epoch in await list_epochs(tx)}


async def _read_batch(
    tx: Tx,
    making: "_Making",
    batch: BatchRow,
    place: Place,
    *,
    limit: int,
    is_rolled_up: bool,
    stored: Stored | None,
) -> int:
    """Add a batch, or the next part of it; return how many events that were."""
    n_events = min(limit, batch.events - place.n_events)
    first = batch.first_event_id + place.n_events
    if stored is None:
        events = await store.events_to_send(tx, batch, first=first, limit=n_events)
    else:
        some = stored.events[place.n_events :][:n_events]
        names = await store.names_between(tx, first, first + n_events - 1)
        events = [
            NamedEvent(event, *names.get(event_id, (None, None)))
            for event_id, event in enumerate(some, first)
        ]
    if len(events) < n_events:
        raise MeterlineError(
            f"events of batch {batch.id} are missing in this ledger: run `meterline"
            " verify`; nothing after them is forwarded"
        )
    is_whole = place.n_events + n_events == batch.events
    last_seq = batch.last_seq if is_whole else events[-1].event.seq
    losses: list[LossRow] = []
    if batch.losses:
        of_batch = (
            await event_store.losses_of_batch(tx, batch)
            if stored is None
            else stored.losses
        )
        losses = [loss for loss in of_batch if place.seq < loss.first_seq <= last_seq]
    if not (is_rolled_up and is_whole and making.add_whole(events)):
        making.add(events, losses)
    making.reached = last_seq
    return n_events


class _Making:
    """The frames of one producer, as its events and losses come."""

    def __init__(self, producer: ProducerRow) -> None:
        self._producer = producer
        self._done: list[Frame] = []
        self._records = bytearray()
        self._n_records = 0
        self._first_seq = 0
        self.last_seq = self.reached = 0
        """The number of the last event that was added, and of all that was."""

    def add(self, events: list[store.NamedEvent], losses: list[LossRow]) -> None:
        """Add events and losses that follow each other, by their numbers."""
        waiting = iter(losses)
        loss = next(waiting, None)
        for event in events:
            while loss is not None and loss.first_seq < event.event.seq:
                self._add_loss(loss)
                loss = next(waiting, None)
            self._add_record(event.event.seq, record_of(event))
        while loss is not None:
            self._add_loss(loss)
            loss = next(waiting, None)

    def add_whole(self, events: list[store.NamedEvent]) -> bool:
        """Add events so that they are in one frame; return whether there is room in any."""
        records = [record_of(event) for event in events]
        n_bytes = sum(map(len, records))
        if not records or n_bytes > WHOLE_BYTES:
            return False
        if len(self._records) + n_bytes > FRAME_BYTES:
            self._flush()
        if not self._n_records:
            self._first_seq = events[0].event.seq
        self._records += b"".join(records)
        self._n_records += len(records)
        self.last_seq = events[-1].event.seq
        return True

    def _add_loss(self, loss: LossRow) -> None:
        if loss.payload is not None and 0 < len(loss.payload) <= RECORD_BYTES_MAX:
            self._add_record(loss.first_seq, record_of_refused(loss))
            return
        self._flush()
        self._done.append(Lost(loss.first_seq, loss.last_seq, loss.reason))

    def _add_record(self, seq: int, record: bytes) -> None:
        if not self._n_records:
            self._first_seq = seq
        self._records += record
        self._n_records += 1
        self.last_seq = seq
        if len(self._records) >= FRAME_BYTES or self._n_records >= FRAME_RECORDS:
            self._flush()

    def _flush(self) -> None:
        if self._n_records:
            self._done.append(
                Batch(
                    self._first_seq, self._producer.recorded_seq, bytes(self._records)
                )
            )
        self._records, self._n_records = bytearray(), 0

    def frames(self) -> Iterator[Frame]:
        """Yield the producer's hello and everything of it."""
        self._flush()
        if self._done:
            yield hello_of(self._producer)
            yield from self._done


def hello_of(row: ProducerRow) -> Hello:
    """Return what a producer says of itself, as it is known here."""
    return Hello(
        VERSION,
        row.producer,
        row.app,
        row.host,
        row.pid,
        row.started_ms,
        row.recorded_seq,
        row.spool,
    )


async def read_ended(tx: Tx, *, seen_from_ms: int, after: int) -> list[ProducerRow]:
    """Return producers behind one that said goodbye at a time or later."""
    own = await own_producers(tx)
    rows = await store.closed_producers(
        tx, seen_from_ms=seen_from_ms, after=after, limit=ENDED_MAX
    )
    return [row for row in rows if row.producer not in own]


class Standing(NamedTuple):
    """How an edge's ledger stands behind a place."""

    last_batch: int
    head: bytes
    """Its mac; empty before the first."""
    first_hour_ms: int | None
    """The earliest hour of which there may be events behind it."""
    unfinished: list[ProducerRow]
    """Producers that recorded more than is here."""
    lost: int
    """How many events were lost or refused, ever, and count nowhere."""
    held: int
    """How many wait for a decision about their time."""

    def unfinished_in_words(self) -> Iterator[str]:
        """Yield how much is missing of what producers recorded, if anything is."""
        if self.unfinished:
            n_events = sum(row.recorded_seq - row.last_seq for row in self.unfinished)
            workers = n_of(len(self.unfinished), "worker")
            yield f"{n_of(n_events, 'event')} of {workers} not here yet"


async def read_standing(
    tx: Tx, batch_id: int, *, rolled_up_to: int | None = None
) -> Standing:
    """Return how the ledger stands, of which all up to a batch was acked.

    Args:
        rolled_up_to: up to which event all is in what was acked; by default that is
            the last one of the batch.
    """
    newest = await event_store.marks(tx)
    hour_ms = None
    if rolled_up_to is not None:
        hour_ms = await store.first_hour_behind(tx, rolled_up_to)
    elif newest.batch_id > batch_id:
        move = await file_of_batch(tx, batch_id + 1)
        if move is None:
            behind = await event_store.batches_after(tx, batch_id, limit=1)
            first = behind[0][0].first_event_id if behind else 1
        else:
            first = move.first_event_id
        hour_ms = await store.first_hour_behind(tx, first - 1)
    return Standing(
        newest.batch_id,
        newest.mac or b"",
        hour_ms,
        await store.unfinished_producers(tx),
        await n_lost(tx),
        (await held.sum_held(tx, held.Wanted(state="waiting"))).events,
    )
