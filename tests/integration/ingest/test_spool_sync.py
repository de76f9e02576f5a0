"""What a power failure leaves: only what was forced to the disk in time."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from meterline import system
from meterline.spool.living import Spool
from meterline.spool.producer_file import FILE_NAME
from meterline.spool.segment import SEGMENT_BYTES_MIN, SUFFIX

PAYLOAD = b"p" * 1000


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was forced to the disk, by name, in order."""
    names: list[str] = []

    def note(fd: int) -> None:
        names.append(Path(f"/proc/self/fd/{fd}").readlink().name)

    def note_directory(path: str) -> None:
        names.append(Path(path).name)

    monkeypatch.setattr(system, "force", note)
    monkeypatch.setattr(system, "force_directory", note_directory)
    return names


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool.open(
        tmp_path / "spool",
        app="tests",
        host="localhost",
        pid=1,
        bytes_max=16 * SEGMENT_BYTES_MIN,
    )
    yield made
    made.abandon()


def append(spool: Spool, n_events: int) -> None:
    for _ in range(n_events):
        spool.writer.append(PAYLOAD)


def n_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def names_of(spool: Spool) -> set[str]:
    return {Path(one.path).name for one in spool.writer.segments if one.path}


def test_all_that_was_written_since_the_last_sync_is_forced(
    spool: Spool, forced: list[str]
) -> None:
    append(spool, 500)
    spool.maintain(sync_interval_s=0)

    assert len(names_of(spool)) == 4
    assert names_of(spool) <= set(forced)
    assert FILE_NAME in forced  # with the counts of what was dropped
    assert spool.writer.hello.producer in forced  # the names of the files
    assert "spool" in forced  # the name of the directory


def test_which_ledger_takes_the_events_is_on_the_disk_before_they_are(
    spool: Spool, forced: list[str]
) -> None:
    append(spool, 1)
    spool.reader.claim(1)
    assert forced == []  # nor is any event

    spool.maintain(sync_interval_s=0)
    assert forced[0] == FILE_NAME
    forced.clear()

    spool.reader.claim(1)
    assert forced == []
    spool.reader.claim(2)
    assert forced == [FILE_NAME]  # before it gets what is on the disk


def test_only_what_may_have_changed_is_forced_again(
    spool: Spool, forced: list[str]
) -> None:
    append(spool, 500)
    spool.maintain(sync_interval_s=0)
    last = max(names_of(spool))
    forced.clear()

    append(spool, 1)
    spool.maintain(sync_interval_s=0)

    assert forced == [last, FILE_NAME]


def test_what_has_not_changed_is_not_forced_again(
    spool: Spool, forced: list[str]
) -> None:
    append(spool, 1)
    spool.maintain(sync_interval_s=0)
    forced.clear()

    spool.maintain(sync_interval_s=0)
    assert forced == []

    spool.writer.file.set_waiting(1)
    spool.maintain(sync_interval_s=0)
    assert forced == [FILE_NAME]


def test_the_first_number_of_a_segment_is_forced_though_it_was_found_later(
    spool: Spool, forced: list[str]
) -> None:
    append(spool, 1)
    spool.maintain(sync_interval_s=0)
    forced.clear()

    (segment,) = spool.writer.segments
    segment.first_seq = 1
    spool.maintain(sync_interval_s=0)

    assert set(names_of(spool)) == set(forced)


def test_counts_that_could_not_be_forced_are_forced_the_next_time(
    spool: Spool, forced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_fd: int) -> None:
        raise OSError("a disk that is away")

    with monkeypatch.context() as patch:
        patch.setattr(system, "force", fail)
        spool.maintain(sync_interval_s=0)
        spool.writer.file.set_waiting(1)
        spool.maintain(sync_interval_s=0)

    spool.maintain(sync_interval_s=0)

    assert FILE_NAME in forced


def test_a_sync_of_a_segment_that_grows_opens_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(spool, 1)
    spool.maintain(sync_interval_s=0)
    opened: list[object] = []

    def note(*arguments: object) -> int:
        opened.append(arguments)
        return -1

    append(spool, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", note)
        patch.setattr(os, "stat", note)
        spool.maintain(sync_interval_s=0)

    assert opened == []


def test_segments_that_are_full_and_forced_keep_no_descriptor(spool: Spool) -> None:
    spool.maintain(sync_interval_s=0)
    before = n_descriptors()
    for _ in range(8):
        append(spool, 100)
        spool.maintain(sync_interval_s=0)

    assert len(names_of(spool)) >= 4
    # The map and the file of the one that grows, the maps of its neighbours.
    assert n_descriptors() - before <= 2


def test_a_segment_that_could_not_be_forced_is_forced_the_next_time(
    spool: Spool, forced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_fd: int) -> None:
        raise OSError("a disk that is away")

    append(spool, 500)
    with monkeypatch.context() as patch:
        patch.setattr(system, "force", fail)
        spool.maintain(sync_interval_s=0)

    spool.maintain(sync_interval_s=0)

    assert names_of(spool) <= set(forced)


@pytest.mark.parametrize("is_synced", [True, False])
def test_a_worker_that_ends_forces_what_it_leaves_unless_told_not_to(
    spool: Spool, forced: list[str], *, is_synced: bool
) -> None:
    append(spool, 100)
    names = names_of(spool)
    spool.close(lambda _payload: None)
    spool.reader.scan()

    spool.leave(is_synced=is_synced)

    assert (names <= set(forced)) == is_synced


def test_what_a_worker_leaves_is_as_small_as_what_it_recorded(
    spool: Spool, tmp_path: Path
) -> None:
    append(spool, 60)
    spool.maintain(sync_interval_s=None)
    append(spool, 1)
    spool.close(lambda _payload: None)
    spool.reader.scan()

    spool.leave(is_synced=False)

    files = list(tmp_path.rglob(f"*{SUFFIX}"))
    taken = sum(file.stat().st_size for file in files)
    assert 61_000 < taken < 61 * 1100 + SEGMENT_BYTES_MIN // 2
