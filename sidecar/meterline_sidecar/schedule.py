"""Runs the jobs: each at its pace, never twice at once, and one bad one alone."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from meterline_sidecar.clock import Clock
from meterline_sidecar.errors import (
    DatabaseCorrupt,
    DiskFailed,
    LedgerWentBack,
    MeterlineError,
)

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
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        # It warns when a run is still going at its next tick, which is by design.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self.jobs: dict[str, JobState] = {}

    def every(
        self, seconds: float, name: str, job: Job, *, at_once: bool = True
    ) -> None:
        """Run ``job`` now and then again ``seconds`` after its last start.

        A run that takes longer than that delays the next one; runs never pile up.

        Args:
            at_once: whether the first run is now, or ``seconds`` from now.
        """
        first = datetime.now(UTC) + timedelta(seconds=0 if at_once else seconds)
        self.jobs[name] = JobState()
        self._scheduler.add_job(  # pyright: ignore[reportUnknownMemberType] - untyped
            self._run,
            "interval",
            args=(name, job),
            seconds=seconds,
            next_run_time=first,
            id=name,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )

    def start(self) -> None:
        """Start the clockwork, within a running event loop."""
        self._scheduler.start()  # pyright: ignore[reportUnknownMemberType] - untyped

    def stop(self) -> None:
        """Start no further run."""
        if self._scheduler.running:
            # It takes a run that is cut off before its first step for an error.
            logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
            self._scheduler.shutdown(wait=False)  # pyright: ignore[reportUnknownMemberType] - untyped

    async def _run(self, name: str, job: Job) -> None:
        state = self.jobs[name]
        try:
            await job()
        except asyncio.CancelledError:
            # At the stop the scheduler cuts off what runs. Every job can be cut off:
            # a transaction is there as a whole or not at all.
            log.debug("job %s was cut off", name)
        except (DiskFailed, DatabaseCorrupt, LedgerWentBack) as error:
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
