"""Takes what producers send and commits it, many batches with one fsync.

The one rule: a producer's numbers are taken in order, without a hole, once. What is
on disk is known by one watermark a producer (``last_seq``), so a resend needs no
memory of single events, after a second or after a year.
"""

import asyncio
from typing import Final

from meterline.wire import (
    Batch,
    Bye,
    Hello,
    Lost,
    WireError,
)
from meterline_sidecar.clock import Clock, JumpWatch
from meterline_sidecar.errors import MeterlineError, RetryLater, SequenceGap
from meterline_sidecar.ingest.commit import Committer, Piece, Producer, WhenStored
from meterline_sidecar.ingest.company import COMPANY_S, Company, is_urgent
from meterline_sidecar.ingest.decode import APPS_FLAGS, read_records
from meterline_sidecar.ingest.left_out import LeftOut
from meterline_sidecar.ingest.names import Names
from meterline_sidecar.ingest.producer_row import new_row
from meterline_sidecar.ingest.request_keys import RequestKeys
from meterline_sidecar.ingest.storing import Storing
from meterline_sidecar.ledger.chain import ChainFiles, Head
from meterline_sidecar.store.edge import events as store
from meterline_sidecar.store.edge.events import LossRow, ProducerRow
from meterline_sidecar.store.port import Database

GROUP_ROWS_MAX: Final = 50_000  # one transaction; about half a second of writing
GROUP_BYTES_MAX: Final = 16 << 20  # likewise, where the events are large
PENDING_ROWS_MAX: Final = 200_000  # decoded and not yet committed, about 100 MB
PENDING_BYTES_MAX: Final = 64 << 20  # likewise, as they came; decoded twice as much


