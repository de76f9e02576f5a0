"""Jobs that are done again and again by workers that are killed: each counts once."""

import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import pytest

from tests.fault.host import pause, rounds
from tests.fault.test_external import TOKENS
from tests.sidecar_process import until
from tests.web.live import LiveSidecar

JOBS: Final = 400
WORKERS: Final = 3
WORKER: Final = """
import random, sys, time
import meterline

dice = random.Random(int(sys.argv[1]))
jobs = list(range(int(sys.argv[2])))
dice.shuffle(jobs)
meter = meterline.Meter(app_name=f"worker-{sys.argv[1]}")
for job in jobs:
    meter.record("tokens", "2.5", subject="acct_1", id=f"job-{job}", source="jobs")
    time.sleep(0.001)
meter.close(timeout_s=100)
"""


class Workers:
    """Processes that do all jobs, each in an order of its own, until told to stop."""

    def __init__(self, sidecar: LiveSidecar, chance: random.Random) -> None:
        self._environment = {
            **os.environ,
            "METERLINE_SOCKET": str(sidecar.socket),
            "METERLINE_SPOOL_DIR": str(sidecar.spool_dir),
        }
        self._chance = chance
        self._threads: list[threading.Thread] = []
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self.n_done = 0

    def start(self) -> None:
        """Start them; one that was killed is followed by another."""
        for i in range(WORKERS):
            thread = threading.Thread(target=self._work, args=(i,))
            thread.start()
            self._threads.append(thread)
        until(lambda: len(self._running) == WORKERS)

    def _work(self, i: int) -> None:
        code = -1
        while code != 0:
            process = subprocess.Popen(
                [sys.executable, "-c", WORKER, str(i), str(JOBS)],
                env=self._environment,
            )
            self._running[i] = process
            code = process.wait()
        self.n_done += 1

    def kill_one(self) -> None:
        """Kill a worker, amid whatever it does."""
        self._running[self._chance.randrange(WORKERS)].kill()

    def join(self) -> None:
        """Wait until all jobs are done by every worker."""
        for thread in self._threads:
            thread.join(120)
        assert self.n_done == WORKERS


def is_all_here(sidecar: LiveSidecar) -> bool:
    """Tell whether all that was recorded is stored, and counted."""
    found = sidecar.get("/status")
    events = found["events"]
    is_stored = events["recorded"] == events["ingested"] >= JOBS * WORKERS
    return bool(is_stored and found["aggregation"]["behind_events"] == 0)


@pytest.mark.timeout(300)
def test_jobs_done_again_by_workers_that_are_killed_count_once(
    tmp_path: Path, chance: random.Random
) -> None:
    meterline = TOKENS.replace('aggregation = "sum"', 'aggregation = "sum"\nscale = 1')
    sidecar = LiveSidecar(tmp_path, meterline=meterline, pricing="")
    with sidecar:
        workers = Workers(sidecar, chance)
        workers.start()
        for _ in range(rounds(3, soak=30)):
            pause(chance, 0.3, 0.8)
            workers.kill_one()
            pause(chance, 0.0, 0.3)
            sidecar.kill()
            sidecar.start()
        workers.join()
        until(lambda: is_all_here(sidecar))

        (acme,) = sidecar.get("/v1/usage", customer="acme")["usage"]
        assert [meter["quantity"] for meter in acme["meters"]] == [f"{JOBS * 5 // 2}.0"]
        found = sidecar.get("/status")
        assert found["events"]["duplicates"] >= JOBS * (WORKERS - 1)
        assert "external_id_conflict" not in {one["code"] for one in found["problems"]}
        verified = sidecar.meterline("verify")
        assert verified.returncode == 0, verified.stdout
