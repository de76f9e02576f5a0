"""All processes of a soak, and the disk of the ledger."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx

from tests.fault.host import ROOT
from tests.sidecar_process import SIDECAR, SidecarProcess, meterline, until
from tests.soak.book import Book
from tests.soak.journal import Journal

CLOCKS_OFF_MS: Final = {"shop": -240_000, "chat": 180_000, "jobs": 0}
"""The apps, and how wrong the clock of each is: less than what would be held."""
DISK_BYTES: Final = 4 << 30
"""Of the small disk while it has room: more than a soak of hours needs."""
START_TIMEOUT_S: Final = 180
COMMAND_TIMEOUT_S: Final = 300
END_TIMEOUT_S: Final = 30
FILL_TRIES: Final = 20
FULL_WHEN_KIB: Final = 64
SIDECAR_TABLE: Final = SIDECAR.replace('"meterline.db"', '"disk/meterline.db"')


class App:
    """One app: a server process and its workers, in a process group of their own."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.socket = folder / f"{name}.sock"
        self._log = folder / f"{name}.log"
        self._environment = {
            **environment,
            "METERLINE_APP": name,
            "METERLINE_SOAK_HTTP": str(self.socket),
            "METERLINE_SOAK_CLOCK_OFF_MS": str(CLOCKS_OFF_MS[name]),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def workers(self) -> list[int]:
        """The ids of its worker processes."""
        assert self._process is not None, "not started"
        pid = self._process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except FileNotFoundError:
            return []
        return [int(child) for child in children if _is_a_worker(child)]

    def start(self) -> None:
        """Start it, and do not wait."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.serve"],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Send SIGKILL to all of it."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Send SIGTERM, and see that all of it is gone."""
        assert self._process is not None, "not started"
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_TIMEOUT_S)
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, which is ours alone, and wait."""
        if (process := self._process) is None:
            return
        self._process = None
        with suppress(ProcessLookupError):  # all have ended
            os.killpg(process.pid, number)
        process.wait(END_TIMEOUT_S)


def _is_a_worker(pid: str) -> bool:
    """Say whether it is no helper, such as the tracker of Python's resources."""
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


class Stage:
    """The sidecar, the apps and the load; every process here was started here."""

    def __init__(self, folder: Path, *, journal: Journal, per_s: int) -> None:
        self.folder = folder
        self.journal = journal
        self.book = Book(time.time_ns() // 1_000_000)
        self.notes = folder / "notes"
        self.disk = folder / "disk"
        self.is_over = threading.Event()
        self.sidecar_lock = threading.Lock()
        self._disturbances = 0
        self._per_s = per_s
        self._load: subprocess.Popen[bytes] | None = None
        self.notes.mkdir()
        self.disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs"]
        self.has_small_disk = not subprocess.run(
            [*mount, str(self.disk)], capture_output=True, check=False
        ).returncode
        self.sidecar = self._new_sidecar()
        environment = {
            **self.sidecar.environment,
            "METERLINE_SOCKET": str(self.sidecar.socket),
            "METERLINE_SPOOL_DIR": str(self.sidecar.spool_dir),
            "METERLINE_SOAK_NOTES": str(self.notes),
        }
        self.apps = [App(name, folder, environment) for name in CLOCKS_OFF_MS]

    def rehearse(self, clock: str) -> None:
        """Start a sidecar of the same ledger at another time, in place of the last."""
        self.sidecar = self._new_sidecar(clock=clock)
        self.start_sidecar()

    def _new_sidecar(self, *, clock: str | None = None) -> SidecarProcess:
        sidecar = SidecarProcess(
            self.folder,
            meterline=self.book.meterline_toml(),
            pricing=self.book.pricing_toml(),
            sidecar=SIDECAR_TABLE,
            clock=clock,
        )
        sidecar.database = self.disk / "meterline.db"
        return sidecar

    def start(self) -> None:
        """Start everything."""
        self.start_sidecar()
        for app in self.apps:
            app.start()
        self._load = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.load", str(self._per_s)]
            + [str(app.socket) for app in self.apps],
            cwd=ROOT,
        )

    def stop_apps(self) -> None:
        """End the load, then the apps."""
        if self._load is not None:
            self._load.terminate()
            self._load.wait(END_TIMEOUT_S)
            self._load = None
        for app in self.apps:
            app.stop()

    def close(self, *, keeps_ledger: bool) -> None:
        """End what still runs, and take the small disk away.

        Args:
            keeps_ledger: whether somebody will want to look at it.
        """
        self.is_over.set()
        if self._load is not None:
            self._load.kill()
            self._load.wait(END_TIMEOUT_S)
        for app in self.apps:
            app.kill()
        self.sidecar.__exit__()
        if self.has_small_disk:
            kept = self.folder / "kept"
            if keeps_ledger:
                shutil.copytree(self.disk, kept)
            subprocess.run(["umount", "--lazy", str(self.disk)], check=True)
            if keeps_ledger:
                self.disk.rmdir()
                kept.rename(self.disk)

    def run_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a ``meterline`` command; it may be slow, as everything else goes on.

        Raises:
            subprocess.TimeoutExpired: it did not end, and was ended.
        """
        return meterline(
            *arguments,
            environment={"METERLINE_CONFIG": str(self.sidecar.config)},
            timeout_s=COMMAND_TIMEOUT_S,
        )

    def start_sidecar(self) -> None:
        """Start it, and wait until it is ready."""
        self.sidecar.launch()
        until(self.is_ready, timeout_s=START_TIMEOUT_S)

    def is_ready(self) -> bool:
        """Say whether the sidecar can store events.

        Raises:
            RuntimeError: it has ended.
        """
        if not self.sidecar.is_running:
            raise RuntimeError(f"it ended: {self.sidecar.log.read_text()[-2000:]}")
        try:
            with self.sidecar.client() as client:
                return client.get("/readyz").status_code == HTTPStatus.OK
        except httpx.HTTPError:
            return False

    @contextmanager
    def disturbing(self) -> Generator[None]:
        """Mark a span in which the sidecar is disturbed on purpose."""
        with self.sidecar_lock:
            self._disturbances += 1
            try:
                if not self.sidecar.is_running:
                    self.journal.fail("the sidecar has ended, and nobody asked it to")
                    self.start_sidecar()
                yield
            finally:
                self._disturbances += 1

    @property
    def disturbances(self) -> int:
        """How often a disturbance began or ended: an odd number during one."""
        return self._disturbances

    def fill_disk(self) -> None:
        """Leave no room on the ledger's disk."""
        for _ in range(FILL_TRIES):
            status = os.statvfs(self.disk)
            used = (status.f_blocks - status.f_bfree) * status.f_frsize
            # Refused where more than that was written in the meantime.
            if self._resize_disk(used + FULL_WHEN_KIB * 1024):
                return
        raise RuntimeError(f"{self.disk} grows faster than it can be made small")

    def empty_disk(self) -> None:
        """Give the ledger's disk its room back."""
        assert self._resize_disk(DISK_BYTES)

    def _resize_disk(self, size: int) -> bool:
        command = ["mount", "-o", f"remount,size={size}", str(self.disk)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
