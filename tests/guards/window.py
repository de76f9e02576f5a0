"""The part of a script that is counted, by whichever program runs it.

A script names its parts, ``with counted("an event"): ...``; all else in it, such as
what it imports, costs nothing that is told. See ``tests.guards.measure``.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Final

BEGIN: Final = "/guard begins/"
END: Final = "/guard ends/"
"""Files that are asked for and not there: marks in a list of system calls."""
PROGRAM: Final = "GUARD_PROGRAM"
"""The variable that names who counts: ``valgrind`` or ``strace``."""


@contextlib.contextmanager
def counted(name: str) -> Generator[None]:
    """Count what happens in here, under a name."""
    program = os.environ[PROGRAM]
    with _instructions(name) if program == "valgrind" else _calls(name):
        yield


@contextlib.contextmanager
def _instructions(name: str) -> Generator[None]:
    _control("--zero")
    _control("--instr=on")
    yield
    _control("--instr=off")
    _control(f"--dump={name}")


def _control(order: str) -> None:
    subprocess.run(
        ["callgrind_control", order, str(os.getpid())],
        check=True,
        stdout=subprocess.DEVNULL,
    )


@contextlib.contextmanager
def _calls(name: str) -> Generator[None]:
    before = _written_bytes()
    os.path.exists(BEGIN + name)  # noqa: PTH110 - one call, and no more
    yield
    os.path.exists(END + name)  # noqa: PTH110 - as above
    print(name, _written_bytes() - before, sep="\t", file=sys.stdout, flush=True)  # noqa: T201 - is read


def _written_bytes() -> int:
    """Return how many bytes this process has handed to ``write`` and its like."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])
