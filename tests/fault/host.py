"""One machine to break: a real sidecar, real workers, and the truth about them."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

from tests.fault.load import Ledger
from tests.fault.oracle import Found, assert_law
from tests.patience import PATIENCE_S
from tests.sidecar_process import SIDECAR, SidecarProcess, until

ROOT: Final = Path(__file__).parents[2]
IS_SOAK: Final = bool(os.environ.get("SOAK"))

SETTLE_TIMEOUT_S: Final = 90  # on a machine that does much else

METERS: Final = """
[[meter]]
name = "n"
aggregation = "sum"
value = "quantities.n"
"""


def rounds(suite: int, *, soak: int) -> int:
    """Return how often to try: a few times in the suite, many in ``make soak``."""
    return soak if IS_SOAK else suite


class Worker:
    """A process that records events, and its ledger."""

    def __init__(self, process: subprocess.Popen[bytes], ledger: Ledger) -> None:
        self._process = process
        self.ledger = ledger

    def kill(self) -> None:
        """Send SIGKILL, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Send SIGTERM, and wait until it is gone."""
        self._end(signal.SIGTERM)

    def wait(self) -> None:
        """Wait until it has recorded all its events and is gone."""
        self._process.wait(PATIENCE_S)

    def until_recorded(self, n_events: int) -> None:
        """Wait until it has recorded so many events."""
        until(lambda: self.ledger.done >= n_events)

    def _end(self, number: signal.Signals) -> None:
        self._process.send_signal(number)
        self._process.wait(PATIENCE_S)


class Host:
    """Everything in one folder; ``settle`` brings it to rest and checks the law."""

    def __init__(self, folder: Path, *, sidecar: str = SIDECAR) -> None:
        self.folder = folder
        self._config = sidecar
        self._sidecars: list[SidecarProcess] = []
        self.sidecar = self.another_sidecar("sidecar.log")
        self.ledgers = folder / "truth"
        self.ledgers.mkdir()
        self._workers: list[Worker] = []

    def __enter__(self) -> Self:
        """Nothing runs yet: each test starts what it needs."""
        return self

    def __exit__(self, *error: object) -> None:
        """End every process."""
        for worker in self._workers:
            worker.kill()
        for sidecar in self._sidecars:
            sidecar.__exit__(*error)

    def another_sidecar(self, log: str) -> SidecarProcess:
        """Return one that wants the same socket and the same database."""
        sidecar = SidecarProcess(
            self.folder, meterline=METERS, pricing="", sidecar=self._config
        )
        sidecar.log = self.folder / log
        self._sidecars.append(sidecar)
        return sidecar

    def worker(
        self,
        *,
        per_s: float = 1000,
        events: int | None = None,
        fork: int = 0,
        **environment: str,
    ) -> Worker:
        """Start a worker, and return when it has recorded its first event."""
        name = f"worker{len(self._workers)}"
        ledger = Ledger(self.ledgers / name)
        command = [sys.executable, "-m", "tests.fault.load", str(self.ledgers / name)]
        command += ["--per-s", str(per_s), "--fork", str(fork)]
        if events is not None:
            command += ["--events", str(events)]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={
                **self.sidecar.environment,
                "METERLINE_SOCKET": str(self.sidecar.socket),
                "METERLINE_SPOOL_DIR": str(self.sidecar.spool_dir),
                **environment,
            },
        )
        worker = Worker(process, ledger)
        self._workers.append(worker)
        worker.until_recorded(1)
        return worker

    @property
    def truths(self) -> list[Ledger]:
        """What every worker, and every child that one forked, has recorded."""
        return [Ledger(path) for path in sorted(self.ledgers.iterdir())]

    def settle(self, *, may_lose: tuple[str, ...] = ()) -> Found:
        """Stop the workers, let the sidecar take in everything, and check the law."""
        for worker in self._workers:
            worker.stop()
        if not self.sidecar.is_running:
            self.sidecar.start()
        try:
            until(self._is_at_rest, timeout_s=SETTLE_TIMEOUT_S)
        except TimeoutError as error:
            status = self.sidecar.get("/status")
            raise AssertionError(
                f"not at rest: {status}\n{self.sidecar.log.read_text()[-4000:]}"
            ) from error
        assert self.sidecar.stop() == 0
        return assert_law(self.sidecar.database, self.truths, may_lose=may_lose)

    def _is_at_rest(self) -> bool:
        if self.sidecar.spool_dir.exists() and any(self.sidecar.spool_dir.iterdir()):
            return False
        status = self.sidecar.get("/status")
        return bool(
            status["events"]["in_flight"] == 0
            and status["aggregation"]["behind_events"] == 0
        )


def pause(chance: random.Random, least_s: float, most_s: float) -> None:
    """Let some time pass: the moment of the fault is what is random."""
    signal.sigtimedwait([], chance.uniform(least_s, most_s))
