"""One living producer's spool as a whole: how it begins, is kept up, and ends.

``<spool dir>/<producer id>/`` holds the file ``producer`` and segments ``00000001.seg``
... Requests use the ``writer`` and nothing else; the shipping thread has the rest.
"""

import logging
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from meterline.spool.modes import make_directory, make_spool_dir
from meterline.spool.reader import Reader
from meterline.spool.segment import remove_directory
from meterline.spool.writer import Writer, in_memory
from meterline.wire import VERSION, Hello

NEW_SUFFIX: Final = ".new"

log = logging.getLogger(__name__)


class Spool:
    """The events of one living producer, from the record to the ack."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        """For any thread: records events."""
        self.reader = Reader(writer)
        """For the shipping thread: numbers them, and forgets what was acked."""
        self._synced_s = time.monotonic()
        self._is_sync_failing = False

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
        """Return a new producer's spool in ``spool_dir``; in memory if need be.

        Args:
            bytes_max: as for ``Writer``, and so is ``when_closed``.
        """
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
            writer = Writer(
                hello, directory=hidden, bytes_max=bytes_max, when_closed=when_closed
            )
            # Only now others may see it: with its lock taken and its header written.
            writer.move(spool_dir / hello.producer)
        except OSError as error:
            shutil.rmtree(hidden, ignore_errors=True)
            log.warning(
                "events wait in memory only, a crash would lose them: %s", error
            )
            hello = msgspec.structs.replace(hello, spool=in_memory(error))
            writer = Writer(
                hello, directory=None, bytes_max=bytes_max, when_closed=when_closed
            )
        return cls(writer)

    @property
    def kind(self) -> str:
        """Where events wait: as ``Hello.spool``."""
        return self.writer.hello.spool

    # --- in the shipping thread

    def maintain(self, *, sync_interval_s: float | None) -> None:
        """Do what must not happen in a request: make room, number, sync."""
        self.writer.prepare()
        self.reader.scan()
        now_s = time.monotonic()
        if sync_interval_s is not None and now_s - self._synced_s >= sync_interval_s:
            self._synced_s = now_s
            self._sync()

    def _sync(self) -> None:
        was_failing, self._is_sync_failing = self._is_sync_failing, False
        try:
            for segment in self.writer.segments[-2:]:
                segment.sync()
        except OSError as error:
            self._is_sync_failing = True
            if not was_failing:
                log.warning("could not force the spool to the disk: %s", error)

    # --- the end

    def close(self) -> None:
        """Record nothing more; what comes now goes to ``when_closed``."""
        self.writer.close()

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
