"""File modes of the spool: what its directory allows the group, so do its files.

App and sidecar may run as two users who share a group. The directory says whether
they do. An app's umask would decide otherwise, and what a dead worker left could be
read by nobody but its own user.
"""

import os
from pathlib import Path
from typing import Final

from meterline.system import CLOSE_ON_EXEC

_DIRECTORY_MODE: Final = 0o750
_GROUP: Final = 0o070


def make_spool_dir(path: Path) -> None:
    """Make the directory of all spools, and those above it, unless they are there.

    Raises:
        OSError: one cannot be made.
    """
    for folder in reversed([path, *path.parents]):
        # Not parents=True: that would make those above it for everybody.
        if not folder.exists():
            folder.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)


def make_directory(path: Path) -> None:
    """Make a directory for us, and for the group if the one around it is.

    Raises:
        OSError: it cannot be made, or is there.
    """
    path.mkdir(mode=0o700)
    shared = path.parent.stat().st_mode & _GROUP
    # Added to what it got: it may have inherited the bit that hands down the group.
    path.chmod(path.stat().st_mode | shared)


def create_file(path: Path) -> int:
    """Return the descriptor of a new file for whoever may use its directory.

    Raises:
        OSError: it cannot be made, or is there.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | CLOSE_ON_EXEC, 0o600)
    shared = path.parent.stat().st_mode & _GROUP & 0o666
    if shared:
        os.fchmod(fd, 0o600 | shared)
    return fd
