"""What benchmarks share: what they print, how they ship events, and CPU time."""

import asyncio
import contextlib
import json
import multiprocessing
import os
import platform
import queue
import re
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar, cast

import meterline
from tests.producer import Connection

T = TypeVar("T")
WINDOW: Final = 8  # batches sent and not yet acked
POLL_S: Final = 0.05
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
SIDECAR: Final = """
[sidecar]
socket = "s"
database = "db"
spool_dir = "spool"
http = "127.0.0.1:{port}"
http_requests_per_s = 100000
"""
"""What a configuration begins with; what it is about stands in its own folder."""


@contextlib.contextmanager
def sidecar(config: Path, *sockets: Path) -> Generator[int]:
    """Run one until the block ends; yield its process id once it listens.

    Raises:
        RuntimeError: it ended at its start; the text has what it said.
    """
    log = config.with_name("sidecar.log")
    command = [
        sys.executable,
        "-m",
        "meterline_sidecar",
        "run",
        "--config",
        str(config),
    ]
    with log.open("wb") as out:
        daemon = subprocess.Popen(command, stderr=out)
    try:
        while not all(map(_listens, sockets)):
            if daemon.poll() is not None:
                raise RuntimeError(f"the sidecar ended: {log.read_text()}")
            time.sleep(POLL_S)
        yield daemon.pid
    finally:
        daemon.terminate()
        daemon.wait()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as attempt:
        return attempt.connect_ex(str(path)) == 0


def collected(
    found: "multiprocessing.Queue[T]", senders: Sequence[multiprocessing.Process]
) -> list[T]:
    """Return what each of some processes puts into a queue.

    Raises:
        RuntimeError: one has failed, and never will; what it said stands above.
    """
    told: list[T] = []
    while len(told) < len(senders):
        try:
            told.append(found.get(timeout=1))
        except queue.Empty:
            if any(sender.exitcode for sender in senders):
                raise RuntimeError("a process that sends has failed") from None
    return told


async def ship(
    socket: Path, producer: str, frames: Sequence[bytes], *, every_s: float = 0.0
) -> list[float]:
    """Send batches as an app does; return what each waited for its ack, in s.

    Args:
        every_s: how long from one batch to the next; 0 is as fast as acks allow.
    """
    waits: list[float] = []
    sent: deque[float] = deque()
    room = asyncio.Semaphore(WINDOW)
    async with Connection(socket) as app:
        await app.hello(producer)

        async def take_acks() -> None:
            for _ in frames:
                await app.receive()
                waits.append(time.perf_counter() - sent.popleft())
                room.release()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(take_acks())
            start_s = time.perf_counter()
            for i, frame in enumerate(frames):
                await asyncio.sleep(start_s + i * every_s - time.perf_counter())
                await room.acquire()
                sent.append(time.perf_counter())
                await app.send_bytes(frame)
    return waits


def cpu_s(pid: int) -> float:
    """Return how long a process has worked, on all cores together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def family_cpu_s(pid: int) -> float:
    """Return how long a process and its children have worked, with those that ended."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            number, _, rest = path.read_text().partition(" ")
            fields = rest.rpartition(")")[2].split()
            if int(number) == pid:
                total += sum(map(int, fields[11:15]))
            elif int(fields[1]) == pid:
                total += int(fields[11]) + int(fields[12])
    return total / TICKS_PER_S


class Memory(NamedTuple):
    """What a process has of the machine's memory, in MiB."""

    resident: float
    """With all pages of Python and of libraries, which others may have as well."""
    shared_out: float
    """The same, with a page of n processes as its nth part."""
    private: float
    """What would be free if it ended."""


def memory_of(pid: int) -> Memory:
    """Return what a process has now."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kib = {
        name: int(n)
        for name, n in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)
    }
    private = kib["Private_Clean"] + kib["Private_Dirty"]
    return Memory(kib["Rss"] / 1024, kib["Pss"] / 1024, private / 1024)


def tell(text: str | None, result: Mapping[str, object], *, as_json: bool) -> None:
    """Print a result below its heading, or nothing but the result as JSON."""
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    heading(text)
    for name, value in result.items():
        sys.stdout.write(f"{name:28} {_shown(value)}\n")


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return "  ".join(map(_shown, cast("Sequence[object]", value)))
    is_number = isinstance(value, float | int) and not isinstance(value, bool)
    return f"{value:,.2f}" if is_number else str(value)


async def tell_as_found(
    text: str | None,
    found: AsyncIterable[Mapping[str, float]],
    goals: Mapping[str, str],
    *,
    as_json: bool,
) -> None:
    """Print each figure beside its goal when it is known, or in the end all as JSON."""
    result: dict[str, float] = {}
    if not as_json:
        heading(text)
    async for some in found:
        result |= some
        for name, value in some.items() if not as_json else ():
            sys.stdout.write(f"{name:32} {value:12,.2f}  {goals.get(name, '')}\n")
            sys.stdout.flush()
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")


def heading(text: str | None) -> None:
    """Print what is measured and on what, before the figures."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.release()}"
    command = " ".join(["python", *sys.orig_argv[1:]])
    sys.stdout.write(
        f"{(text or '').strip()}\n\n"
        f"machine   {machine}\n"
        f"python    {platform.python_version()}\n"
        f"meterline {meterline.__version__} {commit}\n"
        f"command   {command}\n\n"
    )
