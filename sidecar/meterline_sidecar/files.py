"""Files of the sidecar: their names, how they are replaced, and locks.

A ledger is a database and what lies beside it. Each of those files is named here, once.
"""

import fcntl
import os
import sys
from pathlib import Path
from typing import Self

from meterline_sidecar.errors import AlreadyRunning, MeterlineError


class LedgerFiles:
    """The files of one ledger: the database, and what lies beside it.

    Args:
        database: the database's own file.
    """

    def __init__(self, database: Path) -> None:
        self.database = database
        self.wal = _beside(database, "-wal")
        """What was committed and is not in the database's file yet."""
        self.shm = _beside(database, "-shm")
        """An index of the WAL, made again whenever it is missing."""
        self.lock = lock_of(database)
        """Held by the process that writes the ledger."""
        self.key = _beside(database, ".key")
        """The key of the chain."""
        self.head = _beside(database, ".head")
        """The newest link of the chain."""
        self.kept_head = _beside(database, ".head.alarm")
        """The head that gave an alarm away, as evidence."""
        self.sent = _beside(database, ".sent")
        """How many outbox rows were ever sent."""
        self.tokens = _beside(database, ".tokens")
        """Digests of the access tokens."""
        self.portal_key = _beside(database, ".portal-key")
        """The key that signs customers' links, unless the configuration moves it."""
        self.receipt = _beside(database, ".backup")
        """When the last backup was made."""

    @property
    def kept(self) -> tuple[Path, ...]:
        """Every file whose content matters; which of them exist, nobody knows."""
        return (
            self.database,
            self.wal,
            self.shm,
            self.key,
            self.head,
            self.kept_head,
            self.sent,
            self.tokens,
            self.portal_key,
            self.receipt,
        )


def lock_of(path: Path) -> Path:
    """Return the file that whoever uses ``path`` alone holds locked."""
    return _beside(path, ".lock")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def replace_file(path: Path, content: bytes, *, durably: bool) -> None:
    """Write a private file as a whole: whoever is killed leaves the old one or none.

    ``durably``: it survives a power loss once this returns.
    """
    scratch = _scratch(path)
    _write(scratch, content, mode=0o600)
    put_in_place(scratch, path, durably=durably)


def create_file(path: Path, content: bytes, *, mode: int) -> None:
    """Make a file as a whole, durably, unless it exists.

    Raises:
        FileExistsError: it exists, and stays as it is.
    """
    scratch = _beside(path, f".{os.getpid()}.new")
    try:
        _write(scratch, content, mode=mode)
        _sync(scratch)
        os.link(scratch, path)  # unlike a rename, this never replaces
    finally:
        scratch.unlink(missing_ok=True)
    _sync(path.parent)


def put_in_place(scratch: Path, path: Path, *, durably: bool) -> None:
    """Give a finished file its name, in place of the one that has it.

    ``durably``: its content and its name survive a power loss once this returns.
    """
    if durably:
        _sync(scratch)
    scratch.replace(path)
    if durably:
        _sync(path.parent)  # until then a power loss undoes the rename


def _scratch(path: Path) -> Path:
    return _beside(path, ".new")


def _write(path: Path, content: bytes, *, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)


def _sync(path: Path) -> None:
    """Put a file's content, or a directory's names, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ProcessLock:
    """A file that this process holds locked until it ends, however it ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path, *, guards: str) -> Self:
        """Lock ``path`` and write this process's id into it.

        Args:
            guards: what the lock stands for, for the error.

        Raises:
            AlreadyRunning: another process holds it; the text names that process.
            MeterlineError: the file cannot be made.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise MeterlineError(
                f"cannot write {path}: {error.strerror}; {guards} needs a directory"
                " that this user can write to"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 4096).decode(errors="replace").strip()
            os.close(descriptor)
            raise AlreadyRunning(
                f"{guards} is in use by {holder or 'another process'}; stop that "
                "process first, or choose another place in the configuration"
            ) from None
        os.ftruncate(descriptor, 0)
        command = " ".join(sys.argv)[:500]
        os.pwrite(descriptor, f"process {os.getpid()} ({command})\n".encode(), 0)
        return cls(path, descriptor)

    def release(self) -> None:
        """Give the lock up. The file stays: removing it would let two hold it."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
