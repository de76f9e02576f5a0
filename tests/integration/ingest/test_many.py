"""Many meters, many short processes: a bound for each is none for all."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import meterline.shippers
from meterline import Meter
from meterline.complaints import REASONS_MAX, troubles
from meterline.meter import shippers
from meterline.spool import room
from meterline.spool.living import Spool
from meterline.spool.room import Room, taken_bytes
from meterline.spool.segment import FIRST_BYTES, SEGMENT_BYTES_MIN
from tests.fake_sidecar import FakeSidecar
from tests.patience import PATIENCE_S
from tests.sidecar_process import until


@pytest.fixture
def where(tmp_path: Path) -> Iterator[dict[str, Any]]:
    yield {"socket": tmp_path / "s", "spool_dir": tmp_path / "spool"}
    shippers.close_all(timeout_s=0)


def descriptors(spool_dir: Path) -> list[str]:
    """Return what is open of these spools; threads of other tests may be ending."""
    links: list[str] = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(str(descriptor.readlink()))
    return [link for link in links if link.startswith(str(spool_dir))]


def shipping_threads() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if one.name == "meterline-shipper"}


def spools(where: dict[str, Any]) -> list[Path]:
    return list(where["spool_dir"].iterdir())


# --- meters


def test_meters_with_the_same_options_share_one_thread_and_one_spool(
    where: dict[str, Any],
) -> None:
    Meter(**where).record("n", 1)
    threads, files = shipping_threads(), descriptors(where["spool_dir"])

    meters = [Meter(**where) for _ in range(100)]
    for meter in meters:
        meter.record("n", 1)

    assert shipping_threads() <= threads
    # The thread may make the next segment, and its spare, meanwhile.
    assert 0 < len(files) <= len(descriptors(where["spool_dir"])) <= len(files) + 2
    assert len(spools(where)) == 1


def test_a_meter_that_is_closed_leaves_the_others_open(
    where: dict[str, Any], tmp_path: Path
) -> None:
    with FakeSidecar(tmp_path / "s") as sidecar:
        first, second = Meter(**where), Meter(**where)
        first.record("n", 1)
        second.record("n", 2)
        first.close()
        second.record("n", 3)
        first.record("n", 4)
        second.close()
        first.close()

        assert [(event.quantities or {})["n"] for event in sidecar.events] == [
            1,
            2,
            3,
            4,
        ]
        assert all(ledger.is_closed for ledger in sidecar.ledgers.values())


def test_of_different_meters_there_are_no_more_than_a_process_may_have(
    where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meterline.shippers, "SHIPPERS_MAX", 3)
    others = shipping_threads()
    meters = [Meter(**where, app_name=f"tenant {i}") for i in range(5)]

    for meter in meters:
        meter.record("n", 1)

    assert len(shipping_threads() - others) == 3
    assert [meter.failed for meter in meters] == [0, 0, 0, 1, 1]


def test_meters_that_are_no_more_make_room_for_others(
    where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meterline.shippers, "SHIPPERS_MAX", 3)
    others = shipping_threads()

    for i in range(20):
        meter = Meter(**where, app_name=f"tenant {i}")
        meter.record("n", 1)
        assert not meter.failed
        del meter

    until(lambda: len(shipping_threads() - others) <= 3)


def test_closing_many_takes_no_longer_than_closing_one(
    where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shippers.close_all(timeout_s=0.0)  # of tests before this one
    joined: dict[threading.Thread, float | None] = {}

    def join(thread: threading.Thread, timeout: float | None = None) -> None:
        joined[thread] = timeout

    def lives(_thread: threading.Thread) -> bool:
        return True

    monkeypatch.setattr(threading.Thread, "join", join)
    # As if each took long to end: who has ended already is not waited for.
    monkeypatch.setattr(threading.Thread, "is_alive", lives)
    others = set(threading.enumerate())  # apps of other tests may record meanwhile
    meters = [Meter(**where, app_name=f"tenant {i}") for i in range(10)]
    for meter in meters:
        meter.record("n", 1)
    monkeypatch.setattr("meterline.shipper.END_S", 0.0)
    ours = {
        one for one in set(threading.enumerate()) - others if "meterline" in one.name
    }

    shippers.close_all(timeout_s=0.0)

    assert len(ours) >= 10
    assert {joined.get(thread) for thread in ours} == {0.0}


# --- processes


def open_spool(spool_dir: Path, *, bytes_max: int = 1 << 20) -> Spool:
    return Spool.open(spool_dir, app="t", host="h", pid=1, bytes_max=bytes_max)


def test_a_process_that_is_killed_early_leaves_a_small_file(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    spool.writer.append(b"event")
    spool.maintain(sync_interval_s=None)

    spool.abandon()

    assert taken_bytes(tmp_path) <= FIRST_BYTES + 2 * 4096


def test_all_spools_together_take_no_more_than_they_may(tmp_path: Path) -> None:
    opened = [open_spool(tmp_path, bytes_max=0) for _ in range(80)]

    in_files = [spool for spool in opened if spool.kind == "file"]
    bound = room.SPOOLS_FULL_MAX * 2 * SEGMENT_BYTES_MIN
    assert 10 < len(in_files) < 80
    assert taken_bytes(tmp_path) <= bound
    assert all(spool.kind.startswith("memory: all spools") for spool in opened[70:])
    for spool in opened:
        spool.abandon()


def much(_spool_dir: Path) -> int:
    return 1 << 40


def test_a_worker_does_not_grow_where_the_others_have_taken_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = open_spool(tmp_path, bytes_max=2 << 20)
    monkeypatch.setattr(room, "LOOK_S", 0.0)
    monkeypatch.setattr(room, "taken_bytes", much)

    for _ in range(3):
        for _ in range(100):
            spool.writer.append(b"p" * 1000)
        spool.maintain(sync_interval_s=None)

    assert len(spool.writer.all_segments()) == 2  # the first, and one before the look
    assert spool.reader.counts.dropped > 100
    assert spool.reader.counts.recorded == 300
    spool.abandon()


def test_of_very_many_spools_some_stand_for_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(50):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "00000001.seg").write_bytes(b"x" * 4096)
    exact = taken_bytes(tmp_path)

    monkeypatch.setattr(room, "LOOKED_AT_MAX", 10)

    assert taken_bytes(tmp_path) == exact >= 50 * 4096


def test_spools_that_may_not_be_seen_are_taken_for_small(tmp_path: Path) -> None:
    (tmp_path / "another's").touch()

    assert taken_bytes(tmp_path) == FIRST_BYTES
    assert taken_bytes(tmp_path / "none") == 0
    assert Room(tmp_path, bytes_max=1).has(1)


# --- lines of log


def test_what_goes_wrong_is_said_once_and_counted(
    where: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    where["spool_dir"].touch()  # a file where a directory should be
    before = troubles.counts.total()

    for _ in range(50):
        with Meter(**where) as meter:
            meter.record("n", 1)

    assert caplog.text.count("in memory only") == 1
    assert troubles.counts.total() - before >= 50
    assert Meter(**where).stats.troubles == troubles.counts


def test_different_reasons_are_not_said_without_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    complaints = type(troubles)()

    for i in range(10 * REASONS_MAX):
        complaints.add(f"reason {i}")

    assert len(caplog.records) == REASONS_MAX + 1
    assert complaints.counts.total() == 10 * REASONS_MAX


def test_a_directory_that_may_not_be_listed_is_no_line_a_round(
    where: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    looked: list[int] = []

    def refuse(_path: Path) -> list[Path]:
        looked.append(1)
        raise PermissionError(13, os.strerror(13), "spool")

    monkeypatch.setattr("meterline.shipper.spool_directories", refuse)
    with FakeSidecar(tmp_path / "s") as sidecar:
        meter = Meter(**where)
        for i in range(5):
            meter.record("n", i)
            assert meter.flush(timeout_s=PATIENCE_S)

        assert len(sidecar.events) == 5
    assert len(looked) == 1
    assert caplog.text.count("could not drain") <= 1
