"""The small file beside a producer's segments: who it is, and what it counted.

``magic | version | counters, ledger | ... | length, crc | Hello``. It is memory-mapped,
so the counters survive a ``kill -9``. An exclusive flock on it means "alive": the kernel
drops the lock with the process, however that ends.
"""

import mmap
import os
import stat
from contextlib import suppress
from struct import Struct as Layout
from typing import Final
from zlib import crc32

import msgspec
from msgspec import Struct

from meterline import system
from meterline.spool import counter
from meterline.spool.folder import Folder
from meterline.spool.modes import create_file
from meterline.spool.segment import SUFFIX, remove_file
from meterline.system import AnyPath
from meterline.wire import SEQ_MAX, Hello, WireError, decode_hello

VERSION: Final = 1
FILE_NAME: Final = "producer"
FILE_BYTES: Final = 4096

DROP_REASONS: Final = ("spool full", "could not be recorded")
SPOOL_FULL: Final = 0
NOT_RECORDABLE: Final = 1
WAITING: Final = "open with units in memory as its worker died"

_MAGIC: Final = b"MLprodcr"
_START: Final = Layout("<8sI")
_RECORDED_AT: Final = 64
_DROPPED_AT: Final = _RECORDED_AT + counter.BYTES  # one counter a reason
_MARKED_AT: Final = _DROPPED_AT + counter.BYTES * len(DROP_REASONS)  # the same
_WAITING_AT: Final = _MARKED_AT + counter.BYTES * len(DROP_REASONS)
_LEDGER_AT: Final = _WAITING_AT + counter.BYTES
_COUNTERS: Final = range(_RECORDED_AT, _LEDGER_AT + counter.BYTES, counter.BYTES)
_HELLO_AT: Final = 256
_HELLO_HEADER: Final = Layout("<II")  # length, crc


class Counts(Struct, frozen=True):
    """What became of a producer's events, as of the shipper's last look."""

    recorded: int
    """All, with those that were dropped."""
    dropped: int
    acked: int

    def plus(self, more: "Counts") -> "Counts":
        """Return all of both."""
        return Counts(
            recorded=self.recorded + more.recorded,
            dropped=self.dropped + more.dropped,
            acked=self.acked + more.acked,
        )

    def since(self, before: "Counts") -> "Counts":
        """Return what has come since ``before``."""
        return Counts(
            recorded=self.recorded - before.recorded,
            dropped=self.dropped - before.dropped,
            acked=self.acked - before.acked,
        )


NOTHING: Final = Counts(recorded=0, dropped=0, acked=0)