class Ingest:
    """Accepts messages of producers and commits them in groups.

    Args:
        watch: says whether events can be judged by the clock.
        company_s: how long what came may wait for more to share its commit.
    """

    def __init__(
        self,
        database: Database,
        committer: Committer,
        *,
        clock: Clock,
        chain: ChainFiles,
        watch: JumpWatch | None = None,
        company_s: float = COMPANY_S,
    ) -> None:
        self._company = Company(company_s)
        self._watch = watch
        self._database = database
        self._committer = committer
        self._clock = clock
        self._chain = chain
        self._producers: dict[str, Producer] = {}
        self._pending: list[Piece] = []
        self._committing: list[Piece] = []
        self._pending_rows = self._pending_bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.is_running = False
        """Whether somebody commits what is accepted."""
        self._is_over = False
        self.n_commits = 0
        """How many groups are on disk since the start: whether anything came meanwhile."""
        self.left_out = LeftOut()
        self.storing = Storing()
        self.head_trouble: str | None = None
        """Why the chain's head is behind, in words: a lost tail might go unnoticed."""

    # --- what the receiver calls

    async def hello(self, hello: Hello, *, flags_kept: int = APPS_FLAGS) -> Producer:
        """Return the producer as it stands: ``row.last_seq`` is on disk.

        It replaces whoever spoke for this producer before, who is refused from now
        on. Waits for what an earlier connection of the same producer left on its way.

        Args:
            hello: who it is.
            flags_kept: see ``Producer``.

        Raises:
            DiskFull, DiskFailed, DatabaseCorrupt: it cannot be noted.
        """
        await self._settle(hello.producer)
        try:
            row = await self._introduce(hello)
        except RetryLater as error:
            self.storing.failed(error)
            raise
        if row.recorded_seq == row.last_seq:
            self.storing.succeeded()  # else its events come at once, and tell more
        producer = Producer(row, next_seq=row.last_seq + 1, flags_kept=flags_kept)
        self._producers[hello.producer] = producer
        return producer

    def forget_subjects(self) -> None:
        """Ask the ledger anew who is who: a subject has another name by now."""
        self._committer.forget_subjects()

    @property
    def names(self) -> Names:
        """The names of events, as they are stored."""
        return self._committer.names

    @property
    def keys(self) -> RequestKeys:
        """The keys of requests, for as long as they are kept."""
        return self._committer.keys

    def is_here(self, producer: str) -> bool:
        """Say whether somebody speaks for a producer now."""
        return producer in self._producers

    @property
    def pending_rows(self) -> int:
        """How many events and losses are in memory, accepted and not committed."""
        return self._pending_rows

    @property
    def waiting_s(self) -> float:
        """How long the oldest of what was accepted has been waiting for its commit."""
        oldest = next(iter(self._committing or self._pending), None)
        if oldest is None:
            return 0.0
        return asyncio.get_running_loop().time() - oldest.accepted_s

    @property
    def has_room(self) -> bool:
        """Whether another batch may be accepted now."""
        return self._room.is_set()

    async def room(self) -> None:
        """Wait until another batch may be accepted: the brake on a fast sender.

        It holds until the caller awaits anything else: of many that wait, each finds
        only what those before it have left.
        """
        while not self._room.is_set():
            await self._room.wait()

    def accept(
        self,
        producer: Producer,
        message: Batch | Lost | Bye,
        *,
        when_stored: WhenStored | None = None,
    ) -> "asyncio.Future[int]":
        """Accept a message; the future is the number to ack, once it is on disk.

        Args:
            producer: whose it is.
            message: what came.
            when_stored: as of a ``Piece``.

        Raises:
            SequenceGap: numbers are missing before it; nothing of it is taken.
            WireError: its records cannot be told apart, or somebody else has said
                hello for this producer since; nothing of it is taken.
            MeterlineError: nothing is committed any more.
        """
        if self._producers.get(producer.row.producer) is not producer:
            raise WireError(
                "duplicate_producer", "a newer connection speaks for this producer"
            )
        match message:
            case Batch():
                piece = self._read_batch(producer, message)
            case Lost():
                piece = self._read_lost(producer, message)
            case Bye():
                self._check_follows(producer, message.last_seq + 1, exactly=True)
                piece = Piece(producer, message.last_seq, message.last_seq, is_bye=True)
        piece.when_stored = when_stored
        if not isinstance(message, Lost) and message.excluded:
            self.left_out.note(producer.row.producer, message.excluded)
        return self._queue(piece)

    def append(self, piece: Piece) -> "asyncio.Future[int]":
        """Store events of the ledger's own, which nobody sends, behind the others."""
        return self._queue(piece)

    def _queue(self, piece: Piece) -> "asyncio.Future[int]":
        if self._is_over:
            raise MeterlineError("the sidecar is stopping")
        piece.producer.next_seq = piece.last_seq + 1
        piece.accepted_s = asyncio.get_running_loop().time()
        piece.producer.n_waiting += 1
        self._pending.append(piece)
        self._weigh(piece)
        self._company.came(n_rows=self._pending_rows, is_urgent=is_urgent(piece))
        self._wake.set()
        return piece.done

    def _weigh(self, *pieces: Piece, is_taken: bool = False) -> None:
        """Add pieces to what waits, or take them off it, and open or close the door."""
        sign = -1 if is_taken else 1
        for piece in pieces:
            self._pending_rows += sign * piece.n_rows
            self._pending_bytes += sign * piece.n_bytes
        if (
            self._pending_rows < PENDING_ROWS_MAX
            and self._pending_bytes < PENDING_BYTES_MAX
        ):
            self._room.set()
        else:
            self._room.clear()

    def forget(self, producer: Producer) -> None:
        """Drop a producer that has gone from memory, unless it said hello again."""
        if self._producers.get(producer.row.producer) is producer:
            del self._producers[producer.row.producer]

    # --- reading messages

    def _read_batch(self, state: Producer, batch: Batch) -> Piece:
        skip = self._check_follows(state, batch.first_seq)
        intake, n_records = read_records(
            batch.records,
            first_seq=batch.first_seq,
            skip=skip,
            now_ms=self._clock.now_ms(),
            is_clock_right=self._watch is None or self._watch.is_right(),
            flags_kept=state.flags_kept,
        )
        last_seq = max(batch.first_seq + n_records - 1, state.next_seq - 1)
        return Piece(
            state,
            last_seq,
            max(batch.recorded_seq, last_seq),
            events=intake.events,
            losses=intake.losses,
            unattributed=intake.unattributed,
            held=intake.held,
            bad_quantities=intake.bad_quantities,
            named=self.names.recorded(intake.events, intake.ids, state.row.app),
            keyed=self.keys.recorded(intake.events, intake.ids, state.row.app),
            duplicates=min(skip, n_records),
            n_bytes=len(batch.records),
        )

    def _read_lost(self, state: Producer, lost: Lost) -> Piece:
        if lost.last_seq < lost.first_seq:
            raise SequenceGap(
                f"lost {lost.first_seq} to {lost.last_seq} runs backwards",
                resume_seq=state.next_seq,
            )
        self._check_follows(state, lost.first_seq)
        if lost.last_seq < state.next_seq:
            return Piece(state, state.next_seq - 1, lost.last_seq)
        loss = LossRow(state.next_seq, lost.last_seq, lost.reason, None)
        return Piece(state, lost.last_seq, lost.last_seq, losses=[loss])

    @staticmethod
    def _check_follows(
        state: Producer, first_seq: int, *, exactly: bool = False
    ) -> int:
        """Return how many numbers from ``first_seq`` on are accepted already."""
        known = state.next_seq - first_seq
        if known < 0 or (exactly and known):
            raise SequenceGap(
                f"number {first_seq} was sent where {state.next_seq} must follow",
                resume_seq=state.next_seq,
            )
        return known

    async def _introduce(self, hello: Hello) -> ProducerRow:
        async with self._database.transaction() as tx:
            row = await store.find_producer(tx, hello.producer)
            if row is None:
                row = new_row(hello, seen_ms=self._clock.now_ms())
                return row._replace(id=await store.add_producer(tx, row))
            row = row._replace(
                recorded_seq=max(row.recorded_seq, hello.recorded_seq),
                spool=hello.spool,
                seen_ms=self._clock.now_ms(),
                is_closed=0,
            )
            await store.update_producer(tx, row)
            return row

    async def _settle(self, producer: str) -> None:
        """Wait for the commit of what came over earlier connections."""
        waiting = [*self._committing, *self._pending]
        earlier = [p.done for p in waiting if p.producer.row.producer == producer]
        if earlier:
            await asyncio.wait(earlier)

    # --- committing

    async def run(self) -> None:
        """Commit groups until cancelled.

        Raises:
            DiskFailed, DatabaseCorrupt: nothing more can be promised; the process
                must end, and the apps keep their events.
        """
        self.is_running, self._is_over = True, False
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._pending:
                    await self._company.wait()
                    await self._commit_group()
        except asyncio.CancelledError:
            raise  # what was accepted is drained
        except BaseException:
            self._is_over = True  # nobody would ever commit what came now
            raise
        finally:
            self.is_running = False

    async def drain(self) -> None:
        """Commit what was accepted, then return; used after ``run`` has ended."""
        while self._pending:
            await self._commit_group()

    async def _commit_group(self) -> None:
        group = self._committing = self._take_group()
        try:
            head = await self._committer.write(group)
        except RetryLater as error:
            self.storing.failed(error)
            self._reject(group, error)
            return
        except BaseException as error:
            # A stop is no trouble: what has no ack is sent again to whoever is next.
            if not isinstance(error, asyncio.CancelledError):
                self.storing.failed(error)
            self._reject(group, MeterlineError(f"the sidecar is stopping: {error}"))
            raise
        self.storing.succeeded()
        self.n_commits += 1
        self._committing = []
        for piece in group:
            piece.producer.n_waiting -= 1
            if not piece.done.done():
                piece.done.set_result(piece.last_seq)
        if head is not None:
            self._write_head(head)

    def _write_head(self, head: Head) -> None:
        """Write the head after COMMIT: one that is ahead would be a false alarm."""
        try:
            self._chain.write_head(head, durably=False)
        except OSError as error:
            self.head_trouble = f"{self._chain.head_path}: {error.strerror}"
        else:
            self.head_trouble = None

    def _take_group(self) -> list[Piece]:
        taken = n_rows = n_bytes = 0
        for piece in self._pending:
            n_rows += piece.n_rows
            n_bytes += piece.n_bytes
            taken += 1
            if n_rows >= GROUP_ROWS_MAX or n_bytes >= GROUP_BYTES_MAX:
                break
        group, self._pending = self._pending[:taken], self._pending[taken:]
        self._weigh(*group, is_taken=True)
        return group

    def _reject(self, group: list[Piece], error: Exception) -> None:
        """Give everything back: what waits behind the group does not follow either."""
        rejected = [*group, *self._pending]
        self._weigh(*self._pending, is_taken=True)
        self._pending, self._committing = [], []
        for piece in rejected:
            piece.producer.next_seq = piece.producer.row.last_seq + 1
            piece.producer.n_waiting = 0
            if not piece.done.done():
                piece.done.set_exception(error)
                piece.done.exception()  # nobody may wait for it any more
