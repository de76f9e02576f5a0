"""Before which time all of an edge's events are at the centre."""

from meterline.wire import VERSION, Hello
from meterline_sidecar.fleet.low import LowMark
from meterline_sidecar.ingest.producer_row import new_row
from meterline_sidecar.store.edge.events import ProducerRow


def a_producer(*, recorded: int, last: int, started_ms: int = 100) -> ProducerRow:
    hello = Hello(VERSION, "a" * 32, "app", "host", 1, started_ms, recorded)
    return new_row(hello, seen_ms=0)._replace(last_seq=last)


def test_where_nothing_is_missing_it_is_now() -> None:
    assert LowMark().of([], {}, now_ms=1_000) == 1_000


def test_a_worker_that_is_never_quite_complete_holds_nothing_back_for_long() -> None:
    low = LowMark()

    assert low.of([a_producer(recorded=10, last=8)], {}, now_ms=1_000) == 100
    assert low.of([a_producer(recorded=20, last=12)], {}, now_ms=2_000) == 1_000
    assert low.of([a_producer(recorded=30, last=22)], {}, now_ms=3_000) == 2_000


def test_a_gap_that_stays_holds_its_time_back() -> None:
    low = LowMark()
    low.of([], {}, now_ms=1_000)

    assert low.of([a_producer(recorded=10, last=8)], {}, now_ms=2_000) == 1_000
    assert low.of([a_producer(recorded=30, last=9)], {}, now_ms=9_000) == 1_000
    assert low.of([], {}, now_ms=10_000) == 10_000


def test_what_a_spool_held_is_as_old_as_when_it_began_to_wait() -> None:
    low = LowMark()
    low.of([], {}, now_ms=1_000)
    waiting = {"a" * 32: 100}

    assert low.of([], waiting, now_ms=2_000) == 1_000
    assert low.of([], waiting, now_ms=8_000) == 1_000
    # It connects, and announces what it kept: that is no younger.
    assert low.of([a_producer(recorded=10, last=0)], {}, now_ms=9_000) == 1_000
    assert low.of([a_producer(recorded=12, last=10)], {}, now_ms=10_000) == 9_000


def test_after_a_start_a_spool_is_as_old_as_its_worker() -> None:
    assert LowMark().of([], {"a" * 32: 100}, now_ms=2_000) == 100
