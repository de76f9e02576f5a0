"""Runs commands in processes that are forked from one that has loaded Meterline.

    python -m tests.forked

What a command of a second does is for three quarters to load what it needs, in each of
hundreds of processes. Each command is a process of its own here, too: with the arguments,
the environment and the directory that it is given, from ``main`` to the end of Python.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import IO, Final, NamedTuple, cast

ABSENT: Final = ("h2", "pygments", "trio")
"""What only tests have installed: httpx would load it into each of their processes."""
BACKLOG: Final = 64
_MAKING: Final = threading.Lock()


class Command(NamedTuple):
    """What a command is given."""

    arguments: list[str]
    cwd: str
    environment: dict[str, str]
    timeout_s: float


class Forked:
    """The process that commands are forked from; it ends with this one."""

    def __init__(self) -> None:
        self._address = f"\0meterline-forked-{os.getpid()}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked", self._address[1:]],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        atexit.register(self._process.communicate)

    def run(self, command: Command) -> subprocess.CompletedProcess[str]:
        """Run one command to its end; what takes too long is killed by SIGALRM."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._address)
            connection.sendall(json.dumps(command).encode())
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as answer:
                code, stdout, stderr = json.loads(answer.read())
        return subprocess.CompletedProcess(command.arguments, code, stdout, stderr)


@cache
def _made() -> Forked:
    return Forked()


def forked() -> Forked:
    """Return the one that this process has; several threads may ask at once."""
    with _MAKING:
        return _made()


def _run(command: Command, out: IO[bytes], err: IO[bytes]) -> int:
    """Run a command in a child; return its exit code."""
    pid = os.fork()
    if pid == 0:
        signal.setitimer(signal.ITIMER_REAL, command.timeout_s)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        os.chdir(command.cwd)
        os.environ.clear()
        os.environ.update(command.environment)
        sys.argv[:] = ["meterline", *command.arguments]
        sys.modules["meterline_sidecar.__main__"].main()
        sys.exit()  # as any program ends: no frame of ours goes on
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _serve(connection: socket.socket) -> None:
    with connection, connection.makefile("rb") as question:
        command = Command(*json.loads(question.read()))
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            code = _run(command, out, err)
            printed: list[str] = []
            for file in (out, err):
                file.seek(0)
                printed.append(file.read().decode())
        connection.sendall(json.dumps([code, *printed]).encode())


def _listen(address: str) -> None:
    """Fork for each command that is asked for, until the input ends."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{address}")
        listening.listen(BACKLOG)
        print("ready", flush=True)  # noqa: T201 - to the process that started this one
        while True:
            ready, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _serve(connection)
                os._exit(0)
            connection.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def main(address: str) -> None:
    """Load all commands, then listen."""
    for name in ABSENT:
        sys.modules[name] = cast("ModuleType", None)
    importlib.import_module("meterline_sidecar.__main__")
    commands = importlib.import_module("meterline_sidecar.cli.main")
    for name in commands.COMMANDS:
        commands.cli.get_command(None, name)
    gc.freeze()
    _listen(address)


if __name__ == "__main__":
    main(sys.argv[1])
