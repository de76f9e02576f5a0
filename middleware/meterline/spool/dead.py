"""Spools whose worker is dead: finding, locking, reading and deleting them.

Used by the next worker that starts and by the sidecar; whoever gets the lock first
drains a spool, the other one passes by.

    for path in spool_directories(spool_dir):
        spool = DeadSpool.take(path)
        if spool is not None:
            spool.claim(ledger)        # so that no other ledger takes any of it
            for part in spool.parts(after_seq=last_seq_on_disk):
                ...                    # Run: part.read() is records; or Loss
            spool.delete()             # once all of it is on disk elsewhere
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from typing import Final, Self

import msgspec
from msgspec import Struct

from meterline.spool.folder import Folder
from meterline.spool.living import NEW_SUFFIX
from meterline.spool.producer_file import (
    DROP_REASONS,
    FILE_NAME,
    WAITING,
    ProducerFile,
)
from meterline.spool.scan import DAMAGED, FORGOTTEN, Loss, Part, Scanner
from meterline.spool.segment import Segment, is_file_name, ordinal_of
from meterline.system import AnyPath
from meterline.wire import VERSION, Hello, WireError, ledger_text

UNFINISHED_S_MIN: Final = 60.0
ANOTHERS: Final = "another_ledger"

_NAME: Final = r"[0-9a-f]{32}"
_UNFINISHED: Final = _NAME + re.escape(NEW_SUFFIX)


def spool_directories(spool_dir: AnyPath) -> list[str]:
    """Return the directories of all producers, dead or alive, in ``spool_dir``.

    Raises:
        OSError: it cannot be read. One that does not exist holds none.
    """
    try:
        names = sorted(os.listdir(spool_dir))
    except FileNotFoundError:
        return []
    return [
        os.path.join(spool_dir, name) for name in names if re.fullmatch(_NAME, name)
    ]


class Owner(Struct, frozen=True):
    """Whose spool a directory is; its worker may be alive."""

    uid: int
    started_ms: int
    """By the worker's clock, as its events are; 0 if that cannot be read."""
    ledger: int
    """The number of the ledger that has begun to take its events; 0: none has."""


def owner_of(directory: AnyPath) -> Owner | None:
    """Return whose spool a directory is; ``None`` if there is nothing in it.

    Raises:
        OSError: that is not to be seen.
    """
    try:
        folder = Folder.open(directory)
    except FileNotFoundError:
        return None
    try:
        if not folder.names():
            return None
        file = ProducerFile.look(folder)
        hello, ledger = file.hello(), file.ledger
    except FileNotFoundError:
        hello, ledger = None, 0
    finally:
        folder.close()
    started_ms = 0 if hello is None else hello.started_ms
    return Owner(folder.owner, started_ms, ledger)


def remove_unfinished(spool_dir: AnyPath) -> None:
    """Remove what processes left that died while they made a spool, or removed one."""
    if not os.path.isdir(spool_dir):
        return
    for name in os.listdir(spool_dir):
        path = os.path.join(spool_dir, name)
        with contextlib.suppress(OSError):
            if re.fullmatch(_UNFINISHED, name):
                if _is_left(path):
                    _remove_unmade(path)
            elif re.fullmatch(_NAME, name) and _is_left(path):
                os.rmdir(path)  # refused, unless all that was in it is gone


def _is_left(path: str) -> bool:
    """Say whether nobody can be at a directory right now."""
    return time.time() - os.lstat(path).st_mtime >= UNFINISHED_S_MIN


def _remove_unmade(path: str) -> None:
    folder = Folder.open(path)
    try:
        file = ProducerFile.take(folder)
        if file is None and folder.names():
            return  # its process lives
        try:  # Nothing was recorded: it never got its real name.
            for name in folder.names():
                folder.remove(name)
            os.rmdir(folder.path)
        finally:
            if file is not None:
                file.close()
    finally:
        folder.close()


