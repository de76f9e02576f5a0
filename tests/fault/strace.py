"""Breaks a process at its n-th system call, with ``strace -e inject=``."""

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

STRACE: Final = shutil.which("strace")
WRITES: Final = ("pwrite64", "write", "fdatasync", "fsync", "ftruncate", "rename")
"""How the sidecar's files are changed."""

needs_strace = pytest.mark.skipif(
    STRACE is None, reason="strace is not installed (apt-get install strace)"
)

_CALL: Final = re.compile(r"^(\d+) +(\w+)\(")


def strace(
    log: Path, files: list[Path], *, calls: tuple[str, ...] = WRITES, inject: str = ""
) -> list[str]:
    """Return the command to put before another one.

    ``-D`` leaves that one the child of whoever starts it, with its exit code.

    Args:
        log: what the calls are written to.
        files: only calls on these count.
        inject: such as ``fsync:error=EIO:when=3``: the third call of any thread.
    """
    command = ["strace", "-D", "-f", "-qq", "-e", "signal=none", "-o", str(log)]
    for file in files:
        command += ["-P", str(file)]
    command += ["-e", f"trace={','.join(calls)}"]
    if inject:
        command += ["-e", f"inject={inject}"]
    return command


def calls_by_kind(log: Path) -> dict[str, int]:
    """Return how often a thread made each call at most: as ``when=`` counts."""
    by_thread: Counter[tuple[str, str]] = Counter()
    for line in log.read_text().splitlines():
        if (match := _CALL.match(line)) is not None and "resumed" not in line:
            by_thread[match[1], match[2]] += 1
    highest: dict[str, int] = {}
    for (_thread, call), n in by_thread.items():
        highest[call] = max(highest.get(call, 0), n)
    return highest
