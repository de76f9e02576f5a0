"""Jobs that fail: counted each time, and told once."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from meterline_sidecar.errors import DiskFull
from meterline_sidecar.schedule import Schedule
from tests.clock import FakeClock
from tests.patience import PATIENCE_S

EVERY_S = 0.01


async def run(job: Callable[[int], None], *, times: int) -> Schedule:
    """Run a job so often; it is told which run it is, from 1 on."""
    is_over = asyncio.Event()
    n = 0

    async def numbered() -> None:
        nonlocal n
        n += 1
        if n > times:
            is_over.set()  # the run before is noted by now: runs never overlap
            await asyncio.Event().wait()
        job(n)

    def on_fatal(error: BaseException) -> None:
        raise AssertionError(error)

    schedule = Schedule(clock=FakeClock(), on_fatal=on_fatal)
    schedule.every(EVERY_S, "count", numbered)
    schedule.start()
    async with asyncio.timeout(PATIENCE_S):
        await is_over.wait()
    schedule.stop()
    return schedule


async def test_a_job_that_fails_in_the_same_way_is_logged_once_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(n: int) -> None:
        raise DiskFull("/x: database or disk is full; free space on that disk")

    schedule = await run(full, times=5)

    (record,) = caplog.records
    assert record.getMessage() == (
        "job count failed: /x: database or disk is full; free space on that disk"
    )
    assert record.exc_info is None  # what the world does is no bug of ours to trace
    assert schedule.jobs["count"].failures == 5
    assert schedule.jobs["count"].error == f"DiskFull: {record.args[1]}"  # type: ignore[index]


async def test_another_failure_and_the_end_of_them_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="meterline_sidecar.schedule")

    def in_turn(n: int) -> None:
        if n <= 2:
            raise DiskFull("no room")
        if n <= 4:
            raise ZeroDivisionError("a bug of ours")

    schedule = await run(in_turn, times=6)

    full, bug, end = caplog.records
    assert full.getMessage() == "job count failed: no room"
    assert bug.getMessage() == "job count failed"
    assert bug.exc_info is not None
    assert end.getMessage() == "job count works again; failed runs: 4"
    assert schedule.jobs["count"].failures == 0
    assert schedule.jobs["count"].error is None
