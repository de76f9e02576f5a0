"""One memory-mapped file of a spool: its layout, and the appending to it.

``header (64 bytes) | record | record | ... | zeros``. The records are those of
``wire.py``, byte for byte. A *marker* is a record whose length has its highest bit
set: it takes the numbers of events that were dropped (see ``Marker``).

A record's length is never 0 and fresh space is all zeros, so the first length of 0 is
the end. Nothing else is written when an event is recorded: no count, no pointer.
"""

import mmap
import os
import re
from struct import Struct as Layout
from typing import Final

import msgspec
from msgspec import Struct

from meterline import system
from meterline.compiled import appender
from meterline.complaints import troubles, words
from meterline.spool import counter
from meterline.spool.folder import Folder
from meterline.spool.modes import create_file
from meterline.system import AnyPath
from meterline.wire import RECORD_BYTES_MAX, RECORD_HEADER, encode_record

VERSION: Final = 1
SEGMENT_BYTES: Final = 1 << 20  # about 15,000 plain events
SEGMENT_BYTES_MIN: Final = 4 * (RECORD_BYTES_MAX + RECORD_HEADER.size)
FIRST_BYTES: Final = 32 << 10
"""The first one: a process that records little and ends leaves no more than that."""
GROWTH: Final = 4  # how much larger the next one is, up to the size of a worker's
SUFFIX: Final = ".seg"
MARKER_BIT: Final = 1 << 31
PAGE_BYTES: Final = mmap.PAGESIZE

_MAGIC: Final = b"MLsegmnt"
_HEADER: Final = Layout("<8sII16s")  # magic, version, ordinal, producer id
_FIRST_SEQ_AT: Final = _HEADER.size
_SEAL_AT: Final = _FIRST_SEQ_AT + counter.BYTES
DATA_START: Final = 64
_LOW: Final = 0xFFFFFFFF
_FILE_NAME: Final = r"[0-9]{8,18}" + re.escape(SUFFIX)


class Marker(Struct, frozen=True, array_like=True):
    """Stands in a spool for events that were dropped, and takes their numbers."""

    n_events: int
    reason: int
    """Which of ``producer_file.DROP_REASONS``."""
    total: int
    """All drops of this reason up to and with this marker."""


def encode_marker(seq: int, marker: Marker) -> bytes:
    """Return ``marker`` as a record whose first number is ``seq``."""
    record = encode_record(seq, msgspec.msgpack.encode(marker))
    length, crc, low = RECORD_HEADER.unpack_from(record)
    header = RECORD_HEADER.pack(length | MARKER_BIT, crc, low)
    return header + record[RECORD_HEADER.size :]


