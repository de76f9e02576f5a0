"""Reads what a living producer recorded: the shipping thread's side of a spool."""

from collections import deque
from typing import Final

import msgspec

from meterline.complaints import troubles, words
from meterline.spool.producer_file import DROP_REASONS, NOTHING, Counts
from meterline.spool.scan import FORGOTTEN, Loss, Part, Run, Scanner, merged
from meterline.spool.segment import DATA_START, Segment
from meterline.spool.writer import Writer
from meterline.wire import Hello

COMPANY_BYTES: Final = 64 << 10  # about a thousand events, which need no more


class Backlog:
    """The parts of a spool that are not acked, and how far they were sent.

    Its size follows the number of batches, not of events.
    """

    def __init__(self) -> None:
        self._waiting: deque[Part] = deque()
        self._sent: deque[Part] = deque()
        self.acked_seq = 0
        """Everything up to here is on the sidecar's disk."""

    def add(self, part: Part) -> None:
        """Append what was recorded next."""
        if self._waiting:
            last = self._waiting[-1]
            if isinstance(last, Run) and (whole := merged(last, part)) is not None:
                self._waiting[-1] = whole
                return
        self._waiting.append(part)

    def next_part(self) -> Part | None:
        """Return what to send next, and count it as sent."""
        if not self._waiting:
            return None
        part = self._waiting.popleft()
        self._sent.append(part)
        return part

    @property
    def is_company(self) -> bool:
        """Whether so much waits that it need not wait for more."""
        if len(self._waiting) != 1:
            return bool(self._waiting)
        (part,) = self._waiting
        return isinstance(part, Run) and part.end - part.start >= COMPANY_BYTES

    def ack(self, seq: int) -> None:
        """Forget everything up to ``seq``."""
        self.acked_seq = max(self.acked_seq, seq)
        for parts in (self._sent, self._waiting):
            while parts and parts[0].last_seq <= seq:
                parts.popleft()

    def resume(self, last_seq: int, *, recorded_seq: int) -> None:
        """Start again behind ``last_seq``: nothing later has arrived.

        Where what follows it is not here any more, that is a loss: the sidecar had
        acked it once and has lost its memory since.
        """
        self.ack(last_seq)
        while self._sent:
            self._waiting.appendleft(self._sent.pop())
        first_seq = self._waiting[0].first_seq if self._waiting else recorded_seq + 1
        if first_seq > last_seq + 1:
            self._waiting.appendleft(Loss(last_seq + 1, first_seq - 1, FORGOTTEN))

    def clear(self, acked_seq: int) -> None:
        """Forget every part: they are about to be added again."""
        self._waiting.clear()
        self._sent.clear()
        self.acked_seq = acked_seq

    def oldest_ordinal(self) -> int | None:
        """Return the ordinal of the oldest segment that is still needed."""
        for parts in (self._sent, self._waiting):
            for part in parts:
                if isinstance(part, Run):
                    return part.segment.ordinal
        return None


