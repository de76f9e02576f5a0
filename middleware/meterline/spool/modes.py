"""File modes of the spool: what its directory allows the group, so do its files.

App and sidecar may run as two users who share a group. The directory says whether
they do. An app's umask would decide otherwise, and what a dead worker left could be
read by nobody but its own user.
"""

import os
from typing import Final

from meterline.system import CLOSE_ON_EXEC, AnyPath

_DIRECTORY_MODE: Final = 0o750
_GROUP: Final = 0o070


def make_spool_dir(path: AnyPath) -> None:
    """Make the directory of all spools, and those above it, unless they are there.

    Raises:
        OSError: one cannot be made.
    """
    if os.path.exists(path):
        return
    # Not by os.makedirs: that would make those above it for everybody.
    if above := os.path.dirname(path):
        make_spool_dir(above)
    try:
        os.mkdir(path, _DIRECTORY_MODE)
    except FileExistsError:  # another worker was faster
        if not os.path.isdir(path):
            raise


def make_directory(path: str) -> None:
    """Make a directory for us, and for the group if the one around it is.

    Raises:
        OSError: it cannot be made, or is there.
    """
    os.mkdir(path, 0o700)
    shared = os.stat(os.path.dirname(path)).st_mode & _GROUP
    # Added to what it got: it may have inherited the bit that hands down the group.
    os.chmod(path, os.stat(path).st_mode | shared)


def create_file(path: str) -> int:
    """Return the descriptor of a new file for whoever may use its directory.

    Raises:
        OSError: it cannot be made, or is there.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | CLOSE_ON_EXEC, 0o600)
    shared = os.stat(os.path.dirname(path)).st_mode & _GROUP & 0o666
    if shared:
        os.fchmod(fd, 0o600 | shared)
    return fd
