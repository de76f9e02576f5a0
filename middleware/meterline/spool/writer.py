"""Records events: the side of a spool that the app's requests enter.

``append`` takes no lock. All else here is rare, and holds one: the next segment when
one is full, what is dropped when there is no room, the end.
"""

import itertools
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from meterline.spool.producer_file import DROP_REASONS, SPOOL_FULL, ProducerFile
from meterline.spool.segment import (
    SEGMENT_BYTES,
    SEGMENT_BYTES_MIN,
    Marker,
    Segment,
    encode_marker,
)
from meterline.wire import RECORD_HEADER, Hello, encode_record

REASON_CHARS_MAX: Final = 200

_LOW: Final = 0xFFFFFFFF

log = logging.getLogger(__name__)


class Writer:
    """Appends events to the segments of one living producer.

    Args:
        hello: who the producer is.
        directory: of this producer alone; ``None`` keeps the events in memory.
        bytes_max: all segments together. Above it events are dropped and counted.
        when_closed: gets the events that come after ``close``.

    Raises:
        OSError: the directory cannot be used.
    """

    def __init__(
        self,
        hello: Hello,
        *,
        directory: Path | None,
        bytes_max: int,
        when_closed: Callable[[bytes], None],
    ) -> None:
        self.hello = hello
        """Who the producer is, and where its next events wait."""
        self._bytes_max = max(bytes_max, 2 * SEGMENT_BYTES_MIN)
        self._segment_bytes = max(
            SEGMENT_BYTES_MIN, min(SEGMENT_BYTES, self._bytes_max // 4)
        )
        self._when_closed = when_closed
        self._lock = threading.RLock()
        self.is_closed = False
        self.directory = directory
        self.file = ProducerFile.create(directory, hello)
        self._ordinal = 1
        try:
            self._active = self._new_segment(directory, 1)
        except OSError:
            self.file.close()
            raise
        self.segments = [self._active]
        """Oldest first. Here they are added at the end; ``free_before`` takes them
        away from the front."""
        self._spare: Segment | None = None
        self._next_seq: Callable[[], int] = itertools.count(1).__next__
        self._write = self._active.write

    # --- in the app's request

    def append(self, payload: bytes) -> None:
        """Record one encoded event. Never blocks, never raises."""
        low = (seq := self._next_seq()) & _LOW
        write = self._write
        try:
            write(RECORD_HEADER.pack(len(payload), crc32(payload, low), low) + payload)
        except ValueError:
            self._append_elsewhere(payload, seq, write)

    def drop(self, reason: int) -> None:
        """Count an event that cannot be recorded; see ``DROP_REASONS``."""
        with self._lock:
            if not self.is_closed:
                self._drop(reason, self._next_seq())
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
            self._ordinal += 1
            segment = self._create_segment(self._ordinal)
        self._active.seal()
        self.segments.append(segment)
        self._active = segment
        self._write = segment.write
        self._mark_drops()
        return True

    def _has_room(self) -> bool:
        segments = 1 + len(self.segments) + (self._spare is not None)
        return segments * self._segment_bytes <= self._bytes_max

    def _create_segment(self, ordinal: int) -> Segment:
        try:
            segment = self._new_segment(self.directory, ordinal)
        except OSError as error:
            # A full disk or no descriptor left: memory is better than a loss.
            if self.hello.spool == "file":
                log.warning("new events wait in memory only: %s", error)
                kind = in_memory(error)
                self.hello = msgspec.structs.replace(self.hello, spool=kind)
            return self._new_segment(None, ordinal)
        if self.directory is not None and self.hello.spool != "file":
            self.hello = msgspec.structs.replace(self.hello, spool="file")
        return segment

    def _new_segment(self, directory: Path | None, ordinal: int) -> Segment:
        return Segment.create(
            directory,
            ordinal=ordinal,
            producer=self.hello.producer,
            size=self._segment_bytes,
        )

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
                self._mark_drops()
                if self.file.unmarked() and self._spare is not None:
                    self._roll()

    def _prepare_spare(self) -> None:
        ordinal = self._next_spare()
        if ordinal is None:
            return
        # Without the lock: the app must not wait for the disk.
        segment = self._create_segment(ordinal)
        with self._lock:
            is_late = self.is_closed or ordinal < self._active.ordinal
            if not is_late:
                self._spare = segment
        if is_late:
            segment.delete()

    def _next_spare(self) -> int | None:
        with self._lock:
            if self._spare is not None or self.is_closed or not self._has_room():
                return None
            self._ordinal += 1
            return self._ordinal

    def free_before(self, ordinal: int) -> None:
        """Delete the segments before ``ordinal``: the sidecar has all they hold."""
        while (oldest := self.segments[0]).ordinal < ordinal:
            with self._lock:
                del self.segments[0]
            oldest.delete()

    # --- the end

    def close(self) -> None:
        """Record nothing more; what comes now goes to ``when_closed``."""
        with self._lock:
            if self.is_closed:
                return
            self._mark_drops()
            self.is_closed = True
            self._active.seal()

    def all_segments(self) -> list[Segment]:
        """Return every segment there is, with the one that is not used yet."""
        return [*self.segments, *([self._spare] if self._spare else [])]

    def move(self, directory: Path) -> None:
        """Rename the producer's directory.

        Raises:
            OSError: it cannot be renamed.
        """
        assert self.directory is not None
        self.directory.rename(directory)
        self.directory = directory
        self.file.move(directory)
        for segment in self.segments:
            segment.move(directory)


def in_memory(error: OSError) -> str:
    """Return what ``Hello.spool`` says of events that no file could be made for."""
    return f"memory: {error.strerror or error}"[:REASON_CHARS_MAX]
