"""A rehearsed time is what its file says, whatever moment it is read at."""

import time
from pathlib import Path

import pytest

from meterline_sidecar.clock import (
    BELIEVED_AFTER_MS,
    DAY_MS,
    JUMP_MS_MIN,
    AbsenceWatch,
    FileClock,
    JumpWatch,
    ago,
    lasting,
    steady_ms,
)
from meterline_sidecar.errors import ConfigError
from tests.clock import FakeClock

NOON_MS = 1_793_966_400_000  # 2026-11-06T12:00:00Z
HOUR_MS = 3_600_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "clock"


@pytest.mark.parametrize(
    "text", ["2026-11-06T12:00:00Z\n", "2026-11-06T13:00:00+01:00", "1793966400"]
)
def test_a_fixed_time_stands_still(file: Path, text: str) -> None:
    file.write_text(text)

    assert FileClock(file).now_ms() == NOON_MS


@pytest.mark.parametrize(
    ("text", "offset_ms"),
    [
        ("+3600", HOUR_MS),
        ("-3600.5", -HOUR_MS - 500),
        ("+25h", 25 * HOUR_MS),
        ("-40d", -960 * HOUR_MS),
        ("+90m", 5_400_000),
    ],
)
def test_an_offset_runs_on_with_the_machine(
    file: Path, text: str, offset_ms: int
) -> None:
    file.write_text(text)
    before_ms = time.time_ns() // 1_000_000

    now_ms = FileClock(file).now_ms()

    after_ms = time.time_ns() // 1_000_000
    assert before_ms + offset_ms <= now_ms <= after_ms + offset_ms


@pytest.mark.parametrize("text", ["", "soon", "+", "+1y", "12:00", "+999999999999d"])
def test_what_is_no_time_is_refused_at_start(file: Path, text: str) -> None:
    file.write_text(text)

    with pytest.raises(ConfigError, match="neither a time"):
        FileClock(file)


def test_a_file_that_is_being_rewritten_changes_nothing(file: Path) -> None:
    file.write_text("2026-11-06T12:00:00Z")
    clock = FileClock(file)

    seen: list[int] = []
    for text in ("", "2026-11-06T1", "2026-11-06T13:00:00Z"):
        file.write_text(text)
        seen.append(clock.now_ms())
    file.unlink()
    seen.append(clock.now_ms())

    later_ms = NOON_MS + HOUR_MS
    assert seen == [NOON_MS, NOON_MS, later_ms, later_ms]
    assert "2026-11-06T13:00:00Z" in (clock.rehearsal or "")


@pytest.mark.parametrize(
    ("before_ms", "words"),
    [
        (0, "just now"),
        (999, "just now"),
        (1_000, "1 s ago"),
        (59_999, "59 s ago"),
        (60_000, "1 min ago"),
        (HOUR_MS, "1 h ago"),
        (49 * HOUR_MS, "2 d ago"),
        (-60_000, "just now"),  # clocks of two hosts agree no better
        (-60_001, "in 1 min"),
    ],
)
def test_people_are_told_how_long_ago_in_the_largest_unit(
    before_ms: int, words: str
) -> None:
    assert ago(NOON_MS - before_ms, NOON_MS) == words


def test_what_never_was_is_never() -> None:
    assert ago(None, NOON_MS) == "never"
    assert lasting(0) == "0 s"


def test_a_jump_is_one_until_the_clock_is_back_or_has_kept_to_it() -> None:
    clock, steady = FakeClock(), FakeClock(time_ms=0)
    watch = JumpWatch(clock, steady=steady.now_ms)

    def passes(ms: int) -> int:
        clock.time_ms += ms
        steady.time_ms += ms
        return watch.jump_ms()

    assert passes(DAY_MS) == 0
    clock.time_ms += JUMP_MS_MIN  # adjusted
    assert passes(1) == 0
    clock.time_ms += DAY_MS
    assert passes(BELIEVED_AFTER_MS) == DAY_MS
    assert not watch.is_right()
    clock.time_ms -= DAY_MS
    assert passes(1) == 0
    clock.time_ms -= DAY_MS
    assert passes(1) == -DAY_MS
    clock.time_ms -= DAY_MS  # not kept to: it begins anew
    assert passes(BELIEVED_AFTER_MS - 1) == -2 * DAY_MS
    assert passes(BELIEVED_AFTER_MS) == -2 * DAY_MS
    assert passes(1) == 0
    assert watch.is_right()


def test_the_steady_clock_goes_on() -> None:
    assert 0 <= steady_ms() <= steady_ms()


def test_a_clock_that_starts_far_ahead_is_doubted_until_it_was_kept_to() -> None:
    clock, steady = FakeClock(NOON_MS), FakeClock(1)
    known_ms = NOON_MS - 7 * DAY_MS

    def watch(known: int | None = known_ms) -> AbsenceWatch:
        return AbsenceWatch(clock, known, steady=steady.now_ms)

    doubting = watch()
    assert doubting.ahead_ms() == 7 * DAY_MS
    assert watch(None).ahead_ms() == watch(NOON_MS - DAY_MS).ahead_ms() == 0
    steady.time_ms += BELIEVED_AFTER_MS
    assert doubting.ahead_ms() == 7 * DAY_MS
    clock.time_ms = known_ms + HOUR_MS  # a time service has answered
    assert doubting.ahead_ms() == 0
    clock.time_ms = NOON_MS
    steady.time_ms += 1
    assert doubting.ahead_ms() == 0
