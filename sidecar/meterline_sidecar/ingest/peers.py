"""Who speaks for a producer: the process that has the lock of its spool, and no other.

A producer's id is no secret: it is the name of a directory, and stands in ``/status``.
Whoever else said hello with it would put events of their own in place of the worker's,
which would then count as sent twice.
"""

import asyncio
import fcntl
import os
from collections import OrderedDict
from pathlib import Path
from typing import Final

from meterline.spool.producer_file import FILE_NAME
from meterline.wire import WireError
from meterline_sidecar.ingest.credentials import Credentials

LOCKS: Final = Path("/proc/locks")
REMEMBERED_MAX: Final = 10_000


class Owners:
    """Knows which process each producer belongs to.

    Args:
        spool_dir: where workers keep their spools.
    """

    def __init__(self, spool_dir: Path | None) -> None:
        self._spool_dir = spool_dir
        self._known: OrderedDict[str, Credentials] = OrderedDict()

    async def check(self, producer: str, peer: Credentials) -> None:
        """Remember who speaks for a producer from now on.

        Raises:
            WireError: it is somebody else's.
        """
        holder = await asyncio.to_thread(self._holder, producer)
        if holder is None:
            before = self._known.get(producer, peer)
            is_theirs = peer == before or (
                peer.uid == before.uid and not await asyncio.to_thread(_lives, before)
            )
        else:
            is_theirs = holder == peer.pid
        if not is_theirs:
            raise WireError(
                "duplicate_producer",
                f"process {peer.pid} of user {peer.uid} is not the one that producer"
                f" {producer} belongs to, which has the lock of its spool",
            )
        self._known[producer] = peer
        self._known.move_to_end(producer)
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)

    def _holder(self, producer: str) -> int | None:
        """Return the process that has a spool's lock; 0 for nobody.

        ``None`` where that cannot be known: there is no such spool here, as with events
        that wait in memory, or a process has it that we do not see.
        """
        if self._spool_dir is None:
            return None
        path = self._spool_dir / producer / FILE_NAME
        try:
            descriptor = os.open(
                path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            )
        except OSError:
            return None
        try:
            found = locked_by(os.fstat(descriptor))
            if found is not None:
                return found
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return None
        else:
            return 0
        finally:
            os.close(descriptor)


def locked_by(status: os.stat_result) -> int | None:
    """Return the process that locked a file or directory, as far as Linux tells us."""
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    place = f"{device}:{status.st_ino}"
    try:
        locks = LOCKS.read_text(encoding="ascii")
    except OSError:
        return None  # not Linux
    for line in locks.splitlines():
        # ``1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF``
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == place:
            return int(fields[4])
    return None


def _lives(peer: Credentials) -> bool:
    if not peer.pid:
        return True  # in a container that we do not see into
    try:
        os.kill(peer.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