class DeadSpool:
    """What a dead worker left behind, locked for us alone."""

    def __init__(self, folder: Folder, file: ProducerFile) -> None:
        self._folder = folder
        self._file = file
        self.directory = folder.path
        self.owner = folder.owner
        """The user whose worker it was."""
        producer = os.path.basename(folder.path)
        hello = file.hello()
        if hello is None or hello.producer != producer:
            # Its name is enough to go on: the sidecar knows the producer by it.
            hello = Hello(
                version=VERSION,
                producer=producer,
                app="",
                host="",
                pid=0,
                started_ms=0,
            )
        self.hello = msgspec.structs.replace(
            hello,
            recorded_seq=file.recorded + file.unmarked() + file.waiting,
            ledger=file.ledger,
        )
        """Who the producer was, and which ledger has begun to take its events."""

    @classmethod
    def take(cls, directory: AnyPath) -> Self | None:
        """Return the spool in ``directory``, locked; ``None`` if it is not to be had.

        That is: its worker lives, or somebody else drains it or has just done so.

        Raises:
            OSError: it cannot be read.
        """
        try:
            folder = Folder.open(directory)
        except FileNotFoundError:
            return None
        try:
            file = ProducerFile.take(folder)
        except BaseException:
            folder.close()
            raise
        if file is None:
            folder.close()
            return None
        return cls(folder, file)

    def parts(self, *, after_seq: int) -> Iterator[Part]:
        """Yield what the sidecar must still get, in order, without a hole.

        Runs of records that were checked, and losses. The first run may begin before
        ``after_seq``. A run is small, so that whoever iterates can do other work in
        between.

        Args:
            after_seq: the last number that the sidecar has on disk.

        Raises:
            OSError: a file cannot be read, or is no file of a spool. What was yielded
                before it holds.
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

    def claim(self, ledger: int) -> None:
        """Note for good which ledger takes the events, before it gets any.

        Raises:
            OSError: it cannot be written.
        """
        self._file.claim_dead(self._folder, ledger)

    def check_claim(self) -> None:
        """See that a ledger can be noted, unless one is.

        Raises:
            OSError: it cannot.
        """
        if not self.hello.ledger:
            with contextlib.suppress(FileNotFoundError):
                os.close(self._folder.open_file(FILE_NAME, writes=True))

    def check(self) -> None:
        """See that every file of it can be read, without reading any.

        Raises:
            OSError: one cannot, or is no file of a spool.
        """
        for name in self._segment_names():
            os.close(self._folder.open_file(name))

    def _all_parts(self) -> Iterator[Part]:
        scanner = Scanner(next_seq=1, verifies=True)
        is_first = True
        for name in self._segment_names():
            segment = Segment.load(self._folder, name)
            if (loss := scanner.enter(segment, is_first=is_first)) is not None:
                yield loss
            yield from scanner.scan(segment)
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

    def _segment_names(self) -> list[str]:
        return sorted(filter(is_file_name, self._folder.names()), key=ordinal_of)

    def delete(self) -> None:
        """Remove it: everything that it held is on disk elsewhere.

        Raises:
            OSError: something stays.
        """
        try:
            for name in (*self._segment_names(), FILE_NAME):
                self._folder.remove(name)
            os.rmdir(self._folder.path)
        finally:
            self.close()

    def close(self) -> None:
        """Give it back as it is; anybody may take it again."""
        self._folder.close()
        self._file.close()


class DeadSource:
    """A dead producer's spool, as a link wants it."""

    def __init__(self, spool: DeadSpool) -> None:
        self._spool = spool
        self._parts: Iterator[Part] = iter(())
        self.hello: Hello = spool.hello
        self.recorded_seq = spool.hello.recorded_seq
        self.excluded = 0  # that stood in its memory alone
        self.is_company = True  # nothing more will come

    def claim(self, ledger: int) -> None:
        """Have it noted which ledger takes all of it, before anything is sent there.

        Raises:
            OSError: it cannot be.
            WireError: the events are another's, and this sidecar cannot tell.
        """
        if self.hello.ledger and not ledger:
            raise WireError(
                ANOTHERS,
                f"ledger {ledger_text(self.hello.ledger)} has begun to take its events,"
                " and this sidecar is too old to say which ledger it has: upgrade it",
            )
        self._spool.claim(ledger)

    def resume(self, last_seq: int) -> None:
        """Start again behind ``last_seq``."""
        self._parts = self._spool.parts(after_seq=last_seq)

    def next_part(self) -> Part | None:
        """Return what to send next; ``None`` at the end."""
        part = next(self._parts, None)
        if part is not None:
            self.recorded_seq = max(self.recorded_seq, part.last_seq)
        return part

    def ack(self, seq: int) -> None:
        """Nothing to do: the spool is deleted as a whole."""
