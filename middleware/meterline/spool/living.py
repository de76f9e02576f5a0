"""Where one producer's events wait until the sidecar has them on disk.

``<spool dir>/<producer id>/`` holds the file ``producer`` and segments ``00000001.seg``
... ``append`` runs in the app's request and takes no lock; all else runs in the
shipper's thread, or when a segment is full.
"""

import itertools
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from meterline.spool.backlog import Backlog
from meterline.spool.modes import make_directory, make_spool_dir
from meterline.spool.producer_file import DROP_REASONS, SPOOL_FULL, Counts, ProducerFile
from meterline.spool.scan import Part, Scanner
from meterline.spool.segment import (
    SEGMENT_BYTES,
    SEGMENT_BYTES_MIN,
    Marker,
    Segment,
    encode_marker,
    remove_directory,
)
from meterline.wire import RECORD_HEADER, VERSION, Hello, encode_record

NEW_SUFFIX: Final = ".new"
REASON_CHARS_MAX: Final = 200

_LOW: Final = 0xFFFFFFFF

log = logging.getLogger(__name__)


class Spool:
    """The events of one living producer, from the record to the ack.

    Args:
        hello: who the producer is.
        directory: of this producer alone; ``None`` keeps the events in memory.
        bytes_max: all segments together. Above it events are dropped and counted.
        when_closed: gets the events that come after ``close``.

    Raises:
        OSError: the directory can not be used.
    """

    def __init__(
        self,
        hello: Hello,
        *,
        directory: Path | None,
        bytes_max: int,
        when_closed: Callable[[bytes], None],
    ) -> None:
        self._hello = hello
        self._bytes_max = max(bytes_max, 2 * SEGMENT_BYTES_MIN)
        self._segment_bytes = max(
            SEGMENT_BYTES_MIN, min(SEGMENT_BYTES, self._bytes_max // 4)
        )
        self._when_closed = when_closed
        self._lock = threading.RLock()
        self._is_closed = False
        self._is_complete = False  # all is numbered, and nothing more will come
        self._directory = directory
        self._file = ProducerFile.create(directory, hello)
        self._ordinal = 1
        try:
            self._active = self._new_segment(directory, 1)
        except OSError:
            self._file.close()
            raise
        self._segments = [self._active]
        self._spare: Segment | None = None
        self._next_seq: Callable[[], int] = itertools.count(1).__next__
        self._write = self._active.write
        self._scanner = Scanner(next_seq=1, verifies=False)
        self._scanned = self._active
        self._synced_s = time.monotonic()
        self._is_sync_failing = False
        self.backlog = Backlog()
        self.counts = Counts(recorded=0, dropped=0, acked=0)

    @classmethod
    def open(
        cls,
        spool_dir: Path,
        *,
        app: str,
        host: str,
        pid: int,
        bytes_max: int,
        when_closed: Callable[[bytes], None],
    ) -> "Spool":
        """Return a new producer's spool in ``spool_dir``; in memory if need be."""
        hello = Hello(
            version=VERSION,
            producer=secrets.token_hex(16),
            app=app,
            host=host,
            pid=pid,
            started_ms=time.time_ns() // 1_000_000,
        )
        hidden = spool_dir / (hello.producer + NEW_SUFFIX)
        try:
            make_spool_dir(spool_dir)
            make_directory(hidden)
            spool = cls(
                hello, directory=hidden, bytes_max=bytes_max, when_closed=when_closed
            )
            # Only now others may see it: with its lock taken and its header written.
            spool._move(spool_dir / hello.producer)
        except OSError as error:
            shutil.rmtree(hidden, ignore_errors=True)
            log.warning(
                "events wait in memory only, a crash would lose them: %s", error
            )
            hello = msgspec.structs.replace(hello, spool=_in_memory(error))
            return cls(
                hello, directory=None, bytes_max=bytes_max, when_closed=when_closed
            )
        return spool

    # --- the app's side

    def append(self, payload: bytes) -> None:
        """Record one encoded event. Never blocks, never raises."""
        low = (seq := self._next_seq()) & _LOW
        write = self._write
        try:
            write(RECORD_HEADER.pack(len(payload), crc32(payload, low), low) + payload)
        except ValueError:
            self._append_elsewhere(payload, seq, write)

    def drop(self, reason: int) -> None:
        """Count an event that can not be recorded; see ``DROP_REASONS``."""
        with self._lock:
            if not self._is_closed:
                self._drop(reason, self._next_seq())
                self._mark_drops()

    def _append_elsewhere(
        self, payload: bytes, seq: int, failed: Callable[[bytes], int]
    ) -> None:
        with self._lock:
            if not self._is_closed:
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
        if not self._file.unmarked():
            self._first_dropped = seq
        self._file.set_dropped(reason, self._file.dropped(reason) + 1)

    def _roll(self) -> bool:
        """Go on in the next segment; return whether there is room for one."""
        segment, self._spare = self._spare, None
        if segment is None:
            if not self._has_room():
                return False
            self._ordinal += 1
            segment = self._create_segment(self._ordinal)
        self._active.seal()
        self._segments.append(segment)
        self._active = segment
        self._write = segment.write
        self._mark_drops()
        return True

    def _has_room(self) -> bool:
        segments = 1 + len(self._segments) + (self._spare is not None)
        return segments * self._segment_bytes <= self._bytes_max

    def _create_segment(self, ordinal: int) -> Segment:
        try:
            segment = self._new_segment(self._directory, ordinal)
        except OSError as error:
            # A full disk or no descriptor left: memory is better than a loss.
            if self._hello.spool == "file":
                log.warning("new events wait in memory only: %s", error)
                kind = _in_memory(error)
                self._hello = msgspec.structs.replace(self._hello, spool=kind)
            return self._new_segment(None, ordinal)
        if self._directory is not None and self._hello.spool != "file":
            self._hello = msgspec.structs.replace(self._hello, spool="file")
        return segment

    def _new_segment(self, directory: Path | None, ordinal: int) -> Segment:
        return Segment.create(
            directory,
            ordinal=ordinal,
            producer=self._hello.producer,
            size=self._segment_bytes,
        )

    def _mark_drops(self) -> None:
        """Give the dropped events their numbers, if the active segment has room."""
        for reason in range(len(DROP_REASONS)):
            total = self._file.dropped(reason)
            if (n_events := total - self._file.marked(reason)) < 1:
                continue
            marker = Marker(n_events, reason, total)
            try:
                self._write(encode_marker(self._first_dropped, marker))
            except ValueError:
                return
            self._first_dropped += n_events
            # A kill before this line does no harm: the marker names the total.
            self._file.set_marked(reason, total)

    # --- the shipper's side

    def maintain(self, *, sync_interval_s: float | None) -> None:
        """Do what must not happen in a request: make room, number, sync."""
        self._prepare_spare()
        with self._lock:
            if not self._is_closed:
                self._mark_drops()
                if self._file.unmarked() and self._spare is not None:
                    self._roll()
        self.scan()
        now_s = time.monotonic()
        if sync_interval_s is not None and now_s - self._synced_s >= sync_interval_s:
            self._synced_s = now_s
            self._sync()

    def _sync(self) -> None:
        was_failing, self._is_sync_failing = self._is_sync_failing, False
        try:
            for segment in self._segments[-2:]:
                segment.sync()
        except OSError as error:
            self._is_sync_failing = True
            if not was_failing:
                log.warning("could not force the spool to the disk: %s", error)

    def _prepare_spare(self) -> None:
        ordinal = self._next_spare()
        if ordinal is None:
            return
        # Without the lock: the app must not wait for the disk.
        segment = self._create_segment(ordinal)
        with self._lock:
            is_late = self._is_closed or ordinal < self._active.ordinal
            if not is_late:
                self._spare = segment
        if is_late:
            segment.delete()

    def _next_spare(self) -> int | None:
        with self._lock:
            if self._spare is not None or self._is_closed or not self._has_room():
                return None
            self._ordinal += 1
            return self._ordinal

    def scan(self) -> None:
        """Number what was recorded since the last call, and note how far that is."""
        is_closed = self._is_closed
        while True:
            was_sealed = self._scanned.is_sealed
            for part in self._scanner.scan(self._scanned):
                self.backlog.add(part)
            following = self._segment_after(self._scanned)
            if not was_sealed or following is None:
                break
            scanned, self._scanned = self._scanned, following
            if (loss := self._scanner.enter(following)) is not None:
                self.backlog.add(loss)
            following.first_seq = self._scanner.next_seq
            scanned.park()
        if not self._is_complete:
            self._file.recorded = self._scanner.next_seq - 1
            if is_closed:
                self._is_complete = True
                self._report_drops()
        self._count()

    def _report_drops(self) -> None:
        """Give the last drops their numbers, behind the last record of all.

        The file stays as it is: should we die now, they are found there again.
        """
        for reason, words in enumerate(DROP_REASONS):
            n_events = self._file.dropped(reason) - self._file.marked(reason)
            if n_events > 0:
                self.backlog.add(self._scanner.lose(n_events, words))

    def _count(self) -> None:
        self.counts = Counts(
            recorded=self._file.recorded + self._file.unmarked(),
            dropped=sum(self._file.dropped(i) for i in range(len(DROP_REASONS))),
            acked=self.backlog.acked_seq,
        )

    def _segment_after(self, segment: Segment) -> Segment | None:
        i = self._segments.index(segment) + 1
        return self._segments[i] if i < len(self._segments) else None

    @property
    def hello(self) -> Hello:
        """Who the producer is, and how much it has recorded."""
        return msgspec.structs.replace(self._hello, recorded_seq=self.recorded_seq)

    @property
    def kind(self) -> str:
        """Where events wait: as ``Hello.spool``."""
        return self._hello.spool

    @property
    def recorded_seq(self) -> int:
        """How many events were recorded or dropped, as far as was scanned."""
        return self.counts.recorded

    def resume(self, last_seq: int) -> None:
        """Send again what follows ``last_seq``, which is where the sidecar stands."""
        if last_seq < self.backlog.acked_seq:
            # It has lost what it once had: everything that is still here goes again.
            for segment in self._segments:
                segment.unpark()
            oldest = self._segments[0]
            self.backlog.clear(last_seq)
            self._scanner = Scanner(next_seq=oldest.first_seq, verifies=False)
            self._scanned = oldest
            self._is_complete = False
        self.scan()
        self.backlog.resume(last_seq, recorded_seq=self._file.recorded)

    def next_part(self) -> Part | None:
        """Return what to send next; ``None`` if there is nothing now."""
        return self.backlog.next_part()

    def ack(self, seq: int) -> None:
        """Forget everything up to ``seq``, and delete the segments it frees."""
        self.backlog.ack(seq)
        self.counts = self.counts._replace(acked=self.backlog.acked_seq)
        needed = self.backlog.oldest_ordinal() or self._scanned.ordinal
        while (oldest := self._segments[0]).ordinal < needed:
            with self._lock:
                del self._segments[0]
            oldest.delete()

    # --- the end

    def close(self) -> None:
        """Record nothing more; what comes now goes to ``when_closed``."""
        with self._lock:
            if self._is_closed:
                return
            self._mark_drops()
            self._is_closed = True
            self._active.seal()

    def delete(self) -> None:
        """Remove the files of a closed spool: the sidecar has everything."""
        for segment in self._all_segments():
            segment.delete()
        self._file.delete()
        if self._directory is not None:
            remove_directory(self._directory)

    def abandon(self) -> None:
        """Give back memory and descriptors; the files are for another process."""
        self._is_closed = True
        for segment in self._all_segments():
            segment.close()
        self._file.close()

    def _all_segments(self) -> list[Segment]:
        return [*self._segments, *([self._spare] if self._spare else [])]

    def _move(self, directory: Path) -> None:
        assert self._directory is not None
        self._directory.rename(directory)
        self._directory = directory
        self._file.move(directory)
        for segment in self._segments:
            segment.move(directory)


def _in_memory(error: OSError) -> str:
    """Return what ``Hello.spool`` says of events that no file could be made for."""
    return f"memory: {error.strerror or error}"[:REASON_CHARS_MAX]
