"""A worker process that records events until it is stopped, and keeps a ledger of it.

    python -m tests.fault.load LEDGER --per-s 500 --events 10000 --fork 2

Event number *n* says so: it has the quantity ``n`` and the ledger's name as its subject. The
ledger is a memory-mapped file, so that it survives a ``kill -9`` of the worker.
"""

import argparse
import mmap
import os
import signal
import struct
import time
from pathlib import Path
from types import FrameType
from typing import Final

from meterline import Meter

_LAYOUT: Final = struct.Struct("=QQ")


class Ledger:
    """How many events a worker has recorded, outside of everything that is tested.

    ``done`` were recorded for certain; ``begun`` is one more while one is recorded.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if os.fstat(descriptor).st_size < _LAYOUT.size:
            os.ftruncate(descriptor, _LAYOUT.size)
        self._map = mmap.mmap(descriptor, _LAYOUT.size)
        self._counts = memoryview(self._map).cast("Q")  # one store, never half of it
        os.close(descriptor)
        self.name = path.name

    @property
    def begun(self) -> int:
        """How many events the worker has begun to record."""
        return int(_LAYOUT.unpack_from(self._map)[0])

    @property
    def done(self) -> int:
        """How many of them it has surely recorded."""
        return int(_LAYOUT.unpack_from(self._map)[1])

    def begin(self, number: int) -> None:
        """Note that event ``number`` is about to be recorded."""
        self._counts[0] = number

    def finish(self, number: int) -> None:
        """Note that event ``number`` is recorded."""
        self._counts[1] = number


def record_events(meter: Meter, ledger: Ledger, *, events: int, per_s: float) -> None:
    """Record ``events`` events at a steady pace; a pace of 0 is as fast as it goes."""
    start_s = time.monotonic()
    for number in range(1, events + 1):
        ledger.begin(number)
        meter.record("n", number, subject=ledger.name)
        ledger.finish(number)
        if per_s and (ahead_s := start_s + number / per_s - time.monotonic()) > 0:
            time.sleep(ahead_s)


def main() -> None:
    """Run the worker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--events", type=int, default=10**9)
    parser.add_argument("--per-s", type=float, default=1000)
    parser.add_argument("--fork", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _leave)
    path: Path = options.ledger
    meter = Meter(app_name=path.name)
    if options.fork:  # the parent's spool must be open by then
        meter.record("n", 0, subject="before the fork")
    children: list[int] = []
    for i in range(options.fork):
        child = os.fork()
        if child == 0:
            path = path.with_name(f"{path.name}-fork{i}")
            children.clear()
            break
        children.append(child)
    try:
        record_events(meter, Ledger(path), events=options.events, per_s=options.per_s)
    finally:
        for child in children:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