class Segment:
    """A memory-mapped stretch of records, in a file or, without one, in memory.

    ``write`` appends a whole record in one C call, which no other thread and no signal
    handler can interrupt, and raises ``ValueError`` when the record does not fit. That
    call is why recording needs no lock.
    """

    __slots__ = (
        *("_descriptor", "_end", "_first_seq", "_forced_end", "is_sealed", "map"),
        *("ordinal", "path", "size", "tail", "write"),
    )

    def __init__(
        self,
        memory: mmap.mmap,
        *,
        ordinal: int,
        path: str | None,
        descriptor: int = -1,
    ) -> None:
        self.map = memory
        self.size = len(memory)
        self.ordinal = ordinal
        self.path = path
        self.is_sealed = False
        self._first_seq = self._end = 0
        self._descriptor = descriptor  # of the file, to force it, as long as it grows
        self._forced_end = 0  # where the last record on the disk ends
        self.tail = appender(memory)
        """Where the next record goes."""
        self.write = self.tail.write

    @classmethod
    def create(
        cls, directory: AnyPath | None, *, ordinal: int, producer: str, size: int
    ) -> "Segment":
        """Return a new, empty segment of ``size`` bytes, in memory if no directory.

        Raises:
            OSError: the file cannot be made, or the disk has no room for it.
        """
        if directory is None:
            segment = cls(mmap.mmap(-1, size), ordinal=ordinal, path=None)
        else:
            path = os.path.join(directory, file_name(ordinal))
            memory, fd = _create_map(path, size)
            segment = cls(memory, ordinal=ordinal, path=path, descriptor=fd)
        segment.map[: _HEADER.size] = _HEADER.pack(
            _MAGIC, VERSION, ordinal, bytes.fromhex(producer)
        )
        if ordinal == 1:
            segment.first_seq = 1
        # The first write to a page costs a fault of several microseconds. Here it
        # delays nobody; in the request it would be the p99.
        for start in range(PAGE_BYTES, size, PAGE_BYTES):
            segment.map[start] = 0
        segment.tail.seek(DATA_START)
        return segment

    @classmethod
    def load(cls, folder: Folder, name: str) -> "Segment":
        """Return what a dead worker left in a file, in memory. It is not checked.

        Copied, not mapped: others may cut the file while it is read, and that would
        end the process. No segment has more than ``SEGMENT_BYTES``.

        Raises:
            OSError: it cannot be read, or is no file of a spool.
        """
        fd = folder.open_file(name)
        try:
            content = os.pread(fd, SEGMENT_BYTES, 0)
        finally:
            os.close(fd)
        memory = mmap.mmap(-1, max(len(content), DATA_START))
        memory[: len(content)] = content
        segment = cls(memory, ordinal=ordinal_of(name), path=None)
        segment.is_sealed = True
        return segment

    @property
    def first_seq(self) -> int:
        """The number of its first record; 0 as long as that is not known.

        The writer does not know it: with several threads, only their order in the
        segment decides. The one reader counts, and notes it here; whoever finds the
        file later has it from there.
        """
        return self._first_seq or counter.read(self.map, _FIRST_SEQ_AT) or 0

    @first_seq.setter
    def first_seq(self, seq: int) -> None:
        self._first_seq = seq
        self._forced_end = 0
        counter.write(self.map, _FIRST_SEQ_AT, seq)

    @property
    def written(self) -> int:
        """Where the last record ends, by what its writer knows, not by what is there.

        0 where that is not known: in a segment of another process, and for the moment
        in which this one is being sealed or has no byte left.
        """
        if self.is_sealed:
            return self._end
        position = self.tail.tell()
        return position if position < self.size else 0

    @property
    def sealed(self) -> tuple[int, int] | None:
        """Where its last record ends, and the ordinal of the segment behind it.

        0 for the ordinal if none is known; ``None`` as long as it is not sealed.
        """
        number = counter.read(self.map, _SEAL_AT)
        return None if number is None else (number & _LOW, number >> 32)

    def seal(self, *, next_ordinal: int = 0) -> None:
        """Refuse every later ``write``: none fits behind the last byte."""
        if not self.is_sealed:
            self._end = self.tail.tell()
            self.tail.seek(self.size)
            # Another thread may have recorded between these two lines.
            while length := self._length_at(self._end):
                self._end += RECORD_HEADER.size + length
        counter.write(self.map, _SEAL_AT, next_ordinal << 32 | self._end)
        self.is_sealed = True

    def _length_at(self, position: int) -> int:
        if position + RECORD_HEADER.size > self.size:
            return 0
        length = int(RECORD_HEADER.unpack_from(self.map, position)[0]) & ~MARKER_BIT
        return length if position + RECORD_HEADER.size + length <= self.size else 0

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` to ``end``, parked or not."""
        if not self.map.closed:
            return self.map[start:end]
        if self._descriptor >= 0:
            return os.pread(self._descriptor, end - start, start)
        assert self.path is not None
        with open(self.path, "rb") as file:
            file.seek(start)
            return file.read(end - start)

    def park(self) -> None:
        """Give back map and descriptor of a sealed segment that waits to be sent.

        A full spool would take 64 of the app's descriptors else. If somebody has
        removed the file, the map is all there is.
        """
        if self.path is not None and os.path.exists(self.path):
            self.map.close()
            if not self._forced_end:  # else the last sync is about to need it
                self._close_descriptor()

    def unpark(self) -> None:
        """Map it again, to look at its records once more.

        What somebody has cut off or removed meanwhile is zeros.

        Raises:
            OSError: it cannot be opened now, but may be later.
        """
        if self.map.closed:
            assert self.path is not None
            self.map = _open_map(self.path, self.size)

    @property
    def needs_file(self) -> bool:
        """Whether its records are in memory only: there is no file, or not any more."""
        has_file = self.path is not None and os.path.exists(self.path)
        return not has_file and not self.map.closed

    def settle(self, directory: str) -> None:
        """Bring a sealed segment from memory to a new file in ``directory``.

        Raises:
            OSError: the file cannot be made, or the disk has no room for it.
        """
        assert self.is_sealed
        path = os.path.join(directory, file_name(self.ordinal))
        memory, fd = _create_map(path, self.size)
        memory[:] = self.map[:]
        self.close()
        self.map, self.path, self._descriptor = memory, path, fd
        self._forced_end = 0

    def sync(self) -> None:
        """Wait until what was written is on the disk. Does nothing in memory.

        Nor does it where nothing was written since the last time.

        Raises:
            OSError: it cannot be written there.
        """
        is_last = self.is_sealed
        end = self.written
        has_grown = is_last or not end or end != self._forced_end
        if self.path is None or not has_grown:
            return
        if self._descriptor < 0:
            try:
                flags = os.O_RDWR | system.CLOSE_ON_EXEC
                self._descriptor = os.open(self.path, flags)
            except FileNotFoundError:
                return  # somebody has removed it
        system.force_map(self.map)
        system.force(self._descriptor)
        self._forced_end = end
        if is_last:
            self._close_descriptor()

    def _close_descriptor(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def close(self) -> None:
        """Give back memory and descriptor; the file stays."""
        self.map.close()
        self._close_descriptor()

    def trim(self, end: int) -> None:
        """Close a sealed segment, and give back the room behind byte ``end``.

        Raises:
            OSError: the file cannot be made shorter.
        """
        self.close()
        if self.path is not None and os.path.exists(self.path):
            os.truncate(self.path, end)

    def move(self, directory: str) -> None:
        """Note that its file is in ``directory`` now."""
        if self.path is not None:
            self.path = os.path.join(directory, file_name(self.ordinal))

    def delete(self) -> None:
        """Close, and remove the file."""
        self.close()
        if self.path is not None:
            remove_file(self.path)


def remove_file(path: str) -> None:
    """Remove a file whose contents are on disk elsewhere; if it stays, say so.

    Whoever drains it a second time sends what the sidecar has already.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        troubles.add(f"could not remove a part of the spool: {words(error)}")


def remove_directory(path: str) -> None:
    """Remove a producer's directory, which is empty now; if it stays, say so."""
    try:
        os.rmdir(path)
    except OSError as error:
        troubles.add(f"could not remove a drained spool: {words(error)}")


def file_name(ordinal: int) -> str:
    """Return the name of a producer's segment number ``ordinal``, from 1."""
    return f"{ordinal:08d}{SUFFIX}"


def is_file_name(name: str) -> bool:
    """Say whether a segment's file can have this name."""
    return re.fullmatch(_FILE_NAME, name) is not None


def ordinal_of(name: str) -> int:
    """Return the number of the segment in the file of this name."""
    return int(name.removesuffix(SUFFIX))


def _create_map(path: str, size: int) -> tuple[mmap.mmap, int]:
    """Return the map of a new file, and a descriptor of it."""
    try:
        fd = create_file(path)
    except FileExistsError:
        # Left by a try that has come to the end of the app's stack, and could not even
        # remove it. The directory is ours, and no two segments have one number.
        os.unlink(path)
        fd = create_file(path)
    try:
        # Room is taken now: a disk that is full is an error here, where it can be
        # handled, and not a SIGBUS that kills the app at some later write.
        system.reserve(fd, size)
        return mmap.mmap(fd, size), fd
    except BaseException:
        os.close(fd)
        os.unlink(path)
        raise


def _open_map(path: str, size: int) -> mmap.mmap:
    try:
        fd = os.open(path, os.O_RDWR | system.CLOSE_ON_EXEC)
    except FileNotFoundError:
        return mmap.mmap(-1, size)
    try:
        if os.fstat(fd).st_size >= size:
            return mmap.mmap(fd, size)
        memory = mmap.mmap(-1, size)
        content = os.pread(fd, size, 0)
        memory[: len(content)] = content
        return memory
    finally:
        os.close(fd)
