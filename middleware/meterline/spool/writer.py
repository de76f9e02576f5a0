"""Records events: the side of a spool that the app's requests enter.

``append`` takes no lock. All else here is rare, and holds one: the next segment when
one is full, what is dropped when there is no room, the end.
"""

import itertools
import os
import threading
from collections.abc import Callable
from typing import Final
from zlib import crc32

import msgspec

from meterline.complaints import troubles, words
from meterline.spool.producer_file import (
    DROP_REASONS,
    NOT_RECORDABLE,
    SPOOL_FULL,
    ProducerFile,
)
from meterline.spool.room import Room
from meterline.spool.segment import (
    FIRST_BYTES,
    GROWTH,
    SEGMENT_BYTES,
    SEGMENT_BYTES_MIN,
    Marker,
    Segment,
    encode_marker,
)
from meterline.wire import RECORD_HEADER, Hello, encode_record

BYTES_MIN: Final = 2 * SEGMENT_BYTES_MIN
REASON_CHARS_MAX: Final = 200
IN_FILE: Final = "file"
TOGETHER_FULL: Final = "all spools together take as much as they may"
OWED_PER_ROUND_MAX: Final = 10_000  # a tenth of a second

_LOW: Final = 0xFFFFFFFF
_pack: Final = RECORD_HEADER.pack


