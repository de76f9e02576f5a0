"""A worker is killed right after a segment was full: nobody has numbered it yet."""

from pathlib import Path

import pytest

import meterline.spool.writer
from meterline.spool.dead import DeadSpool, spool_directories
from meterline.spool.living import Spool
from meterline.spool.scan import DAMAGED, Loss, Part, Run
from meterline.spool.segment import DATA_START, SEGMENT_BYTES_MIN
from meterline.wire import RECORD_HEADER, split_records

EVENTS_PER_SEGMENT = 65
RECORD_BYTES = (SEGMENT_BYTES_MIN - DATA_START) // EVENTS_PER_SEGMENT
PAYLOAD = b"p" * (RECORD_BYTES - RECORD_HEADER.size)
assert RECORD_BYTES * EVENTS_PER_SEGMENT == SEGMENT_BYTES_MIN - DATA_START, (
    "no byte is left for a marker"
)


@pytest.fixture(autouse=True)
def segments_of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meterline.spool.writer, "FIRST_BYTES", SEGMENT_BYTES_MIN)


def refuse(_payload: bytes) -> None:
    pytest.fail("it is not closed")


def open_spool(tmp_path: Path, *, segments: int) -> Spool:
    return Spool.open(
        tmp_path,
        app="tests",
        host="localhost",
        pid=1,
        bytes_max=segments * SEGMENT_BYTES_MIN,
    )


def append(spool: Spool, n_events: int) -> None:
    for _ in range(n_events):
        spool.writer.append(PAYLOAD)


def left_by(spool: Spool, spool_dir: Path, *, after_seq: int = 0) -> list[Part]:
    """Kill the worker; return what is found in its spool."""
    spool.abandon()
    (path,) = spool_directories(spool_dir)
    dead = DeadSpool.take(path)
    assert dead is not None
    parts = list(dead.parts(after_seq=after_seq))
    dead.close()
    return parts


def events_in(parts: list[Part]) -> int:
    runs = [part for part in parts if isinstance(part, Run)]
    return sum(len(list(split_records(run.read()))) for run in runs)


def losses_in(parts: list[Part]) -> list[tuple[int, str]]:
    losses = [part for part in parts if isinstance(part, Loss)]
    return [(loss.last_seq - loss.first_seq + 1, loss.reason) for loss in losses]


@pytest.mark.parametrize("segments", [2, 3, 4])
def test_what_went_into_new_segments_is_found_whole(
    tmp_path: Path, segments: int
) -> None:
    spool = open_spool(tmp_path, segments=4)
    n_events = (segments - 1) * EVENTS_PER_SEGMENT + 1
    append(spool, n_events)

    parts = left_by(spool, tmp_path)

    assert (events_in(parts), losses_in(parts)) == (n_events, [])


def test_a_record_damaged_just_before_a_new_segment_is_one_loss(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, segments=4)
    append(spool, EVENTS_PER_SEGMENT + 3)
    first = spool.writer.segments[0]
    first.map[first.size - 1] ^= 0xFF  # the last byte of its last record

    parts = left_by(spool, tmp_path)

    assert events_in(parts) == EVENTS_PER_SEGMENT + 2
    assert losses_in(parts) == [(1, DAMAGED)]


@pytest.mark.parametrize("n_dropped", [1, 2, 50])
def test_dropped_events_are_reported_once(tmp_path: Path, n_dropped: int) -> None:
    spool = open_spool(tmp_path, segments=2)
    append(spool, 2 * EVENTS_PER_SEGMENT + n_dropped)
    spool.reader.scan()
    while spool.reader.next_part() is not None:
        pass
    spool.reader.ack(EVENTS_PER_SEGMENT + 1)  # the first segment is free again
    append(spool, 10)

    parts = left_by(spool, tmp_path, after_seq=EVENTS_PER_SEGMENT + 1)

    assert losses_in(parts) == [(n_dropped, "spool full")]
    assert parts[-1].last_seq == 2 * EVENTS_PER_SEGMENT + n_dropped + 10


def test_drops_of_a_closed_spool_are_no_damage(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, segments=2)
    append(spool, 2 * EVENTS_PER_SEGMENT + 7)
    spool.close(refuse)
    spool.reader.scan()
    spool.reader.scan()
    counted = spool.reader.counts.recorded

    parts = left_by(spool, tmp_path)

    assert losses_in(parts) == [(7, "spool full")]
    assert counted == parts[-1].last_seq == 2 * EVENTS_PER_SEGMENT + 7


def test_drops_of_a_closed_spool_are_sent_again_to_who_forgot_them(
    tmp_path: Path,
) -> None:
    spool = open_spool(tmp_path, segments=2)
    append(spool, 2 * EVENTS_PER_SEGMENT + 7)
    spool.close(refuse)
    spool.reader.scan()
    spool.reader.ack(5)

    spool.reader.resume(0)

    parts: list[Part] = []
    while (part := spool.reader.next_part()) is not None:
        parts.append(part)
    assert losses_in(parts) == [(7, "spool full")]
    assert parts[-1].last_seq == spool.reader.counts.recorded
    spool.abandon()
