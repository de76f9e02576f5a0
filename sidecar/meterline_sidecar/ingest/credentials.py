"""Who is at the other end of a Unix socket, by what the kernel says."""

import socket
import struct
from typing import Final, NamedTuple

_UCRED: Final = struct.Struct("iII")  # pid, uid, gid: Linux's struct ucred

# macOS and BSD, from <sys/un.h> and <sys/ucred.h>; Python names none of them.
_SOL_LOCAL: Final = 0
_LOCAL_PEERCRED: Final = 1
_LOCAL_PEERPID: Final = 2
_XUCRED: Final = struct.Struct("IIh")  # version, uid, number of groups; groups follow
_XUCRED_BYTES: Final = 76
_PID: Final = struct.Struct("i")


class Credentials(NamedTuple):
    """The process and the user that connected."""

    pid: int
    uid: int


def of_peer(connection: socket.socket) -> Credentials:
    """Return who connected.

    Raises:
        OSError: the kernel does not say.
    """
    option: int | None = getattr(socket, "SO_PEERCRED", None)
    if option is not None:
        raw = connection.getsockopt(socket.SOL_SOCKET, option, _UCRED.size)
        pid, uid, _gid = _UCRED.unpack(raw)
        return Credentials(pid, uid)
    raw = connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED_BYTES)
    _version, uid, _n_groups = _XUCRED.unpack_from(raw)
    raw = connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID, _PID.size)
    (pid,) = _PID.unpack(raw)
    return Credentials(pid, uid)
