"""One living producer's spool as a whole: how it begins, is kept up, and ends.

``<spool dir>/<producer id>/`` holds the file ``producer`` and segments ``00000001.seg``
... Requests use the ``writer`` and nothing else; the shipping thread has the rest.
"""

import contextlib
import os
import time
from collections.abc import Callable, Generator
from math import inf
from typing import Final

import msgspec

from meterline import system
from meterline.complaints import troubles, words
from meterline.logs import Log
from meterline.spool.modes import make_directory, make_spool_dir
from meterline.spool.producer_file import FILE_BYTES
from meterline.spool.reader import Reader
from meterline.spool.room import SPOOLS_FULL_MAX, Room
from meterline.spool.segment import FIRST_BYTES, remove_directory
from meterline.spool.writer import (
    BYTES_MIN,
    IN_FILE,
    TOGETHER_FULL,
    Writer,
    in_memory,
)
from meterline.system import AnyPath
from meterline.wire import VERSION, Hello

NEW_SUFFIX: Final = ".new"
SETTLE_EVERY_S: Final = 10.0
"""How often to look whether what waits in memory only can go to files."""

log = Log(__name__)


class Spool:
    """The events of one living producer, from the record to the ack."""

    def __init__(self, spool_dir: AnyPath, writer: Writer) -> None:
        self._spool_dir = spool_dir
        self.writer = writer
        """For any thread: records events."""
        self.reader = Reader(writer)
        """For the shipping thread: numbers them, and forgets what was acked."""
        self._synced_s = time.monotonic()
        self._synced_ordinal = 0
        self.sync_at_s = inf
        """When the next sync is due, by the monotonic clock."""
        self._settle_at_s = time.monotonic() + SETTLE_EVERY_S

    @classmethod
    def open(
        cls,
        spool_dir: AnyPath,
        *,
        app: str,
        host: str,
        pid: int,
        bytes_max: int,
    ) -> "Spool":
        """Return a new producer's spool in ``spool_dir``; in memory if need be.

        Args:
            bytes_max: as for ``Writer``.

        Raises:
            OSError: there is not even memory.
            RecursionError: the caller's stack is full.
        """
        hello = Hello(
            version=VERSION,
            producer=os.urandom(16).hex(),
            app=app,
            host=host,
            pid=pid,
            started_ms=time.time_ns() // 1_000_000,
        )
        room = Room(spool_dir, bytes_max=SPOOLS_FULL_MAX * max(bytes_max, BYTES_MIN))
        try:
            writer = _writer_in(spool_dir, hello, bytes_max=bytes_max, room=room)
            return cls(spool_dir, writer)
        except RecursionError:
            raise  # it is the caller's stack that is full
        except Exception as error:  # noqa: BLE001 - edge: whatever this system cannot do
            reason = words(error)
            troubles.add(
                f"events wait in memory only, a crash would lose them: {spool_dir}:"
                f" {reason} (METERLINE_SPOOL_DIR, or spool_dir, names another place)"
            )
            hello = msgspec.structs.replace(hello, spool=in_memory(reason))
            writer = Writer(hello, directory=None, bytes_max=bytes_max, room=room)
            return cls(spool_dir, writer)

    @property
    def kind(self) -> str:
        """Where events wait: as ``Hello.spool``."""
        return self.writer.hello.spool

    # --- in the shipping thread

    def maintain(self, *, sync_interval_s: float | None) -> None:
        """Do what must not happen in a request: make room, number, sync."""
        self.writer.prepare()
        self.reader.scan()
        if self.kind != IN_FILE and time.monotonic() >= self._settle_at_s:
            self._settle()
        if sync_interval_s is None:
            return
        now_s = time.monotonic()
        if now_s - self._synced_s >= sync_interval_s:
            self._synced_s = now_s
            self._sync()
        self.sync_at_s = self._synced_s + sync_interval_s

    def _settle(self) -> None:
        """Bring to files what waits in memory only, if that can be done by now."""
        self._settle_at_s = time.monotonic() + SETTLE_EVERY_S
        writer = self.writer
        try:
            if writer.directory is None or not os.path.isdir(writer.directory):
                producer = writer.hello.producer
                with _unseen_directory(self._spool_dir, producer) as hidden:
                    writer.settle_in(hidden, os.path.join(self._spool_dir, producer))
            is_settled = writer.settle()
        except Exception as error:  # noqa: BLE001 - edge: whatever this system cannot do
            reason = in_memory(words(error))
            if reason != self.kind:
                troubles.add(f"events still wait in memory only: {words(error)}")
                writer.hello = msgspec.structs.replace(writer.hello, spool=reason)
            return
        self.reader.park()
        self._synced_ordinal = 0  # none of them was forced
        if is_settled:
            log.info("meterline: events wait in files again: %s", writer.directory)

    def _sync(self) -> None:
        """Force to the disk what was recorded since the last time."""
        try:
            # All of them that may have changed: a burst fills many in a second.
            segments = [
                segment
                for segment in self.writer.segments
                if segment.ordinal >= self._synced_ordinal
            ]
            if not self._synced_ordinal:
                # Which ledger takes the events is there before they are: without it,
                # another one could take them in after a power loss.
                self.writer.file.sync()
            for segment in segments:
                segment.sync()
            self.writer.file.sync()
            last = segments[-1].ordinal
            if last != self._synced_ordinal and self.writer.directory is not None:
                system.force_directory(self.writer.directory)
                if not self._synced_ordinal:
                    system.force_directory(os.path.dirname(self.writer.directory))
            self._synced_ordinal = last  # it may still grow; those before do not
        except OSError as error:
            troubles.add(f"could not force the spool to the disk: {words(error)}")

    # --- the end

    def close(self, when_closed: Callable[[bytes], None]) -> None:
        """Record nothing more; what comes now goes to ``when_closed``."""
        self.writer.close(when_closed)

    def leave(self, *, is_synced: bool) -> None:
        """Give a closed spool back, as small as it can be, to whoever drains it."""
        self.writer.drop_spare()
        if self.kind != IN_FILE and not self.reader.is_done:
            self._settle()
        if is_synced:
            self._sync()
        end = self.reader.end
        if end is not None:
            try:
                self.writer.segments[-1].trim(end)
            except OSError as error:
                troubles.add(f"could not shorten a part of the spool: {words(error)}")
        self.abandon()

    def delete(self) -> None:
        """Remove the files of a closed spool: the sidecar has everything."""
        for segment in self.writer.all_segments():
            segment.delete()
        self.writer.file.delete()
        if self.writer.directory is not None:
            remove_directory(self.writer.directory)

    def abandon(self) -> None:
        """Give back memory and descriptors; the files are for another process."""
        # Without the writer's lock: in a forked child, nobody may be there to free it.
        self.writer.is_closed = True
        for segment in self.writer.all_segments():
            segment.close()
        self.writer.file.close()


def _writer_in(
    spool_dir: AnyPath, hello: Hello, *, bytes_max: int, room: Room
) -> Writer:
    """Return the writer of a new producer in ``spool_dir``.

    Raises:
        OSError: the directory, or all that is in it, allows no other.
    """
    room.look()
    if not room.has(FIRST_BYTES + FILE_BYTES):
        raise OSError(TOGETHER_FULL)
    with _unseen_directory(spool_dir, hello.producer) as hidden:
        writer = Writer(hello, directory=hidden, bytes_max=bytes_max, room=room)
        # Only now others may see it: with its lock taken and its header written.
        writer.move(os.path.join(spool_dir, hello.producer))
    return writer


@contextlib.contextmanager
def _unseen_directory(spool_dir: AnyPath, producer: str) -> Generator[str]:
    """Make a producer's directory, to be renamed; what fails in it leaves nothing."""
    make_spool_dir(spool_dir)
    hidden = os.path.join(spool_dir, producer + NEW_SUFFIX)
    try:
        make_directory(hidden)
        yield hidden
    except BaseException:
        with contextlib.suppress(OSError):
            for name in os.listdir(hidden):
                os.unlink(os.path.join(hidden, name))
            os.rmdir(hidden)
        raise
