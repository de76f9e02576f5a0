"""Makes the directories that the sidecar needs, and keeps the spools for itself."""

import contextlib
import fcntl
import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

from meterline.spool.modes import make_spool_dir
from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import AlreadyRunning, MeterlineError
from meterline_sidecar.ingest.peers import locked_by

DIRECTORY_MODE: Final = 0o750
SHARED_DIRECTORY_MODE: Final = 0o2770  # what is made in it belongs to its group


def make_directories(config: Config) -> None:
    """Make the directories of database and socket, and a spool that users share.

    Raises:
        MeterlineError: one cannot be made.
    """
    sidecar = config.sidecar
    folders = {
        "database": sidecar.database.parent,
        "socket": sidecar.socket.parent,
        "spool_dir": sidecar.spool_dir.parent,
    }
    for key, folder in folders.items():
        with _explained(folder, key):
            folder.mkdir(parents=True, exist_ok=True, mode=DIRECTORY_MODE)
    if sidecar.allowed_uids:
        with _explained(sidecar.spool_dir, "spool_dir"):
            _share(sidecar.spool_dir)


def _share(folder: Path) -> None:
    """Make a directory for its group, also where an app of this user made it first.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(exist_ok=True)
    if folder.stat().st_uid == os.geteuid():  # else its owner has decided
        folder.chmod(SHARED_DIRECTORY_MODE)


@contextlib.contextmanager
def spool_lock(spool_dir: Path) -> Generator[None]:
    """Be the one sidecar that drains a directory of spools, as long as the block lasts.

    Two ledgers would each count what a dead worker left there. The lock is on the
    directory itself, which may be all that this user has there. One that cannot be
    opened is not drained either, and the sidecar says so.

    Raises:
        AlreadyRunning: another sidecar drains it.
    """
    try:
        make_spool_dir(spool_dir)
        descriptor = os.open(spool_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        _lock(descriptor, spool_dir)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, spool_dir: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = locked_by(os.fstat(descriptor))
        holder = f"process {pid}" if pid else "another process"
        raise AlreadyRunning(
            f"the spool directory {spool_dir} is in use by {holder}; two sidecars would"
            " count its events twice: set sidecar.spool_dir, and METERLINE_SPOOL_DIR of"
            " the apps, to a place of its own"
        ) from None
    except OSError:
        return  # a file system without locks: then no worker has one there either


@contextlib.contextmanager
def _explained(folder: Path, key: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise MeterlineError(
            f"cannot create the directory {folder}: {error.strerror}; create it for "
            f"this user, or set sidecar.{key} to another place"
        ) from error
