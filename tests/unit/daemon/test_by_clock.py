"""Jobs that go by the time wait while nobody knows what time it is."""

from types import SimpleNamespace
from typing import Any

import pytest

from meterline_sidecar.clock import (
    BELIEVED_AFTER_MS,
    DAY_MS,
    AbsenceWatch,
    JumpWatch,
)
from meterline_sidecar.daemon import by_clock
from tests.clock import FakeClock
from tests.producer import NOON_MS


class Part:
    """A part that notes how it was run."""

    def __init__(self) -> None:
        self.runs: list[bool] = []

    async def run(self, *, by_itself: bool = True) -> None:
        self.runs.append(by_itself)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON_MS)


@pytest.fixture
def steady() -> FakeClock:
    return FakeClock(1)


def parts_of(
    clock: FakeClock, steady: FakeClock, *, known_ms: int | None = NOON_MS
) -> Any:
    return SimpleNamespace(
        watch=JumpWatch(clock, steady=steady.now_ms),
        absence=AbsenceWatch(clock, known_ms, steady=steady.now_ms),
        closer=Part(),
        imports=Part(),
        archive=Part(),
    )


async def ran(parts: Any) -> tuple[list[bool], int, int]:
    """Run each job; return how periods were closed, and how often the others ran."""
    for part in (parts.closer, parts.imports, parts.archive):
        part.runs.clear()
    for job in (by_clock.close, by_clock.import_, by_clock.archive):
        await job(parts)
    return parts.closer.runs, len(parts.imports.runs), len(parts.archive.runs)


async def test_a_clock_that_goes_on_holds_up_nothing(
    clock: FakeClock, steady: FakeClock
) -> None:
    parts = parts_of(clock, steady)
    by_rehearsal = SimpleNamespace(**vars(parts) | {"watch": None, "absence": None})

    assert await ran(parts) == ([True], 1, 1)
    assert await ran(by_rehearsal) == ([True], 1, 1)


async def test_a_clock_that_jumps_holds_up_all_until_it_was_kept_to(
    clock: FakeClock, steady: FakeClock
) -> None:
    parts = parts_of(clock, steady)

    clock.time_ms += 400 * DAY_MS
    assert await ran(parts) == ([], 0, 0)
    for one in (clock, steady):
        one.time_ms += BELIEVED_AFTER_MS + 1
    assert await ran(parts) == ([True], 1, 1)


async def test_a_clock_that_begins_far_ahead_lets_no_event_go_before_it_is_believed(
    clock: FakeClock, steady: FakeClock
) -> None:
    parts = parts_of(clock, steady, known_ms=NOON_MS - 400 * DAY_MS)

    assert await ran(parts) == ([False], 1, 0)
    for one in (clock, steady):
        one.time_ms += BELIEVED_AFTER_MS + 1
    assert await ran(parts) == ([True], 1, 1)
