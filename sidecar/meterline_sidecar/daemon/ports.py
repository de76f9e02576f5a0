"""Ports of this machine: which is free, and who has one that is not."""

import contextlib
import pwd
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PORT: Final = 8270
"""Where the HTTP API listens unless somebody else does."""
PORTS_TRIED: Final = 100
LISTENS: Final = "0A"
TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
COMMAND_CHARS_MAX: Final = 200


def free_port(host: str, first: int) -> int:
    """Return the first port from ``first`` on that nobody has; ``first``, if all are taken."""
    last = min(first + PORTS_TRIED, 1 << 16)
    return next((port for port in range(first, last) if _is_free(host, port)), first)


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((host, port))
        except OSError:
            return False
    return True


def holder_of(port: int, *, proc: Path = Path("/proc")) -> str:
    """Return in words who listens on a port, as far as this system says."""
    for table in TABLES:
        for uid, inode in _listeners(table, port):
            process = _process_with(f"socket:[{inode}]", proc)
            if process is not None:
                return process
            try:
                return f"a process of the user {pwd.getpwuid(uid).pw_name}"
            except KeyError:
                return f"a process of the user {uid}"
    return "another process"


def _listeners(table: Path, port: int) -> Iterator[tuple[int, str]]:
    """Yield the user and the inode of each socket that listens there."""
    with contextlib.suppress(OSError):
        for line in table.read_text(encoding="ascii").splitlines()[1:]:
            # sl local remote state queues timer retransmits uid timeout inode ...
            fields = line.split()
            if fields[3] == LISTENS and fields[1].endswith(f":{port:04X}"):
                yield int(fields[7]), fields[9]


def _process_with(link: str, proc: Path) -> str | None:
    """Return which process has something open; those of other users do not say."""
    for folder in proc.iterdir():
        if not folder.name.isdecimal():
            continue
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
            if any(str(fd.readlink()) == link for fd in (folder / "fd").iterdir()):
                words = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                command = " ".join(b" ".join(words).decode(errors="replace").split())
                return f"process {folder.name} ({command[:COMMAND_CHARS_MAX]})"
    return None