class ProducerFile:
    """Who a producer is, and its counters; in memory where it has no directory.

    ``recorded``, ``dropped`` and ``marked`` change only under the lock of their
    owner; nothing here is meant for two writers.
    """

    __slots__ = ("_has_changed", "_is_forced", "_known", "_lock_fd", "_map", "path")

    def __init__(self, memory: mmap.mmap, *, path: str | None, lock_fd: int) -> None:
        self._map = memory
        self._lock_fd = lock_fd
        self.path = path
        # What we wrote ourselves is right whatever becomes of the file.
        self._known: dict[int, int] = {}
        self._is_forced = False
        self._has_changed = True  # since it was forced

    @classmethod
    def create(cls, directory: AnyPath | None, hello: Hello) -> "ProducerFile":
        """Return the new, locked file in ``directory``, or the same in memory.

        Raises:
            OSError: it cannot be made.
        """
        if directory is None:
            file = cls(mmap.mmap(-1, FILE_BYTES), path=None, lock_fd=-1)
        else:
            file = cls._create_file(os.path.join(directory, FILE_NAME))
        file._known = dict.fromkeys(_COUNTERS, 0)
        body = msgspec.msgpack.encode(hello)
        _START.pack_into(file._map, 0, _MAGIC, VERSION)
        _HELLO_HEADER.pack_into(file._map, _HELLO_AT, len(body), crc32(body))
        start = _HELLO_AT + _HELLO_HEADER.size
        file._map[start : start + len(body)] = body
        return file

    @classmethod
    def _create_file(cls, path: str) -> "ProducerFile":
        lock_fd = create_file(path)
        try:
            system.lock(lock_fd)
            system.reserve(lock_fd, FILE_BYTES)
            return cls(_map(path), path=path, lock_fd=lock_fd)
        except BaseException:
            os.close(lock_fd)
            raise

    @classmethod
    def take(cls, folder: Folder) -> "ProducerFile | None":
        """Return the file of a producer that is dead, locked; ``None`` if it lives.

        ``None`` too when somebody else drains it now or has just finished. The file is
        read and never changed. One that is gone or cut counts nothing: the segments
        beside it are what counts, and the lock is then on the directory.

        Raises:
            OSError: it cannot be read.
        """
        try:
            lock_fd = folder.open_file(FILE_NAME)
        except FileNotFoundError:
            if not any(name.endswith(SUFFIX) for name in folder.names()):
                return None
            lock_fd = folder.open_itself()
        try:
            system.lock(lock_fd)
            if os.fstat(lock_fd).st_nlink == 0:  # deleted while we waited at the door
                os.close(lock_fd)
                return None
            return cls(_read(lock_fd), path=None, lock_fd=lock_fd)
        except BlockingIOError:
            os.close(lock_fd)
            return None
        except BaseException:
            os.close(lock_fd)
            raise

    @classmethod
    def look(cls, folder: Folder) -> "ProducerFile":
        """Return what stands in the file of a producer that may be alive, unlocked.

        Raises:
            OSError: it cannot be read, or is not there.
        """
        descriptor = folder.open_file(FILE_NAME)
        try:
            return cls(_read(descriptor), path=None, lock_fd=-1)
        finally:
            os.close(descriptor)

    def hello(self) -> Hello | None:
        """Return who the producer is; ``None`` if the file is damaged."""
        if self._map[: len(_MAGIC)] != _MAGIC:
            return None
        length, crc = _HELLO_HEADER.unpack_from(self._map, _HELLO_AT)
        start = _HELLO_AT + _HELLO_HEADER.size
        body = self._map[start : start + length]
        if crc32(body) != crc:
            return None
        try:
            # Its CRC is no proof: that of nothing is right where all is zeros.
            return decode_hello(body)
        except WireError:
            return None

    @property
    def recorded(self) -> int:
        """The highest number known to be recorded; the spool may hold more."""
        return self._read(_RECORDED_AT)

    @recorded.setter
    def recorded(self, seq: int) -> None:
        self._write(_RECORDED_AT, seq)

    def dropped(self, reason: int) -> int:
        """Return how many events were ever dropped for ``reason``."""
        return self._read(_DROPPED_AT + counter.BYTES * reason)

    def set_dropped(self, reason: int, n_events: int) -> None:
        """Set how many events were ever dropped for ``reason``."""
        self._write(_DROPPED_AT + counter.BYTES * reason, n_events)

    def marked(self, reason: int) -> int:
        """Return how many of the dropped events have a marker in the spool."""
        return self._read(_MARKED_AT + counter.BYTES * reason)

    def set_marked(self, reason: int, n_events: int) -> None:
        """Set how many of the dropped events have a marker in the spool."""
        self._write(_MARKED_AT + counter.BYTES * reason, n_events)

    def unmarked(self) -> int:
        """Return how many dropped events have no marker in the spool yet."""
        reasons = range(len(DROP_REASONS))
        return sum(max(0, self.dropped(i) - self.marked(i)) for i in reasons)

    @property
    def waiting(self) -> int:
        """How many events are open and have units in memory."""
        return self._read(_WAITING_AT)

    def set_waiting(self, n_events: int) -> None:
        """Set how many events are open and have units in memory, for any thread."""
        with suppress(ValueError):  # closed meanwhile: the next one takes what comes
            self._write(_WAITING_AT, n_events)

    @property
    def ledger(self) -> int:
        """The number of the ledger that has begun to take the events; 0: none has."""
        return self._read(_LEDGER_AT)

    def claim(self, ledger: int) -> None:
        """Note which ledger takes the events, before it gets any; 0 is not noted.

        Raises:
            OSError: the disk does not take it. The file has it all the same.
        """
        if ledger in (0, self.ledger):
            return
        self._write(_LEDGER_AT, ledger)
        if self._is_forced:  # else no event is on the disk, and the first sync forces
            self.sync()  # this before them

    def claim_dead(self, folder: Folder, ledger: int) -> None:
        """Note the same in the file of a dead producer, which we have locked.

        Where the file is gone there is nothing to note it in.

        Raises:
            OSError: it cannot be written.
        """
        if ledger in (0, self.ledger):
            return
        with suppress(FileNotFoundError):
            descriptor = folder.open_file(FILE_NAME, writes=True)
            try:
                os.pwrite(descriptor, counter.packed(ledger), _LEDGER_AT)
                system.force(descriptor)
            finally:
                os.close(descriptor)
        self._known[_LEDGER_AT] = ledger

    def settle(self, made: "ProducerFile") -> None:
        """Go on in the place of ``made``, which is new, with the numbers of this one."""
        old_map, old_fd = self._map, self._lock_fd
        self._map, self._lock_fd, self.path = made._map, made._lock_fd, made.path
        self._is_forced, self._has_changed = False, True
        written: dict[int, int] = {}
        # Again where another thread has changed how many wait.
        while (known := dict(self._known)) != written:
            for at, number in known.items():
                counter.write(self._map, at, number)
            written = known
        old_map.close()
        if old_fd >= 0:
            os.close(old_fd)

    def move(self, directory: str) -> None:
        """Note that the file is in ``directory`` now."""
        if self.path is not None:
            self.path = os.path.join(directory, FILE_NAME)

    def sync(self) -> None:
        """Wait until the counters are on the disk. Does nothing in memory.

        Nor does it where none has changed since the last time.

        Raises:
            OSError: they cannot be written there.
        """
        if self._lock_fd < 0 or not self._has_changed:
            return
        self._has_changed = (
            False  # first: what another thread changes now is not forced
        )
        try:
            system.force_map(self._map)
            system.force(self._lock_fd)
        except BaseException:
            self._has_changed = True
            raise
        self._is_forced = True

    def close(self) -> None:
        """Give back memory and descriptor. In the owner this gives up the lock."""
        self._map.close()
        # Taken first, closed then: two threads may both end this producer, and a
        # number that is closed twice may be somebody else's file by then.
        lock_fd, self._lock_fd = self._lock_fd, -1
        if lock_fd >= 0:
            # No LOCK_UN: a forked child closes its copy, and must not unlock ours.
            os.close(lock_fd)

    def delete(self) -> None:
        """Remove the file and close it: nobody sees it unlocked in between."""
        if self.path is not None:
            remove_file(self.path)
        self.close()

    def _write(self, at: int, number: int) -> None:
        self._known[at] = number  # first: see settle()
        counter.write(self._map, at, number)
        self._has_changed = True

    def _read(self, at: int) -> int:
        number = self._known.get(at)
        if number is None:
            number = counter.read(self._map, at) or 0
        return number if number <= SEQ_MAX else 0  # no event has a higher number


def _read(descriptor: int) -> mmap.mmap:
    """Return a copy of an open file; a directory in its place counts nothing.

    Read, not mapped: whoever cuts a mapped file ends the process that reads.
    """
    memory = mmap.mmap(-1, FILE_BYTES)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        content = os.pread(descriptor, FILE_BYTES, 0)
        memory[: len(content)] = content
    return memory


def _map(path: str) -> mmap.mmap:
    # A descriptor of its own: a map keeps a copy of the one it was made from, and a
    # copy of the locked one would keep the lock alive in a forked child.
    fd = os.open(path, os.O_RDWR | system.CLOSE_ON_EXEC)
    try:
        return mmap.mmap(fd, FILE_BYTES)
    finally:
        os.close(fd)
