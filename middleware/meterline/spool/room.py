"""How much all the spools of one directory may take together.

Each worker has its own bound. This one is for the many: a process for each task, a
worker that is restarted all night, while no sidecar takes in what they leave.
"""

import os
import time
from typing import Final

from meterline.spool.segment import FIRST_BYTES
from meterline.system import AnyPath

SPOOLS_FULL_MAX: Final = 16
"""All spools together may take as much as so many that are full."""
LOOK_S: Final = 10.0  # between two looks at what the others take
LOOKED_AT_MAX: Final = 2000  # spools; of more, so many stand for the rest
BLOCK_BYTES: Final = 512  # what st_blocks counts in, whatever the file system


class Room:
    """What a spool directory has room for, as of the last look.

    Between two looks other workers may take more than that: the bound is kept within
    what they write in ten seconds.
    """

    def __init__(self, spool_dir: AnyPath, *, bytes_max: int) -> None:
        self._spool_dir = spool_dir
        self._bytes_max = bytes_max
        self._left = bytes_max
        self._looked_s = float("-inf")

    def look(self) -> None:
        """Look what all spools take, unless that was done just now."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            self._left = self._bytes_max - taken_bytes(self._spool_dir)

    def has(self, size: int) -> bool:
        """Tell whether ``size`` more bytes may be taken."""
        return size <= self._left

    def take(self, size: int) -> None:
        """Take note that ``size`` bytes were taken."""
        self._left -= size


def taken_bytes(spool_dir: AnyPath) -> int:
    """Return what the spools in a directory take on the disk, by a good estimate."""
    try:
        spools = os.listdir(spool_dir)
    except OSError:
        return 0  # we may make our own there, and not see the others
    shown = spools
    if len(spools) > LOOKED_AT_MAX:
        # Their names are random, and so is what stands behind one another. Not by
        # `random`: with it comes hashing, and both for some milliseconds of each import.
        start = int.from_bytes(os.urandom(4)) % (len(spools) - LOOKED_AT_MAX)
        shown = spools[start : start + LOOKED_AT_MAX]
    taken = sum(_spool_bytes(os.path.join(spool_dir, name)) for name in shown)
    return taken * len(spools) // max(1, len(shown))


def _spool_bytes(path: str) -> int:
    try:
        with os.scandir(path) as files:
            return sum(
                file.stat(follow_symlinks=False).st_blocks * BLOCK_BYTES
                for file in files
            )
    except OSError:
        return FIRST_BYTES  # another user's, or gone just now