class Writer:
    """Appends events to the segments of one living producer.

    Args:
        hello: who the producer is.
        directory: of this producer alone; ``None`` keeps the events in memory.
        bytes_max: all segments together. Above it events are dropped and counted.
        room: what all spools may take together: above it likewise.

    Raises:
        OSError: the directory cannot be used.
    """

    __slots__ = ("__dict__", "_numbers", "_write")

    def __init__(
        self,
        hello: Hello,
        *,
        directory: str | None,
        bytes_max: int,
        room: Room,
    ) -> None:
        self.hello = hello
        """Who the producer is, and where its next events wait."""
        self._bytes_max = max(bytes_max, BYTES_MIN)
        self._segment_bytes = max(
            SEGMENT_BYTES_MIN, min(SEGMENT_BYTES, self._bytes_max // 4)
        )
        self._room = room
        self.owed = 0
        """Events that an error has cost, and that could not even be counted then."""
        self._lock = threading.RLock()
        self.is_closed = False
        self.last_seq = 0
        """The last number that was taken, once it is closed."""
        self._when_closed: Callable[[bytes], None] = self.append
        self.directory = directory
        self.file = ProducerFile.create(directory, hello)
        self._ordinal = 1
        try:
            self._active = self._new_segment(directory, 1)
        except BaseException:
            self.file.close()
            raise
        self.segments = [self._active]
        """Oldest first. Here they are added at the end; ``free_before`` takes them
        away from the front."""
        self._spare: Segment | None = None
        self._numbers = itertools.count(1)
        self._write = self._active.write

    # --- in the app's request

    def append(self, payload: bytes) -> None:
        """Record one encoded event. Never blocks, never raises."""
        low = (seq := next(self._numbers)) & _LOW
        write = self._write
        try:
            write(_pack(len(payload), crc32(payload, low), low) + payload)
        except ValueError:
            self._append_elsewhere(payload, seq, write)

    def drop(self, reason: int) -> None:
        """Count an event that cannot be recorded; see ``DROP_REASONS``."""
        with self._lock:
            if not self.is_closed:
                self._drop(reason, next(self._numbers))
                self._mark_drops()

    def _count_owed(self) -> None:
        """Count what could not be counted where it failed, for lack of a stack or so."""
        for _ in range(OWED_PER_ROUND_MAX):
            if not self.owed or self.file.unmarked():  # no room for its numbers now
                return
            self.owed -= 1
            self._drop(NOT_RECORDABLE, next(self._numbers))
            self._mark_drops()

    def _append_elsewhere(
        self, payload: bytes, seq: int, failed: Callable[[bytes], int]
    ) -> None:
        with self._lock:
            if not self.is_closed:
                # Another thread may have been here first.
                if failed is self._write and not self._roll():
                    self._active.seal()  # so that dropped numbers stay together
                    self._drop(SPOOL_FULL, seq)
                    return
                try:
                    self._write(encode_record(seq, payload))
                except ValueError:
                    self._append_elsewhere(payload, seq, self._write)
                return
        self._when_closed(payload)

    def _drop(self, reason: int, seq: int) -> None:
        if not self.file.unmarked():
            self._first_dropped = seq
        self.file.set_dropped(reason, self.file.dropped(reason) + 1)

    def _roll(self) -> bool:
        """Go on in the next segment; return whether there is room for one."""
        segment, self._spare = self._spare, None
        if segment is None:
            if not self._has_room():
                return False
            try:
                segment = self._create_segment(self._ordinal + 1)
            except (OSError, MemoryError) as error:
                troubles.add(f"there is no room for new events: {words(error)}")
                return False
            self._ordinal += 1
        self._active.seal(next_ordinal=segment.ordinal)
        self.segments.append(segment)
        self._active = segment
        self._write = segment.write
        self._mark_drops()
        return True

    def _has_room(self) -> bool:
        size = self._size_of(self._ordinal + 1)
        taken = sum(segment.size for segment in self.all_segments())
        return taken + size <= self._bytes_max and (
            self.directory is None or self._room.has(size)
        )

    def _size_of(self, ordinal: int) -> int:
        """Return how large a segment is: small at first, for short processes."""
        size = FIRST_BYTES
        for _ in range(1, ordinal):
            if size >= self._segment_bytes:
                break
            size *= GROWTH
        return min(size, self._segment_bytes)

    def _create_segment(self, ordinal: int) -> Segment:
        try:
            segment = self._new_segment(self.directory, ordinal)
        except OSError as error:
            # A full disk or no descriptor left: memory is better than a loss.
            if self.directory is not None:
                troubles.add(f"new events wait in memory only: {words(error)}")
                kind = in_memory(words(error))
                self.hello = msgspec.structs.replace(self.hello, spool=kind)
            return self._new_segment(None, ordinal)
        return segment

    def _new_segment(self, directory: str | None, ordinal: int) -> Segment:
        size = self._size_of(ordinal)
        segment = Segment.create(
            directory, ordinal=ordinal, producer=self.hello.producer, size=size
        )
        if directory is not None:
            self._room.take(size)
        return segment

    def _mark_drops(self) -> None:
        """Give the dropped events their numbers, if the active segment has room."""
        for reason in range(len(DROP_REASONS)):
            total = self.file.dropped(reason)
            if (n_events := total - self.file.marked(reason)) < 1:
                continue
            marker = Marker(n_events, reason, total)
            try:
                self._write(encode_marker(self._first_dropped, marker))
            except ValueError:
                return
            self._first_dropped += n_events
            # A kill before this line does no harm: the marker names the total.
            self.file.set_marked(reason, total)

    # --- in the shipping thread, so that no request has to

    def prepare(self) -> None:
        """Make the next segment ready, and number what was dropped."""
        self._prepare_spare()
        with self._lock:
            if not self.is_closed:
                self._count_owed()
                self._mark_drops()
                if self.file.unmarked() and self._spare is not None:
                    self._roll()

    def _prepare_spare(self) -> None:
        if not self._wants_spare():
            return
        # Without the lock: the app must not wait for the disk.
        self._room.look()
        ordinal = self._next_spare()
        if ordinal is None:
            return
        try:
            segment = self._create_segment(ordinal)
        except (OSError, MemoryError) as error:
            troubles.add(f"there is no room for new events: {words(error)}")
            return
        self._keep_spare(segment)

    def _keep_spare(self, segment: Segment) -> None:
        with self._lock:
            is_late = self.is_closed or segment.ordinal < self._active.ordinal
            if not is_late:
                self._spare = segment
        if is_late:
            segment.delete()

    def _wants_spare(self) -> bool:
        """Tell whether another segment may be needed soon.

        Not before a small one is half full: many processes are short. One of full size
        can be filled between two looks.
        """
        with self._lock:
            if self._spare is not None or self.is_closed:
                return False
            size = self._active.size
            return size >= self._segment_bytes or self._active.written >= size // 2

    @property
    def left_bytes(self) -> int:
        """How much can be recorded before another segment must be made."""
        active, spare = self._active, self._spare
        return active.size - active.written + (spare.size if spare else 0)

    def _next_spare(self) -> int | None:
        with self._lock:
            if self._spare is not None or self.is_closed or not self._has_room():
                return None
            self._ordinal += 1
            return self._ordinal

    def drop_spare(self) -> None:
        """Remove the segment that was made ready and never used."""
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.delete()

    def free_before(self, ordinal: int) -> None:
        """Delete the segments before ``ordinal``: the sidecar has all they hold."""
        while (oldest := self.segments[0]).ordinal < ordinal:
            with self._lock:
                del self.segments[0]
            oldest.delete()

    # --- from memory to files, in the shipping thread as well

    def settle_in(self, hidden: str, directory: str) -> None:
        """Have what comes next in ``directory``, which ``hidden`` is renamed to.

        Raises:
            OSError: that cannot be done.
        """
        self._room.look()
        in_file = msgspec.structs.replace(self.hello, spool=IN_FILE)
        made = ProducerFile.create(hidden, in_file)
        with self._lock:
            self.file.settle(made)
            self.directory = hidden
            self.move(directory)

    def settle(self) -> bool:
        """Bring to files what waits in memory only; return whether that is all.

        Raises:
            OSError: some of it must stay there.
        """
        assert self.directory is not None
        if not self.is_closed:
            self._leave_memory(self.directory)
        with self._lock:  # what requests are about to write to cannot be moved
            settled = self.segments if self.is_closed else self.segments[:-1]
            settled = [segment for segment in settled if segment.needs_file]
        for segment in settled:
            self._check_room(segment.size)
            segment.settle(self.directory)
            self._room.take(segment.size)
        with self._lock:
            if any(segment.needs_file for segment in self.segments):
                return False
            self.hello = msgspec.structs.replace(self.hello, spool=IN_FILE)
        return True

    def _leave_memory(self, directory: str) -> None:
        """Go on in a segment that has a file."""
        if self._spare is not None and self._spare.needs_file:
            self.drop_spare()
        if not self._active.needs_file:
            return
        if self._spare is None:
            # In a full spool as well: it has one more for that, and then no other.
            with self._lock:
                self._ordinal += 1
                ordinal = self._ordinal
            self._check_room(self._size_of(ordinal))
            self._keep_spare(self._new_segment(directory, ordinal))
        with self._lock:
            if not self.is_closed and self._spare is not None:
                self._roll()

    def _check_room(self, size: int) -> None:
        if not self._room.has(size):
            raise OSError(TOGETHER_FULL)

    # --- the end

    def close(self, when_closed: Callable[[bytes], None]) -> None:
        """Record nothing more; what comes now goes to ``when_closed``."""
        with self._lock:
            if self.is_closed:
                return
            self._count_owed()
            self._mark_drops()
            self._when_closed = when_closed
            self.is_closed = True
            self._active.seal()
            self.last_seq = next(self._numbers) - 1

    def all_segments(self) -> list[Segment]:
        """Return every segment there is, with the one that is not used yet."""
        return [*self.segments, *([self._spare] if self._spare else [])]

    def move(self, directory: str) -> None:
        """Rename the producer's directory.

        Raises:
            OSError: it cannot be renamed.
        """
        assert self.directory is not None
        os.rename(self.directory, directory)
        self.directory = directory
        self.file.move(directory)
        for segment in self.segments:
            segment.move(directory)


def in_memory(reason: str) -> str:
    """Return what ``Hello.spool`` says of events that no file could be made for."""
    return f"memory: {reason}"[:REASON_CHARS_MAX]
