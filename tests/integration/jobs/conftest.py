"""A sidecar for all queues, and the workers that do the jobs of docs/jobs.md."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from meterline_sidecar.demo.stage import calm_time_zone
from tests.integration.test_docs import ROOT, blocks_of
from tests.patience import PATIENCE_S
from tests.plans import STARTER
from tests.ports import Port
from tests.sidecar_process import SidecarProcess, until

QUEUES: Final = ("celery", "threads", "rq", "arq", "dramatiq")
PAGES: Final = 12  # of every job
ENDS: Final = ("works", "fails", "dies")
"""How the first try of a job ends, once it has recorded: told by its account."""

METERS: Final = """
[[meter]]
name = "api_calls"
aggregation = "count"

[[meter]]
name = "pages"
aggregation = "sum"
value = "quantities.pages"
"""
WORK: Final = """
import os, pathlib, signal

def draw(pages):
    return "x" * pages

def publish(account, file):
    what = account.rpartition("_")[2]
    tried = pathlib.Path(f"{account}.tries")
    n_tries = int(tried.read_text()) + 1 if tried.exists() else 1
    tried.write_text(str(n_tries))
    if n_tries == 1 and what == "fails":
        raise OSError("the first time it fails")
    if n_tries == 1 and what == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
"""
CUSTOMERS: Final = "".join(
    f'[[customer]]\nid = "{queue}_{end}"\nsubjects = ["{queue}_{end}"]\n'
    f'time_zone = "{calm_time_zone()}"\n'
    for queue in QUEUES
    for end in ENDS
)


class Farm:
    """A folder with a recipe and its work, and the processes that were started there."""

    def __init__(self, folder: Path, sidecar: SidecarProcess) -> None:
        self.folder = folder
        self.sidecar = sidecar
        self.environment = {
            **os.environ,
            "METERLINE_SOCKET": str(sidecar.socket),
            "METERLINE_SPOOL_DIR": str(sidecar.spool_dir),
            "PYTHONPATH": f"{folder}:{ROOT}",
        }
        self._before = self._duplicates()
        self._running: list[subprocess.Popen[bytes]] = []
        self._ports: list[Port] = []
        (folder / "work.py").write_text(WORK)
        for block in blocks_of("docs/jobs.md"):
            if block.file:
                (folder / block.file).write_text(block.text)

    def start(self, *module: str) -> "subprocess.Popen[bytes]":
        """Start a module of Python; return its process, which leads a group."""
        return self._start(sys.executable, "-m", *module)

    def _start(self, *command: str) -> "subprocess.Popen[bytes]":
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._running.append(process)
        return process

    def redis(self) -> str:
        """Start a Redis; return its address, which the recipes find as ``BROKER``."""
        if (program := shutil.which("redis-server")) is None:
            pytest.skip("needs redis-server, as Debian's package has it")
        self._ports.append(port := Port())
        where = ("--port", str(port.number), "--bind", "127.0.0.1")
        self._start(program, *where, "--save", "")
        until(port.is_listening)
        self.environment["BROKER"] = f"redis://127.0.0.1:{port.number}"
        return self.environment["BROKER"]

    def kill(self, process: "subprocess.Popen[bytes]") -> None:
        """Kill a process with all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_S)

    def end(self) -> None:
        """Kill what still runs."""
        for process in reversed(self._running):
            self.kill(process)
        for port in self._ports:
            port.close()

    def until_tried(self, account: str, n_tries: int) -> None:
        """Wait until a job of an account was tried so many times."""
        file = self.folder / f"{account}.tries"

        def is_tried() -> bool:
            return file.exists() and int(file.read_text() or 0) >= n_tries

        try:
            until(is_tried)
        except TimeoutError:
            pytest.fail(f"{account}: {(self.folder / 'log').read_text()[-4000:]}")

    def until_done(self, queue: str, ends: tuple[str, ...]) -> None:
        """Wait until each job was done, at its first or its second try.

        Where a death ends the whole worker, it must hold no other job then: what it
        had in hand comes back after a minute only.
        """
        for end in ends:
            self.until_tried(f"{queue}_{end}", 1 if end == "works" else 2)

    def check(self, queue: str, ends: tuple[str, ...]) -> None:
        """All jobs are done, and count once, also those that were done twice."""
        self.until_done(queue, ends)
        for end in ends:
            self._until_counted(f"{queue}_{end}")
        n_again = len(ends) - 1
        until(lambda: self._duplicates() - self._before >= n_again)
        assert [self._counted(f"{queue}_{end}") for end in ends] == [PAGES] * len(ends)

    def _until_counted(self, account: str) -> None:
        until(lambda: self._counted(account))

    def _counted(self, account: str) -> int:
        found = self.sidecar.get("/v1/usage", customer=account)["usage"]
        meters = found[0]["meters"] if found else ()
        return sum(m["quantity"] for m in meters if m["meter"] == "pages")

    def _duplicates(self) -> int:
        return int(self.sidecar.get("/status")["events"]["duplicates"])


@pytest.fixture(scope="module")
def running_sidecar(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SidecarProcess]:
    folder = tmp_path_factory.mktemp("s")
    with SidecarProcess(
        folder, meterline=METERS + CUSTOMERS, pricing=STARTER
    ) as sidecar:
        yield sidecar


@pytest.fixture
def farm(tmp_path: Path, running_sidecar: SidecarProcess) -> Iterator[Farm]:
    farm = Farm(tmp_path, running_sidecar)
    yield farm
    farm.end()
