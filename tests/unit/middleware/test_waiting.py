"""What is open and has units: when its number is written down for a kill."""

from contextvars import copy_context

import pytest

from meterline import waiting
from meterline.waiting import NOTED_NS, PART_NS, Room


class Open:
    """An event that stays open, and whose subject nobody knows yet."""

    def write_part(self, *, must: bool) -> bool:
        return must

    def end(self, error: BaseException | None) -> None:
        raise AssertionError(f"it stays open: {error}")

    def fail(self) -> None:
        raise AssertionError("nothing fails")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now_ns = [0]
    monkeypatch.setattr(waiting, "perf_counter_ns", lambda: now_ns[0])
    return now_ns


def test_a_number_is_to_be_written_down_until_it_is(clock: list[int]) -> None:
    room, noted, event = Room(), list[int](), Open()
    assert not room.has_unnoted

    room.units[event] = copy_context()
    assert room.has_unnoted
    room.look_after(noted.append)
    assert (noted, room.has_unnoted) == ([], True)

    clock[0] += NOTED_NS
    room.look_after(noted.append)
    assert (noted, room.has_unnoted) == ([1], False)

    room.units[Open()] = copy_context()
    assert room.has_unnoted
    room.remove(event)
    assert noted == [1, 0]


class Ending(Open):
    """An event whose resolver raises what ends a thread."""

    n_failed = 0

    def write_part(self, *, must: bool) -> bool:
        raise SystemExit

    def fail(self) -> None:
        self.n_failed += 1


def test_a_resolver_does_not_end_the_thread(clock: list[int]) -> None:
    room, event = Room(), Ending()
    room.units[event] = copy_context()
    room.look_after(lambda _n_events: None)

    clock[0] += PART_NS
    room.look_after(lambda _n_events: None)

    assert (event.n_failed, room.units) == (1, {})
