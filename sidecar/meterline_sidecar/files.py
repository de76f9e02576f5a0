"""One sidecar to a database and to a socket: a lock file that names its holder."""

import fcntl
import os
import sys
from pathlib import Path
from typing import Self

from meterline_sidecar.errors import AlreadyRunning, MeterlineError


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
