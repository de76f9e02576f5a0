"""What the shipping thread has ready before a request or a link needs it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from meterline.spool.living import Spool
from meterline.spool.segment import FIRST_BYTES, SEGMENT_BYTES_MIN, SUFFIX

PAYLOAD = b"p" * 1000
BYTES_MAX = 16 * SEGMENT_BYTES_MIN
FULL_SIZE = BYTES_MAX // 4


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool.open(
        tmp_path / "spool", app="tests", host="localhost", pid=1, bytes_max=BYTES_MAX
    )
    yield made
    made.abandon()


def files(spool: Spool) -> list[str]:
    assert spool.writer.directory is not None
    return sorted(path.name for path in spool.writer.directory.glob(f"*{SUFFIX}"))


def append_until(spool: Spool, n_segments: int) -> None:
    while len(spool.writer.segments) < n_segments:
        spool.writer.append(PAYLOAD)
        spool.maintain(sync_interval_s=None)


def test_a_process_that_records_little_has_one_small_segment(spool: Spool) -> None:
    for _ in range(FIRST_BYTES // len(PAYLOAD) // 2 - 2):
        spool.writer.append(PAYLOAD)
    spool.maintain(sync_interval_s=None)

    assert len(files(spool)) == 1
    assert 0 < spool.writer.left_bytes < FIRST_BYTES


def test_behind_a_segment_of_full_size_the_next_one_is_ready(spool: Spool) -> None:
    append_until(spool, 3)
    active = spool.writer.segments[-1]
    assert active.size == FULL_SIZE

    assert len(files(spool)) == 4
    assert FULL_SIZE < spool.writer.left_bytes < 2 * FULL_SIZE


def test_of_the_segments_that_wait_only_the_last_are_mapped(spool: Spool) -> None:
    append_until(spool, 5)

    is_parked = [segment.map.closed for segment in spool.writer.segments]

    assert is_parked == [True, True, True, False, False]


def test_what_was_left_mapped_is_read_again_after_another_start(spool: Spool) -> None:
    append_until(spool, 5)
    n_events = spool.reader.counts.recorded
    spool.reader.ack(1)
    spool.reader.resume(0)

    append_until(spool, 5)

    last_seq = 0
    while (part := spool.reader.next_part()) is not None:
        last_seq = part.last_seq
    assert last_seq == n_events
