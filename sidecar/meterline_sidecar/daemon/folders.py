"""Makes the directories that the sidecar needs, with the modes that they need."""

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Final

from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import MeterlineError

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
    if sidecar.allowed_uids and not sidecar.spool_dir.exists():
        with _explained(sidecar.spool_dir, "spool_dir"):
            sidecar.spool_dir.mkdir()
            sidecar.spool_dir.chmod(SHARED_DIRECTORY_MODE)


@contextlib.contextmanager
def _explained(folder: Path, key: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise MeterlineError(
            f"cannot make the directory {folder}: {error.strerror}; make it for"
            f" this user, or set sidecar.{key} to another place"
        ) from error
