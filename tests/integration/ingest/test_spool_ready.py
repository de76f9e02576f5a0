"""What the shipping thread has ready before a request or a link needs it."""

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meterline.spool.living import Spool
from meterline.spool.scan import Run
from meterline.spool.segment import FIRST_BYTES, SEGMENT_BYTES_MIN, SUFFIX
from meterline.wire import RECORD_HEADER

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
    found = Path(spool.writer.directory).glob(f"*{SUFFIX}")
    return sorted(path.name for path in found)


def n_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


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


def test_full_segments_that_wait_keep_no_descriptor_where_nothing_is_forced(
    spool: Spool,
) -> None:
    before = n_descriptors()
    append_until(spool, 5)

    # Each has one of its map, and one of its own: the one that grows, and its spare.
    assert n_descriptors() - before <= 2


def test_what_waits_in_full_segments_is_read_whether_or_not_it_was_forced(
    spool: Spool,
) -> None:
    append_until(spool, 3)
    spool.maintain(sync_interval_s=0)  # this one has a descriptor for its last sync
    append_until(spool, 5)
    segments = spool.writer.segments
    assert [segment.map.closed for segment in segments] == [True] * 4 + [False]

    n_bytes = 0
    while (part := spool.reader.next_part()) is not None:
        assert isinstance(part, Run)
        records = part.read()
        assert records.count(PAYLOAD) == part.last_seq - part.first_seq + 1
        n_bytes += len(records)
    assert n_bytes == spool.reader.counts.recorded * (len(PAYLOAD) + RECORD_HEADER.size)


def at_depth(left: int, what: Callable[[], None]) -> None:
    """Call ``what`` where about so many frames of the stack are left."""
    if left <= 0:
        what()
    else:
        at_depth(left - 1, what)


@pytest.mark.parametrize("left", range(1, 40))
def test_a_segment_that_is_full_at_the_end_of_the_stack_has_a_next_one(
    tmp_path: Path, left: int
) -> None:
    spool = Spool.open(tmp_path, app="t", host="h", pid=1, bytes_max=BYTES_MAX)
    while spool.writer.left_bytes > len(PAYLOAD):
        spool.writer.append(PAYLOAD)
    depth = len(inspect.stack(0))

    with contextlib.suppress(RecursionError):
        at_depth(
            sys.getrecursionlimit() - depth - left,
            lambda: spool.writer.append(PAYLOAD),
        )
    spool.writer.append(PAYLOAD)
    spool.maintain(sync_interval_s=None)

    assert spool.kind == "file"
    assert not any(segment.needs_file for segment in spool.writer.segments)
    spool.abandon()
