"""A user of this machine who may send events, or not even that, and means harm.

    python -m tests.fault.adversary UID GID WHAT ARGUMENT ...

Gives up being root for good, where it is, does ``WHAT``, and prints as JSON what came of it: for each
try ``null`` where it went through, else the error's name.
"""

import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from meterline import wire
from meterline.spool.producer_file import FILE_NAME
from meterline.spool.segment import file_name
from meterline.wire import VERSION, Hello

HUGE_BYTES: Final = 1 << 40  # sparse
WRONG_TOKENS: Final = 25
SLOW: Final = 200  # connections that never send a whole request


def outcome(attempt: Callable[[], object]) -> str | None:
    """Return why something could not be done; ``None`` if it was."""
    try:
        attempt()
    except OSError as error:
        return type(error).__name__
    return None


def poison(spool_dir: str, *victims: str) -> dict[str, str | None]:
    """Put into a spool directory whatever may lead its readers elsewhere."""
    found: dict[str, str | None] = {}
    folders = (Path(spool_dir) / f"{i:032x}" for i in range(1000))
    for victim in map(Path, victims):
        is_theirs = owns(victim)  # then they need no trick
        if not is_theirs:
            found[f"read {victim.name}"] = outcome(victim.read_bytes)
            found[f"write {victim.name}"] = outcome(partial(victim.open, "r+b"))
            found[f"remove {victim.name}"] = outcome(victim.unlink)
        for name in (FILE_NAME, file_name(1)):
            if not is_theirs:
                with contextlib.suppress(OSError):  # the kernel may forbid it
                    made(next(folders)).joinpath(name).hardlink_to(victim)
            made(next(folders)).joinpath(name).symlink_to(victim)
        next(folders).symlink_to(victim.parent)
        next(folders).symlink_to(victim)
    for name in (FILE_NAME, file_name(1), file_name(10**9)):
        os.mkfifo(made(next(folders)) / name)
        made(next(folders)).joinpath(name).mkdir()
        huge = made(next(folders)) / name
        huge.touch()
        os.truncate(huge, HUGE_BYTES)
    next(folders).write_bytes(b"no directory")
    unreadable = made(next(folders))
    unreadable.joinpath(file_name(1)).write_bytes(b"x" * 5000)
    unreadable.chmod(0)
    for odd in (b"\x1b]0;x\x07", b"a\nERROR b", b"\xff\xfe", b"f" * 200):
        Path(spool_dir, os.fsdecode(odd)).mkdir()
    Path(spool_dir, f"{0:032x}.new").symlink_to("/")
    return found


def owns(path: Path) -> bool:
    """Tell whether a file is the user's own, as far as they can see it at all."""
    try:
        return path.stat().st_uid == os.geteuid()
    except PermissionError:
        return False


def made(folder: Path) -> Path:
    """Return a new directory that the group may read."""
    folder.mkdir()
    folder.chmod(0o750)
    return folder


def steal(path: str, producer: str) -> dict[str, str | None]:
    """Say hello as somebody else's worker; return what the sidecar answered."""
    hello = Hello(VERSION, producer, "thief", "h", 1, 1)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(60)
        peer.connect(path)
        peer.sendall(wire.encode_frame(hello))
        answer = wire.decode_from_sidecar(peer.recv(65_536)[wire.FRAME_HEADER.size :])
    code = answer.code if isinstance(answer, wire.Refusal) else type(answer).__name__
    return {"hello": code}


def browse(port: str, token: str, *paths: str) -> dict[str, str | None]:
    """Ask for everything without a token and with one that may not; keep all busy."""
    found: dict[str, str | None] = {}
    for path in paths:
        found[path] = asked(int(port), path, "")
        found[f"{path} with a token"] = asked(int(port), path, token)
    for i in range(WRONG_TOKENS):
        found["guessed"] = asked(int(port), "/status", f"wrong-{i}")
    slow = [connected(int(port)) for _ in range(SLOW)]
    for i, peer in enumerate(slow):
        with contextlib.suppress(OSError):  # already cut off
            peer.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "[: 5 + i % 30])
    print(json.dumps(found), flush=True)  # noqa: T201 - and now they wait
    sys.stdin.read()
    return {}


def asked(port: int, path: str, token: str) -> str:
    """Return the status of an answer."""
    method = "POST" if path.endswith("finalize") else "GET"
    proof = f"Authorization: Bearer {token}\r\n" if token else ""
    with connected(port) as peer:
        peer.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{proof}"
            "Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        return peer.recv(100).split()[1].decode()


def connected(port: int) -> socket.socket:
    """Return a connection to the loopback."""
    peer = socket.socket()
    peer.settimeout(60)
    peer.connect(("127.0.0.1", port))
    return peer


WHAT: Final[dict[str, Callable[..., dict[str, str | None]]]] = {
    "poison": poison,
    "steal": steal,
    "browse": browse,
}


def main() -> None:
    """Become another user, and do it."""
    uid, gid, what, *arguments = sys.argv[1:]
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    os.umask(0o007)
    print(json.dumps(WHAT[what](*arguments)), flush=True)  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
