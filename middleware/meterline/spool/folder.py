"""A dead worker's directory, held open: whatever is in it is opened below it, by name.

Every user who may record events can write into the spool directory, and whoever reads
there may be the sidecar, or root. So no link is followed, nothing is made, nothing but
a ledger's number is written, and what is no plain file of the directory's own user is
refused, by name.
"""

import contextlib
import errno
import os
import stat
from typing import Self

from meterline import system
from meterline.system import AnyPath


class NotOurs(OSError):
    """Something that is no file of a spool stands where one should be."""


class Folder:
    """One producer's directory, held open.

    It stays the same directory whatever its name leads to later.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.owner = os.fstat(descriptor).st_uid
        """The user whose it is, and whose all files in it must be."""

    @classmethod
    def open(cls, path: AnyPath) -> Self:
        """Return the directory at ``path``, which is not reached through a link.

        Raises:
            FileNotFoundError: it is not there.
            NotOurs: it is a link or a file.
            OSError: it cannot be opened.
        """
        flags = os.O_RDONLY | system.DIRECTORY | system.NO_LINK | system.CLOSE_ON_EXEC
        try:
            descriptor = os.open(path, flags)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise NotOurs(f"{path} is no directory") from error
            raise
        return cls(os.fspath(path), descriptor)

    def names(self) -> list[str]:
        """Return the names of all that is in it."""
        return os.listdir(self._descriptor)

    def size_bytes(self) -> int:
        """Return the room that what is in it takes on the disk, links not followed."""
        total = 0
        for name in self.names():
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
                total += status.st_blocks * 512
        return total

    def open_file(self, name: str, *, writes: bool = False) -> int:
        """Return a descriptor that reads a file of the directory.

        Args:
            name: of the file.
            writes: whether it also writes.

        Raises:
            FileNotFoundError: it is not there, or not any more.
            NotOurs: it is a link, has another name elsewhere, is not a regular file
                or not of the directory's user.
            OSError: it cannot be opened.
        """
        # O_NONBLOCK: a FIFO would have us wait for a writer.
        flags = system.NO_LINK | system.NO_WAIT | system.CLOSE_ON_EXEC
        flags |= os.O_RDWR if writes else os.O_RDONLY
        path = os.path.join(self.path, name)
        try:
            descriptor = os.open(name, flags, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise NotOurs(f"{path} is a link") from error
            if error.errno == errno.ENXIO:
                raise NotOurs(f"{path} is no regular file") from error
            raise OSError(error.errno, error.strerror, path) from error
        try:
            self._check(path, os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _check(self, path: str, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise NotOurs(f"{path} is no regular file")
        if status.st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if status.st_nlink > 1:
            raise NotOurs(f"{path} has another name elsewhere")
        if status.st_uid != self.owner:
            raise NotOurs(
                f"{path} belongs to user {status.st_uid}, its directory to user"
                f" {self.owner}"
            )

    def open_itself(self) -> int:
        """Return a descriptor of the directory that can be locked."""
        flags = os.O_RDONLY | system.DIRECTORY | system.CLOSE_ON_EXEC
        return os.open(".", flags, dir_fd=self._descriptor)

    def remove(self, name: str) -> None:
        """Remove a file of the directory, unless it is gone.

        Raises:
            OSError: it cannot be removed.
        """
        try:
            os.unlink(name, dir_fd=self._descriptor)
        except FileNotFoundError:
            return
        except OSError as error:
            path = os.path.join(self.path, name)
            raise OSError(error.errno, error.strerror, path) from error

    def close(self) -> None:
        """Give back the descriptor."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
