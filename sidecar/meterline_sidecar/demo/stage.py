"""The processes of the demo: one sidecar, some workers, and nothing that outlives it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Final

from meterline_sidecar.errors import MeterlineError

ENDING: Final = (signal.SIGINT, signal.SIGTERM)
PORT: Final = 8270
STOP_TIMEOUT_S: Final = 15.0
LOG_LINES_SHOWN: Final = 20
PLACE_BYTES_MAX: Final = 64  # a Unix socket's whole path has at most 107


class Failed(MeterlineError):
    """A process of the demo ended badly; the text holds the end of its log."""


class Stage:
    """A temporary directory with the demo's configuration, and its processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "meterline.toml"
        self.http = f"127.0.0.1:{_free_port()}"
        self.socket = folder / "meterline.sock"
        self._clock = folder / "clock"
        self._is_interrupted = False
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("METERLINE_")},
            "METERLINE_HTTP": self.http,
            "METERLINE_SOCKET": str(self.socket),
            "METERLINE_DATABASE": str(folder / "meterline.db"),
            "METERLINE_SPOOL_DIR": str(folder / "spool"),
        }
        demo = files("meterline_sidecar.demo")
        for name in ("meterline.toml", "pricing.toml"):
            text = (demo / name).read_text(encoding="utf-8")
            (folder / name).write_text(text.replace('"UTC"', f'"{calm_time_zone()}"'))
        self.turn_clock(hours=0)

    def start_sidecar(self) -> None:
        """Start ``meterline run`` on the demo's configuration."""
        paths = ("--config", str(self.config), "--clock", str(self._clock))
        self._start("sidecar", "meterline_sidecar", "run", *paths)

    def start_worker(self, name: str, requests: Mapping[str, int]) -> None:
        """Start a worker that serves so many requests of each customer, and ends."""
        counts = [f"{customer}={n}" for customer, n in requests.items()]
        self._start(name, "meterline_sidecar.demo.worker", *counts)

    def start_visitors(self) -> None:
        """Start a worker that serves a few requests a second, until it is ended."""
        self._start("visitors", "meterline_sidecar.demo.worker")

    def turn_clock(self, *, hours: int) -> None:
        """Set the sidecar's clock so much ahead of the machine's."""
        fresh = self._clock.with_suffix(".new")
        fresh.write_text(f"+{hours * 3600}")
        fresh.rename(self._clock)

    def interrupt(self, _number: int, _frame: object) -> None:
        """Note a signal, for ``check``.

        Raising in a signal handler could hit between the start of a process and the
        note of its id: nobody would end that process.
        """
        self._is_interrupted = True

    def check(self) -> None:
        """Notice a process that ended badly, or a signal.

        Raises:
            Failed: with the end of the process's log.
            KeyboardInterrupt: Ctrl-C or SIGTERM.
        """
        if self._is_interrupted:
            raise KeyboardInterrupt
        for name, process in self._processes.items():
            code = process.poll()
            if code or (code == 0 and name == "sidecar"):
                lines = self._log(name).read_text(errors="replace").splitlines()
                end = "\n".join(lines[-LOG_LINES_SHOWN:])
                raise Failed(f"the demo's {name} ended with {code}:\n{end}")

    def stop(self) -> None:
        """End every process: the last one started first, the sidecar at the end."""
        for process in reversed(self._processes.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, name: str, module: str, *arguments: str) -> None:
        with self._log(name).open("wb") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603 - our own modules
                [sys.executable, "-m", module, *arguments],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for this process alone, which then ends them in order.
                start_new_session=True,
            )

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


@contextmanager
def stage() -> Generator[Stage]:
    """Set the stage, and clear it whatever happens: Ctrl-C and SIGTERM included."""
    with ExitStack() as on_exit:
        for number in ENDING:  # put back last: a second Ctrl-C leaves nothing, either
            on_exit.callback(signal.signal, number, signal.getsignal(number))
        folder = _new_folder()
        on_exit.callback(shutil.rmtree, folder)
        stage = Stage(folder)
        for number in ENDING:
            signal.signal(number, stage.interrupt)
        on_exit.callback(stage.stop)
        yield stage


def _new_folder() -> Path:
    """Return a temporary directory whose path leaves room for a socket's name."""
    place = tempfile.gettempdir()
    if len(os.fsencode(place)) > PLACE_BYTES_MAX:
        place = "/tmp"  # noqa: S108 - mkdtemp makes it ours alone
    return Path(tempfile.mkdtemp(prefix="meterline-demo-", dir=place))


def calm_time_zone() -> str:
    """Return a zone where it is not midnight within the next hours.

    The requests of a demo that runs while a month ends would stand on two invoices.
    """
    return "UTC" if 1 <= datetime.now(UTC).hour < 20 else "Etc/GMT+12"


def _free_port() -> int:
    """Return the usual port, or any free one where that is taken."""
    for port in (PORT, 0):
        with socket.socket() as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                attempt.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(attempt.getsockname()[1])
    raise Failed("no port is free on 127.0.0.1; end a process that listens there")
