"""What is measured of each peer: in process, under a server, and after ``kill -9``."""

import contextlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from benchmarks.harness import cpu_s
from benchmarks.peers.client import PATH, SUBJECT
from benchmarks.peers.place import PYTHON, ROOT, Served, stub, variables
from tests.sidecar_process import SidecarProcess

TARGET: Final = "benchmarks.peers.apps:app"
CONNECTIONS: Final = 16
WARM_UP_S: Final = 1
KILLED_AFTER: Final = 1_000
COMES_BACK_S: Final = 20.0
"""As long as the slowest of them waits before it sends: a server is started again after
it was killed, and gets this time."""
COUNTED_AS: Final = {
    "apitally": "spans",
    "opentelemetry": "spans",
    "moesif": "events",
    "stripe": "calls",
}


class Rate(Struct, frozen=True):
    """How fast a server answers, and what it takes for a request."""

    requests_per_s: float
    cpu_us: float
    """Of the process that serves, on all cores."""


def load_program() -> str:
    """Return what makes the requests."""
    return "wrk" if shutil.which("wrk") else "a client of ours in a process of its own"


def in_process_us(peer: str) -> float:
    """Return the CPU of a request, in a process of its own."""
    with surroundings(peer, keeps=False) as (folder, at, _):
        command = [PYTHON, "-m", "benchmarks.peers.in_process", peer]
        environment = variables(peer, folder, at.url)
        del environment["PEER"]
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{peer}: {done.stderr.decode()[-2000:]}")
        return float(json.loads(done.stdout.splitlines()[-1]))


def served(peer: str, *, seconds: int) -> Rate:
    """Return how fast a server with a peer answers."""
    with surroundings(peer, keeps=False) as (folder, at, _):
        server = Served(TARGET, folder, variables(peer, folder, at.url))
        server.start()
        try:
            ask(server.port, seconds=WARM_UP_S)
            before_s = cpu_s(server.pid)
            answered, took_s = ask(server.port, seconds=seconds)
            cpu = cpu_s(server.pid) - before_s
        finally:
            server.kill()
    return Rate(answered / took_s, cpu / answered * 1e6)


def delivered(peer: str, *, is_killed: bool) -> int:
    """Return how many of 1,000 requests are known in the end."""
    with surroundings(peer, keeps=True) as (folder, at, sidecar):
        server = Served(TARGET, folder, variables(peer, folder, at.url))
        server.start()
        ask(server.port, seconds=60, n_max=KILLED_AFTER)
        if is_killed:
            server.kill()
            server.start()
        time.sleep(COMES_BACK_S)
        try:
            return _known(peer, folder, server, at, sidecar)
        finally:
            server.kill()


def _known(
    peer: str,
    folder: Path,
    server: Served,
    at: Served,
    sidecar: SidecarProcess | None,
) -> int:
    if sidecar is not None:
        with sidecar.client() as client:
            events: dict[str, int] = client.get("/status").json()["events"]
        return events["ingested"]
    if peer in COUNTED_AS:
        return int(at.get_json("/counts")[COUNTED_AS[peer]])
    if peer == "row":
        with contextlib.closing(sqlite3.connect(folder / "rows.db")) as database:
            return int(database.execute("SELECT count(*) FROM requests").fetchone()[0])
    # Whoever scrapes gets what the new process has counted.
    counts = re.findall(
        r"(?m)^\w*requests_total\{.*items.*\} ([0-9.e+]+)$", server.get("/metrics")
    )
    return int(sum(map(float, counts)))


@contextlib.contextmanager
def surroundings(
    peer: str, *, keeps: bool
) -> Generator[tuple[Path, Served, SidecarProcess | None]]:
    """Yield a folder, what peers send to, and for Meterline its sidecar."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        at = stack.enter_context(stub(folder, keeps=keeps))
        sidecar = None
        if peer == "meterline":
            sidecar = stack.enter_context(SidecarProcess(folder))
        yield folder, at, sidecar


def ask(port: int, *, seconds: int, n_max: int | None = None) -> tuple[int, float]:
    """Return how many requests were answered, and in how many seconds."""
    if n_max is None and shutil.which("wrk"):
        options = f"-t1 -c{CONNECTIONS} -d{seconds}s"
        url = f"http://127.0.0.1:{port}{PATH}"
        command = ["wrk", *options.split(), "-H", SUBJECT, url]
        text = _output(command)
        found = re.search(r"(\d+) requests in ([0-9.]+)s", text)
        assert found is not None, text
        if "Non-2xx" in text:
            raise RuntimeError(text)
        return int(found[1]), float(found[2])
    arguments: list[Any] = [port, seconds, CONNECTIONS, *([n_max] if n_max else [])]
    module = [sys.executable, "-m", "benchmarks.peers.client"]
    answered, took_s = json.loads(_output([*module, *map(str, arguments)]))
    return answered, took_s


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout
