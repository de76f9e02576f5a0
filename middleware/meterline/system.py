"""What not every operating system has: asked for here, and nowhere else.

Each is done in the next best way where there is one (macOS), and is an ``OSError``
where there is none (Windows): then events wait in memory, and the log says so.
"""

import _socket  # `socket` makes an enum of each family of its constants first
import atexit
import errno
import mmap
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

AnyPath = str | os.PathLike[str]
"""A path as callers have it. Our own are texts: to load ``pathlib`` takes milliseconds."""

CLOSE_ON_EXEC: Final[int] = getattr(os, "O_CLOEXEC", 0)
DIRECTORY: Final[int] = getattr(os, "O_DIRECTORY", 0)
NO_LINK: Final[int] = getattr(os, "O_NOFOLLOW", 0)
NO_WAIT: Final[int] = getattr(os, "O_NONBLOCK", 0)
ZEROS: Final = bytes(64 << 10)
_NOT_HERE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})

# The peer may be gone when we write. An app that has given SIGPIPE its default back
# would end by that.
_NO_SIGNAL: Final[int] = getattr(_socket, "MSG_NOSIGNAL", 0)
_SO_NO_SIGNAL: Final[int | None] = getattr(_socket, "SO_NOSIGPIPE", None)


def _module(name: str) -> ModuleType | None:
    try:
        # Not by `importlib`: it brings `warnings`, which nothing here uses.
        return __import__(name)
    except ImportError:
        return None


_fcntl: Final = _module("fcntl")


def after_fork(callback: Callable[[], None]) -> None:
    """Call ``callback`` in every forked child, where there is forking at all."""
    register = getattr(os, "register_at_fork", None)
    if register is not None:
        register(after_in_child=callback)


def lock(fd: int) -> None:
    """Lock a file for this process alone, without waiting.

    Raises:
        BlockingIOError: another process has the lock.
        OSError: files cannot be locked here.
    """
    if _fcntl is None:
        raise OSError(errno.ENOTSUP, "files cannot be locked on this system")
    _fcntl.flock(fd, _fcntl.LOCK_EX | _fcntl.LOCK_NB)


def reserve(fd: int, size: int) -> None:
    """Give a new file ``size`` bytes of zeros, with their room on the disk.

    Raises:
        OSError: there is no room.
    """
    allocate = getattr(os, "posix_fallocate", None)
    if allocate is not None:
        try:
            allocate(fd, 0, size)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
        else:
            return
    for start in range(0, size, len(ZEROS)):
        os.pwrite(fd, ZEROS[: size - start], start)


def force(fd: int) -> None:
    """Wait until what was written to a file is on the disk.

    Raises:
        OSError: it cannot be written there.
    """
    to_the_platter: int | None = getattr(_fcntl, "F_FULLFSYNC", None)
    if _fcntl is not None and to_the_platter is not None:
        # macOS: fsync stops at the drive's cache.
        _beside(_fcntl.fcntl, fd, to_the_platter)
    else:
        _beside(getattr(os, "fdatasync", os.fsync), fd)


def force_directory(path: AnyPath) -> None:
    """Wait until the names in a directory are on the disk.

    Raises:
        OSError: it cannot be done.
    """
    fd = os.open(path, os.O_RDONLY | CLOSE_ON_EXEC)
    try:
        _beside(os.fsync, fd)
    finally:
        os.close(fd)


def _beside(wait: Callable[..., object], *given: int) -> None:
    """Wait for the disk, so that nothing else waits for it.

    Where gevent has put greenlets in the place of threads, ours is one of them: it would
    hold up every request of the process. One of gevent's own threads waits for it there.
    """
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        gevent: Any = sys.modules["gevent"]
        gevent.get_hub().threadpool.apply(wait, given)
    else:
        wait(*given)


def force_map(memory: mmap.mmap) -> None:
    """Hand what was written to a map to its file, where that is not the same."""
    # Linux needs none, and the call would hold the interpreter while the disk works.
    if sys.platform != "linux" and not memory.closed:
        memory.flush()


def connect(path: AnyPath) -> _socket.socket:
    """Return a connection to a Unix socket that never waits.

    Raises:
        OSError: nobody listens there, or this system has no such sockets.
    """
    family = getattr(_socket, "AF_UNIX", None)
    if family is None:
        raise OSError(errno.EAFNOSUPPORT, "this Python has no Unix sockets")
    connection = _socket.socket(family, _socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        if _SO_NO_SIGNAL is not None:
            connection.setsockopt(_socket.SOL_SOCKET, _SO_NO_SIGNAL, 1)
        connection.connect(os.fspath(path))  # at once or not at all
    except BaseException:
        connection.close()
        raise
    return connection


def send(connection: _socket.socket, data: memoryview) -> int:
    """Send what can be sent at once; return how many bytes that was.

    Raises:
        OSError: the connection has failed; BlockingIOError if nothing can be sent now.
    """
    return connection.send(data, _NO_SIGNAL)


def host_name() -> str:
    """Return what this host calls itself; empty where it does not."""
    try:
        # What no encoder takes is possible in a host's name, too.
        return _socket.gethostname().encode(errors="replace").decode()
    except OSError:
        return ""


_has_ended = False


def is_ending() -> bool:
    """Tell whether the interpreter ends: a thread that is started now never runs.

    Python 3.11 waits for it for ever, later ones refuse.
    """
    return _has_ended or sys.is_finalizing()


def _note_end() -> None:
    global _has_ended
    _has_ended = True


# The last of our handlers that runs: it is registered before all others.
atexit.register(_note_end)
