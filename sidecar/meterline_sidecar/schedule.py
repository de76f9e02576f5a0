"""Runs the jobs: each at its pace, never twice at once, and one bad one alone."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from meterline_sidecar.clock import Clock
from meterline_sidecar.errors import DatabaseCorrupt, DiskFailed, MeterlineError

log = logging.getLogger(__name__)

Job = Callable[[], Awaitable[object]]


@dataclass(slots=True)
class JobState:
    """How a job fares."""

    last_success_ms: int | None = None
    failures: int = 0
    """Failed runs in a row; 0 after a good one."""
    error: str | None = None
    """Why the last run failed."""


class Schedule:
    """The jobs of the daemon.

    Args:
        on_fatal: called when a job met an error after which the process must end.
    """

    def __init__(
        self, *, clock: Clock, on_fatal: Callable[[BaseException], None]
    ) -> None:
        self._clock = clock
        self._on_fatal = on_fatal
        self._planned: list[tuple[float, float, str, Job]] = []
        self.jobs: dict[str, JobState] = {}

    def every(
        self, seconds: float, name: str, job: Job, *, at_once: bool = True
    ) -> None:
        """Run ``job`` now and then again ``seconds`` after its last start.

        A run that takes longer than that delays the next one; runs never pile up.

        Args:
            at_once: whether the first run is now, or ``seconds`` from now.
        """
        self.jobs[name] = JobState()
        self._planned.append((0.0 if at_once else seconds, seconds, name, job))

    async def run(self) -> None:
        """Run the jobs until cancelled, which cuts off those that run then.

        Every job can be cut off: a transaction is there as a whole or not at all.
        """
        async with asyncio.TaskGroup() as jobs:
            for wait_s, every_s, name, job in self._planned:
                jobs.create_task(self._repeat(wait_s, every_s, name, job))

    async def _repeat(self, wait_s: float, every_s: float, name: str, job: Job) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(wait_s)
        while True:
            next_s = loop.time() + every_s
            await self._run(name, job)
            await asyncio.sleep(next_s - loop.time())

    async def _run(self, name: str, job: Job) -> None:
        state = self.jobs[name]
        try:
            await job()
        except (DiskFailed, DatabaseCorrupt) as error:
            self._on_fatal(error)
        except Exception as error:  # noqa: BLE001 - one bad job stops no other
            _note_failure(name, state, error)
        else:
            if state.failures:
                log.info("job %s works again; failed runs: %d", name, state.failures)
            state.last_success_ms = self._clock.now_ms()
            state.failures, state.error = 0, None


def _note_failure(name: str, state: JobState, error: Exception) -> None:
    """Count a failed run; log it unless the run before failed in the same way."""
    text = f"{type(error).__name__}: {error}"
    is_new = text != state.error
    state.failures += 1
    state.error = text
    if not is_new:
        return  # a disk can be full for hours, and most jobs run every few seconds
    if isinstance(error, MeterlineError):
        log.error("job %s failed: %s", name, error)  # its text says what to do
    else:
        log.error("job %s failed", name, exc_info=error)
