"""Spools whose worker is dead: finding, locking, reading and deleting them.

Used by the next worker that starts and by the sidecar; whoever gets the lock first
drains a spool, the other one passes by.

    for path in spool_directories(spool_dir):
        spool = DeadSpool.take(path)
        if spool is not None:
            for part in spool.parts(after_seq=last_seq_on_disk):
                ...                    # Run: part.read() is records; or Loss
            spool.delete()             # once all of it is on disk elsewhere
"""

import logging
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import msgspec

from meterline.spool.living import NEW_SUFFIX
from meterline.spool.producer_file import (
    DROP_REASONS,
    FILE_NAME,
    WAITING,
    ProducerFile,
)
from meterline.spool.scan import DAMAGED, FORGOTTEN, Loss, Part, Scanner
from meterline.spool.segment import SUFFIX, Segment, remove_directory, remove_file
from meterline.wire import VERSION, Hello

UNFINISHED_S_MIN: Final = 60.0

_NAME: Final = re.compile(r"[0-9a-f]{32}")
_UNFINISHED: Final = re.compile(r"[0-9a-f]{32}" + re.escape(NEW_SUFFIX))

log = logging.getLogger(__name__)


def spool_directories(spool_dir: Path) -> list[Path]:
    """Return the directories of all producers, dead or alive, in ``spool_dir``.

    Raises:
        OSError: it cannot be read. One that does not exist holds none.
    """
    try:
        names = sorted(path.name for path in spool_dir.iterdir())
    except FileNotFoundError:
        return []
    return [spool_dir / name for name in names if _NAME.fullmatch(name)]


def remove_unfinished(spool_dir: Path) -> None:
    """Remove what processes left that died while they made their spool."""
    if not spool_dir.is_dir():
        return
    for path in spool_dir.iterdir():
        if not _UNFINISHED.fullmatch(path.name):
            continue
        try:
            if time.time() - path.stat().st_mtime < UNFINISHED_S_MIN:
                continue  # somebody may be at it right now
            file = ProducerFile.take(path / FILE_NAME)
        except OSError:
            continue
        if file is not None:  # nothing was recorded: it never got its real name
            shutil.rmtree(path, ignore_errors=True)
            file.close()


class DeadSpool:
    """What a dead worker left behind, locked for us alone."""

    def __init__(self, directory: Path, file: ProducerFile) -> None:
        self._directory = directory
        self._file = file
        hello = file.hello()
        if hello is None or hello.producer != directory.name:
            # Its name is enough to go on: the sidecar knows the producer by it.
            hello = Hello(
                version=VERSION,
                producer=directory.name,
                app="",
                host="",
                pid=0,
                started_ms=0,
            )
        self.hello = msgspec.structs.replace(
            hello, recorded_seq=file.recorded + file.unmarked() + file.waiting
        )
        """Who the producer was."""

    @classmethod
    def take(cls, directory: Path) -> Self | None:
        """Return the spool in ``directory``, locked; ``None`` if it is not to be had.

        That is: its worker lives, or somebody else drains it or has just done so.

        Raises:
            OSError: it cannot be read.
        """
        file = ProducerFile.take(directory / FILE_NAME)
        return cls(directory, file) if file is not None else None

    def parts(self, *, after_seq: int) -> Iterator[Part]:
        """Yield what the sidecar must still get, in order, without a hole.

        Runs of records that were checked, and losses. The first run may begin before
        ``after_seq``. A run is small, so that whoever iterates can do other work in
        between.

        Args:
            after_seq: the last number that the sidecar has on disk.
        """
        next_seq = after_seq + 1
        for part in self._all_parts():
            if part.last_seq < next_seq:
                continue
            if part.first_seq > next_seq:
                yield Loss(next_seq, part.first_seq - 1, FORGOTTEN)
            if isinstance(part, Loss) and part.first_seq < next_seq:
                part = Loss(next_seq, part.last_seq, part.reason)
            yield part
            next_seq = part.last_seq + 1

    def _all_parts(self) -> Iterator[Part]:
        scanner = Scanner(next_seq=1, verifies=True)
        is_first = True
        for path in self._segment_paths():
            try:
                segment = Segment.open(path)
            except ValueError as error:
                log.warning("left a part of a dead spool unread: %s", error)
                continue
            try:
                if (loss := scanner.enter(segment, is_first=is_first)) is not None:
                    yield loss
                yield from scanner.scan(segment)
            finally:
                segment.close()
            is_first = False
        # What the worker had counted and is not here: it stood in memory, or in a
        # record that is damaged at the very end.
        if (missing := self._file.recorded) >= scanner.next_seq:
            yield Loss(scanner.next_seq, missing, DAMAGED)
            scanner.next_seq = missing + 1
        for reason, words in enumerate(DROP_REASONS):
            marked = max(self._file.marked(reason), scanner.marked_totals[reason])
            n_events = self._file.dropped(reason) - marked
            if n_events > 0:
                yield Loss(scanner.next_seq, scanner.next_seq + n_events - 1, words)
                scanner.next_seq += n_events
        if n_events := self._file.waiting:
            yield Loss(scanner.next_seq, scanner.next_seq + n_events - 1, WAITING)

    def _segment_paths(self) -> list[Path]:
        return sorted(self._directory.glob(f"*{SUFFIX}"), key=lambda path: path.name)

    def delete(self) -> None:
        """Remove it: everything that it held is on disk elsewhere."""
        for path in self._segment_paths():
            remove_file(path)
        self._file.delete()
        remove_directory(self._directory)

    def close(self) -> None:
        """Give it back as it is; anybody may take it again."""
        self._file.close()