class Reader:
    """Numbers a writer's events, hands them to a link, and forgets what was acked.

    Used by one thread, while others go on recording.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._file = writer.file
        self._scanner = Scanner(next_seq=1, verifies=False)
        self._scanned = writer.segments[0]
        self._is_complete = False  # all is numbered, and nothing more will come
        self._numbered_seq = 0
        self._is_doubted = False  # the files may not hold what was numbered
        self._doubted_seq = -1
        self._backlog = Backlog()
        self.counts = NOTHING
        """Replaced as a whole, so that every thread may read it."""
        self.excluded = 0
        """Requests that make no event on purpose; it stands in no file."""

    # --- numbering

    def scan(self) -> None:
        """Number what was recorded since the last call, and note how far that is."""
        is_closed = self._writer.is_closed
        while True:
            was_sealed = self._scanned.is_sealed
            for part in self._scanner.scan(self._scanned):
                self._backlog.add(part)
            following = self._segment_after(self._scanned)
            if not was_sealed or following is None:
                break
            if self._scanner.is_torn and following.written == DATA_START:
                break  # its first record will tell how many are missing
            scanned, self._scanned = self._scanned, following
            if (loss := self._scanner.enter(following)) is not None:
                self._backlog.add(loss)
            following.first_seq = self._scanner.next_seq
            scanned.park()
        if not self._is_complete:
            self._give_up(is_closed=is_closed)
            self._numbered_seq = recorded = self._scanner.next_seq - 1
            if recorded != self._file.recorded:  # else an idle worker wakes its disk
                self._file.recorded = recorded
            if is_closed:
                self._is_complete = True
                self._report_drops()
        self._count()

    def _give_up(self, *, is_closed: bool) -> None:
        """Report what was numbered or recorded once, and is not in the files any more."""
        last_seq = self._numbered_seq
        if is_closed and self._scanner.is_torn:
            last_seq = max(last_seq, self._writer.last_seq - self._file.unmarked())
        if (loss := self._scanner.give_up(self._scanned, last_seq)) is not None:
            self._backlog.add(loss)

    def _report_drops(self) -> None:
        """Give the last drops their numbers, behind the last record of all.

        The file stays as it is: should we die now, they are found there again.
        """
        for i, reason in enumerate(DROP_REASONS):
            n_events = self._file.dropped(i) - self._file.marked(i)
            if n_events > 0:
                self._backlog.add(self._scanner.lose(n_events, reason))

    def _count(self) -> None:
        self.counts = Counts(
            recorded=self._file.recorded + self._file.unmarked(),
            dropped=sum(self._file.dropped(i) for i in range(len(DROP_REASONS))),
            acked=self._backlog.acked_seq,
        )

    def _segment_after(self, segment: Segment) -> Segment | None:
        i = self._writer.segments.index(segment) + 1
        return self._writer.segments[i] if i < len(self._writer.segments) else None

    def park(self) -> None:
        """Let go of what was numbered and has been brought to files meanwhile."""
        for segment in self._writer.segments:
            if segment is self._scanned:
                break
            segment.park()

    @property
    def is_done(self) -> bool:
        """Whether all that was recorded is acked."""
        return self.counts.acked >= self.counts.recorded

    @property
    def end(self) -> int | None:
        """Where the last record of a closed spool ends, in its last segment."""
        is_last = self._scanned is self._writer.segments[-1]
        return self._scanner.position if self._is_complete and is_last else None

    # --- sending

    @property
    def hello(self) -> Hello:
        """Who the producer is, and how much it has recorded."""
        return msgspec.structs.replace(
            self._writer.hello, recorded_seq=self.recorded_seq
        )

    @property
    def recorded_seq(self) -> int:
        """How many events were recorded or dropped, as far as was scanned."""
        return self.counts.recorded

    def claim(self, ledger: int) -> None:
        """Note which ledger takes the events from now on: where the sidecar stands."""
        try:
            self._file.claim(ledger)
        except OSError as error:
            troubles.add(f"could not force the spool to the disk: {words(error)}")

    def resume(self, last_seq: int) -> None:
        """Send again what follows ``last_seq``, which is where the sidecar stands."""
        if last_seq < self._backlog.acked_seq or self._is_doubted:
            # It has lost what it once had, and everything that is still here goes
            # again; or what is here must be looked at again.
            for segment in self._writer.segments:
                segment.unpark()
            oldest = self._writer.segments[0]
            self._backlog.clear(last_seq)
            self._scanner = Scanner(
                next_seq=oldest.first_seq, verifies=self._is_doubted
            )
            self._is_doubted = False
            self._scanned = oldest
            self._is_complete = False
        self.scan()
        self._backlog.resume(last_seq, recorded_seq=self._file.recorded)

    def doubt(self) -> bool:
        """Check every record that is not acked before it is sent again.

        For a sidecar that could make nothing of what it got: somebody has damaged the
        files since their records were numbered.

        Returns:
            whether that promises to help: not if nothing was acked since the last time.
        """
        has_moved = self._doubted_seq != self._backlog.acked_seq
        self._doubted_seq = self._backlog.acked_seq
        self._is_doubted = True
        return has_moved

    @property
    def is_company(self) -> bool:
        """Whether so much is to be sent that it need not wait for more."""
        return self._backlog.is_company

    def next_part(self) -> Part | None:
        """Return what to send next; ``None`` if there is nothing now."""
        return self._backlog.next_part()

    def ack(self, seq: int) -> None:
        """Forget everything up to ``seq``, and delete the segments it frees."""
        self._backlog.ack(seq)
        self.counts = msgspec.structs.replace(
            self.counts, acked=self._backlog.acked_seq
        )
        needed = self._backlog.oldest_ordinal() or self._scanned.ordinal
        self._writer.free_before(needed)


_Parts = tuple[Counts, tuple[tuple[Reader, Counts], ...]]


class Tally:
    """What somebody's spools came to, one after the other, while they had each.

    It takes no lock, and no number is ever less than it was: any thread may read it.
    """

    def __init__(self) -> None:
        self._parts: _Parts = NOTHING, ()
        """What is over; and who counts on, each with what it had counted before."""

    def begin(self, reader: Reader) -> None:
        """Add what ``reader`` counts from now on, unless that is added already."""
        while not self._replace(parts := self._parts, _begun(parts, reader)):
            pass

    def end(self, reader: Reader) -> None:
        """Leave it at what ``reader`` has counted by now."""
        while not self._replace(parts := self._parts, _ended(parts, reader)):
            pass

    def _replace(self, known: _Parts, parts: _Parts) -> bool:
        # Nobody comes between these two lines: there is no call, and no way back.
        if is_known := self._parts is known:
            self._parts = parts
        return is_known

    @property
    def total(self) -> Counts:
        """All of it, as of the last look of each."""
        total, counting = self._parts
        for reader, before in counting:
            total = total.plus(reader.counts.since(before))
        return total


def _begun(parts: _Parts, reader: Reader) -> _Parts:
    over, counting = parts
    if any(known is reader for known, _ in counting):
        return parts
    return over, (*counting, (reader, reader.counts))


def _ended(parts: _Parts, reader: Reader) -> _Parts:
    over, counting = parts
    for known, before in counting:
        if known is reader:
            over = over.plus(reader.counts.since(before))
    return over, tuple(part for part in counting if part[0] is not reader)
