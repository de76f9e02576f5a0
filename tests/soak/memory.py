"""How much memory the sidecar takes, over its lives."""

import statistics
import threading
import time
from pathlib import Path
from typing import Final, NamedTuple

from meterline_sidecar.store.sqlite.driver import CACHE_KIB
from tests.soak.stage import Stage

WARM_UP: Final = 0.25
"""The part of a life in which memory may grow: caches fill up."""
GROWTH_MAX_MIB: Final = 24.0
"""How much more at the end of the longest life than after its warm-up, besides what
SQLite keeps of a ledger that grew: at most ``CACHE_KIB`` of each connection, of which
one has all that is new."""
SHOWN: Final = 24
LIFE_S_MIN: Final = 60
HOUR_S: Final = 3600


class Sample(NamedTuple):
    """The memory of one process at one moment."""

    at_s: float
    pid: int
    mib: float
    ledger_mib: float


class Memory(threading.Thread):
    """Samples the sidecar's resident memory while a soak runs."""

    def __init__(self, stage: Stage, *, every_s: float) -> None:
        super().__init__(name="memory", daemon=True)
        self._stage = stage
        self._every_s = every_s
        self.samples: list[Sample] = []

    def run(self) -> None:
        """Sample until the soak is over."""
        start_s = time.monotonic()
        while not self._stage.is_over.wait(self._every_s):
            try:
                pid = self._stage.sidecar.pid
                ledger = self._stage.sidecar.database.stat().st_size
                status = Path(f"/proc/{pid}/status").read_text()
                line = next(x for x in status.splitlines() if x.startswith("VmRSS"))
            except (AssertionError, OSError, StopIteration):
                continue  # it is just being started
            at_s = time.monotonic() - start_s
            mib, ledger_mib = int(line.split()[1]) / 1024, ledger / (1 << 20)
            self.samples.append(Sample(at_s, pid, mib, ledger_mib))

    def judge(self) -> None:
        """Print the series, and the slope of the longest life; it must be flat."""
        journal = self._stage.journal
        step = max(1, len(self.samples) // SHOWN)
        series = " ".join(f"{x.at_s:.0f}s:{x.mib:.0f}" for x in self.samples[::step])
        journal.say(f"memory of the sidecar, MiB: {series}")
        lives: dict[int, list[Sample]] = {}
        for sample in self.samples:
            lives.setdefault(sample.pid, []).append(sample)
        longest = max(lives.values(), key=lambda life: life[-1].at_s - life[0].at_s)
        length_s = longest[-1].at_s - longest[0].at_s
        warm = [x for x in longest if x.at_s > longest[0].at_s + WARM_UP * length_s]
        if length_s < LIFE_S_MIN or len(warm) < SHOWN:
            journal.say("memory: no life was long enough to tell a slope")
            return
        slope, _ = statistics.linear_regression(
            [x.at_s for x in warm], [x.mib for x in warm]
        )
        third = len(warm) // 3
        early = statistics.median(x.mib for x in warm[:third])
        late = statistics.median(x.mib for x in warm[-third:])
        ledger_mib = warm[-1].ledger_mib - warm[0].ledger_mib
        journal.say(
            f"memory: {len(lives)} lives, the longest {length_s:.0f} s: {early:.1f} MiB"
            f" after its warm-up, {late:.1f} at its end, slope"
            f" {slope * HOUR_S:+.1f} MiB an hour; the ledger grew {ledger_mib:.1f} MiB"
        )
        if late - early > GROWTH_MAX_MIB + min(ledger_mib, CACHE_KIB / 1024):
            journal.fail(
                f"the sidecar's memory grew from {early:.0f} to {late:.0f} MiB"
            )
