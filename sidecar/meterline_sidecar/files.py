"""Files of the sidecar: their names, how they are replaced, and locks.

A ledger is a database and what lies beside it. Each of those files is named here, once.
"""

import contextlib
import fcntl
import os
import stat
import sys
from pathlib import Path
from typing import Self

from meterline_sidecar.errors import AlreadyRunning, MeterlineError, PlaceGone


class LedgerFiles:
    """The files of one ledger: the database, and what lies beside it.

    They lie beside the file itself: a link to it is another name and no other ledger.

    Args:
        database: the database's own file.
    """

    def __init__(self, database: Path) -> None:
        database = Path(os.path.realpath(database))
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
        self.newest = _beside(database, ".newest")
        """The newest link that was ever here: no backup has it, no restore sets it back."""
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
        self.backups = _beside(database, ".backups")
        """Every backup that was made."""
        self.erased = _beside(database, ".erased")
        """Digests of names that were erased: no restore sets it back."""
        self.verified = _beside(database, ".verified")
        """How far an interrupted verification came."""

    @property
    def kept(self) -> tuple[Path, ...]:
        """Every file whose content matters; which of them exist, nobody knows."""
        return (
            self.database,
            self.wal,
            self.shm,
            self.key,
            self.head,
            self.newest,
            self.kept_head,
            self.sent,
            self.tokens,
            self.portal_key,
            self.receipt,
            self.backups,
            self.erased,
        )


def lock_of(path: Path) -> Path:
    """Return the file that whoever uses ``path`` alone holds locked."""
    return _beside(path, ".lock")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def replace_file(
    path: Path, content: bytes, *, durably: bool, mode: int = 0o600
) -> None:
    """Write a file as a whole: whoever is killed leaves the old one or none.

    ``durably``: it survives a power loss once this returns. Otherwise one may leave the
    file empty, and whoever reads it must know what that means.
    """
    scratch = scratch_of(path)
    scratch.unlink(missing_ok=True)  # its mode may be another
    _write(scratch, content, mode=mode)
    put_in_place(scratch, path, durably=durably)


def overwrite(path: Path, content: bytes) -> None:
    """Write a small file in place and in one call: whoever is killed leaves it whole.

    Where there is none, an empty one or a longer one, it is replaced: on a full disk a
    new one would stay empty, and of a longer one the end would stay.
    """
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError:
        replace_file(path, content, durably=False)
        return
    try:
        fits = 0 < os.fstat(descriptor).st_size <= len(content)
        if fits:
            os.write(descriptor, content)
    finally:
        os.close(descriptor)
    if not fits:
        replace_file(path, content, durably=False)


def create_file(path: Path, content: bytes, *, mode: int) -> None:
    """Make a file as a whole, durably, unless it exists.

    Raises:
        FileExistsError: it exists, and stays as it is.
    """
    scratch = _beside(path, f".{os.getpid()}.new")
    try:
        _write(scratch, content, mode=mode)
        sync(scratch)
        os.link(scratch, path)  # unlike a rename, this never replaces
    finally:
        scratch.unlink(missing_ok=True)
    sync(path.parent)


def put_in_place(scratch: Path, path: Path, *, durably: bool) -> None:
    """Give a finished file its name, in place of the one that has it.

    ``durably``: its content and its name survive a power loss once this returns.
    """
    if durably:
        sync(scratch)
    scratch.replace(path)
    if durably:
        sync(path.parent)  # until then a power loss undoes the rename


def scratch_of(path: Path) -> Path:
    """Return where a file is written until it is whole."""
    return _beside(path, ".new")


def _write(path: Path, content: bytes, *, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode)
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)


def sync(path: Path) -> None:
    """Put a file's content, or a directory's names, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_socket(path: Path, *, key: str) -> None:
    """Remove the socket that a dead process left, and nothing else.

    Args:
        key: of the configuration, which names the path.

    Raises:
        AlreadyRunning: something else is there.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise AlreadyRunning(f"{path} is a file, not a socket; remove it or set {key}")
    path.unlink()


class Place:
    """A path that must go on leading to the file that it led to at first.

    Args:
        what: what stands there, for the error.
        error: what is raised.
    """

    def __init__(
        self, path: Path, what: str, *, error: type[PlaceGone] = PlaceGone
    ) -> None:
        self._path = path
        self._what = what
        self._error = error
        self._known: tuple[int, int] | None = None

    def check(self) -> None:
        """Compare with the first time; there need not be anything before that.

        Raises:
            PlaceGone: it was deleted or replaced.
        """
        try:
            status = os.stat(self._path)  # noqa: PTH116 - at every commit: no objects
        except OSError:
            found = None
        else:
            found = (status.st_dev, status.st_ino)
        if found == self._known:
            return
        if self._known is None:
            self._known = found
            return
        happened = "deleted" if found is None else "replaced"
        raise self._error(
            f"{self._path} was {happened} while the sidecar ran: {self._what} that it"
            " has open is gone. The sidecar exits, so that nothing is stored where"
            " nobody finds it; the apps keep what was not acked"
        )

    def is_lost(self) -> bool:
        """Say whether the path leads elsewhere by now."""
        try:
            self.check()
        except PlaceGone:
            return True
        return False


class LedgerLock:
    """Keeps the ledger's files for this process, by whatever name others know them.

    A name is not enough: another path may lead to the same file. So the lock is on the
    file beside the database itself and, where that harms no reader, on its inode.
    """

    def __init__(self, beside: "ProcessLock", descriptor: int | None) -> None:
        self._beside = beside
        self._descriptor = descriptor

    @classmethod
    def take(cls, database: Path, *, is_file: bool = True) -> Self:
        """Lock a ledger, which need not exist yet.

        Args:
            database: its file, or what the files beside it are called by.
            is_file: whether it is one; otherwise it is on a server.

        Raises:
            AlreadyRunning: another process holds it; the text names that process.
            MeterlineError: it has several names, or cannot be made.
        """
        files = LedgerFiles(database)
        guards = f"the database {database}"
        beside = ProcessLock.take(files.lock, guards=guards)
        if not is_file:
            return cls(beside, None)
        try:
            return cls(beside, _lock_inode(files.database, guards=guards))
        except BaseException:
            beside.release()
            raise

    def release(self) -> None:
        """Give the lock up. No connection to the database may be open any more."""
        # Closing any descriptor of a file drops the locks that SQLite has on it.
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._beside.release()


def _check_links(path: Path, descriptor: int) -> None:
    if os.fstat(descriptor).st_nlink > 1:
        raise MeterlineError(
            f"{path} has several names (hard links), and SQLite keeps a WAL for each of"
            " them; leave it one name, or use a symbolic link"
        )


def _lock_inode(path: Path, *, guards: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise MeterlineError(
            f"cannot write {path}: {error.strerror}; check the disk and the file's"
            " permissions"
        ) from error
    try:
        _check_links(path, descriptor)
        if sys.platform == "linux":  # elsewhere it would keep SQLite's readers out
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise AlreadyRunning(
            f"{guards} is in use by another process, which knows it by another name;"
            " stop that process first, or choose another place in the configuration"
        ) from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


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
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
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
        command = " ".join(sys.argv)[:500]
        with contextlib.suppress(OSError):  # only words for people: a disk may be full
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} ({command})\n".encode(), 0)
        return cls(path, descriptor)

    def release(self) -> None:
        """Give the lock up. The file stays: removing it would let two hold it."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
