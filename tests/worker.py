"""A worker process for fault tests: records as fast as it can and keeps a ledger.

    python -m tests.worker SOCKET SPOOL_DIR LEDGER FIRST THREADS PAUSE_S

The ledger is a memory-mapped file of one counter a thread: how many ``record`` calls
have returned. It survives a SIGKILL, so it is the oracle for what must not be lost.
"""

import mmap
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from meterline import Meter
from tests.patience import PATIENCE_S

COUNTER: Final = struct.Struct("=Q")
STEP: Final = 10**9  # numbers of a thread, and of a worker, that no other one takes
THREADS_MAX: Final = 8
BURST: Final = 200  # records, and then a pause
PAUSE_S: Final = 0.002  # leaves some of the machine to the others


class Worker:
    """A running worker, seen from the test.

    Args:
        pause_s: of each thread after every ``BURST``. With a short one, a worker that
            lives on has soon recorded more than a busy machine takes in.
    """

    def __init__(
        self,
        folder: Path,
        *,
        number: int,
        socket: Path,
        n_threads: int = 1,
        pause_s: float = PAUSE_S,
    ) -> None:
        self.number = number
        self.n_threads = n_threads
        self.ledger = folder / f"ledger-{number}"
        self.ledger.write_bytes(bytes(COUNTER.size * THREADS_MAX))
        arguments = [socket, folder / "spool", self.ledger, number, n_threads, pause_s]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.worker", *map(str, arguments)],
            stderr=subprocess.DEVNULL,
        )

    def counts(self) -> list[int]:
        """Return how many records each thread has made."""
        data = self.ledger.read_bytes()
        return [
            int(COUNTER.unpack_from(data, COUNTER.size * i)[0])
            for i in range(self.n_threads)
        ]

    def kill(self) -> None:
        """Kill it, at once."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)

    def assert_recorded(self, found: list[int]) -> None:
        """All that returned is there once; at most one more a thread is there."""
        for i, count in enumerate(self.counts()):
            first = (self.number * THREADS_MAX + i) * STEP
            mine = sorted(n for n in found if first <= n < first + STEP)
            assert mine in (
                list(range(first, first + count)),
                list(range(first, first + count + 1)),
            ), f"worker {self.number}: {len(mine)} of {count}"


def main() -> None:
    """Record until killed, or until SIGTERM asks for a clean end."""
    socket, spool_dir, ledger, number, n_threads, pause_s = sys.argv[1:]
    meter = Meter(socket=socket, spool_dir=spool_dir)
    with Path(ledger).open("r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    counts = memoryview(memory).cast("Q")  # one store: a kill leaves no half of it
    is_over = threading.Event()

    def end(_number: int, _frame: object) -> None:
        is_over.set()

    signal.signal(signal.SIGTERM, end)

    def record(i: int) -> None:
        first = (int(number) * THREADS_MAX + i) * STEP
        count = 0
        while not is_over.is_set():
            meter.record("n", first + count)
            count += 1
            counts[i] = count
            if count % BURST == 0:
                is_over.wait(float(pause_s))

    threads = [
        threading.Thread(target=record, args=(i,)) for i in range(int(n_threads))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    meter.close(timeout_s=PATIENCE_S)
    os._exit(0)


if __name__ == "__main__":
    main()
