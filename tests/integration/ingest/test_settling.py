"""What waits in memory only goes to files as soon as there can be some."""

import logging
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

import meterline.spool.living
import meterline.spool.writer
from meterline import Meter
from meterline.complaints import Complaints
from meterline.spool.dead import DeadSpool, spool_directories
from meterline.spool.living import Spool
from meterline.spool.producer_file import NOT_RECORDABLE
from meterline.spool.scan import Loss, Part, Run
from meterline.spool.segment import Segment
from meterline.wire import split_records
from tests.fake_sidecar import FakeSidecar
from tests.patience import PATIENCE_S
from tests.sidecar_process import until

BYTES_MAX: Final = 1 << 26
PAYLOAD_BYTES: Final = 500


@pytest.fixture(autouse=True)
def every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meterline.spool.living, "SETTLE_EVERY_S", 0.0)
    # Of these here alone: a process says only so many.
    troubles = Complaints()
    monkeypatch.setattr(meterline.spool.living, "troubles", troubles)
    monkeypatch.setattr(meterline.spool.writer, "troubles", troubles)


class Worker:
    """Records numbers, in a directory that can be made or cannot."""

    def __init__(self, spool_dir: Path, *, bytes_max: int = BYTES_MAX) -> None:
        self.spool_dir = spool_dir
        self.spool = Spool.open(
            spool_dir, app="tests", host="localhost", pid=1, bytes_max=bytes_max
        )
        self.recorded = self.acked = 0

    def record(self, n_events: int) -> None:
        for _ in range(n_events):
            self.recorded += 1
            text = str(self.recorded).rjust(PAYLOAD_BYTES)
            self.spool.writer.append(text.encode())

    def look(self) -> None:
        self.spool.maintain(sync_interval_s=0)

    def looked(self) -> str:
        """Look once more; return where events wait then."""
        self.look()
        return self.spool.kind

    def ship(self, n_parts: int) -> None:
        self.spool.reader.scan()
        for _ in range(n_parts):
            if (part := self.spool.reader.next_part()) is not None:
                self.acked = part.last_seq
                self.spool.reader.ack(part.last_seq)

    def left(self) -> list[Part]:
        """Kill it; return what is found then."""
        self.spool.abandon()
        (path,) = spool_directories(self.spool_dir)
        dead = DeadSpool.take(path)
        assert dead is not None
        parts = list(dead.parts(after_seq=self.acked))
        dead.delete()
        return parts


def numbers_in(parts: list[Part]) -> list[int]:
    return [
        int(payload)
        for part in parts
        if isinstance(part, Run)
        for *_, payload in split_records(part.read())
    ]


def losses_in(parts: list[Part]) -> list[tuple[int, str]]:
    losses = [part for part in parts if isinstance(part, Loss)]
    return [(loss.last_seq - loss.first_seq + 1, loss.reason) for loss in losses]


def n_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Worker]:
    """Return a worker whose spool directory is a file, for now."""
    (tmp_path / "spool").touch()
    worker = Worker(tmp_path / "spool")
    assert worker.spool.kind.startswith("memory: ")
    yield worker
    worker.spool.abandon()


@pytest.mark.parametrize("n_events", [0, 1, 100, 3000])
def test_once_the_directory_can_be_made_all_that_waited_stands_there(
    in_memory: Worker, n_events: int
) -> None:
    in_memory.record(n_events)
    in_memory.look()
    in_memory.spool_dir.unlink()

    in_memory.look()
    in_memory.record(10)

    assert in_memory.spool.kind == "file"
    parts = in_memory.left()
    assert numbers_in(parts) == list(range(1, n_events + 11))
    assert losses_in(parts) == []


def test_it_is_the_same_producer_with_the_same_numbers(in_memory: Worker) -> None:
    in_memory.record(300)
    in_memory.ship(1)
    in_memory.spool.writer.drop(NOT_RECORDABLE)
    in_memory.spool.reader.claim(7)
    in_memory.spool.writer.file.set_waiting(2)
    producer = in_memory.spool.writer.hello.producer
    in_memory.spool_dir.unlink()
    in_memory.look()
    in_memory.spool.abandon()

    (path,) = spool_directories(in_memory.spool_dir)
    dead = DeadSpool.take(path)

    assert dead is not None
    assert (dead.hello.producer, dead.hello.spool) == (producer, "file")
    assert (dead.hello.recorded_seq, dead.hello.ledger) == (303, 7)
    assert [reason for _, reason in losses_in(list(dead.parts(after_seq=300)))] == [
        "could not be recorded",
        "open with units in memory as its worker died",
    ]
    dead.close()


def test_while_it_lives_nobody_else_takes_what_it_has_brought_to_files(
    in_memory: Worker,
) -> None:
    in_memory.record(1)
    in_memory.spool_dir.unlink()
    in_memory.look()

    (path,) = spool_directories(in_memory.spool_dir)

    assert DeadSpool.take(path) is None


def test_as_long_as_it_cannot_be_made_it_is_said_once_and_leaves_nothing(
    in_memory: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    in_memory.record(10)

    for _ in range(20):
        in_memory.look()

    assert caplog.text == ""
    assert in_memory.spool_dir.read_bytes() == b""
    in_memory.ship(1)
    assert in_memory.acked == 10


def test_another_reason_is_said_as_well(
    in_memory: Worker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: str) -> None:
        raise OSError(28, "No space left on device")

    in_memory.spool_dir.unlink()
    monkeypatch.setattr(meterline.spool.living, "make_directory", fail)

    in_memory.look()
    in_memory.look()

    assert in_memory.spool.kind == "memory: No space left on device"
    assert caplog.text.count("still wait in memory only: No space left") == 1


def test_what_is_recorded_meanwhile_is_there_once(in_memory: Worker) -> None:
    go, n_threads, n_events = threading.Event(), 4, 2000

    def record(thread: int) -> None:
        go.wait()
        for i in range(n_events):
            number = thread * n_events + i
            in_memory.spool.writer.append(str(number).encode())

    threads = [threading.Thread(target=record, args=(i,)) for i in range(n_threads)]
    for thread in threads:
        thread.start()
    go.set()
    in_memory.look()
    in_memory.spool_dir.unlink()
    until(lambda: in_memory.looked() == "file")
    for thread in threads:
        thread.join()

    parts = in_memory.left()

    assert sorted(numbers_in(parts)) == list(range(n_threads * n_events))
    assert losses_in(parts) == []


def test_a_worker_that_ends_brings_to_files_what_was_not_shipped(
    in_memory: Worker,
) -> None:
    in_memory.record(3000)
    in_memory.look()
    in_memory.spool.close(lambda payload: None)
    in_memory.spool.reader.scan()
    in_memory.spool_dir.unlink()

    in_memory.spool.leave(is_synced=True)

    assert numbers_in(in_memory.left()) == list(range(1, 3001))


def test_a_spool_that_is_full_goes_to_files_as_well(tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    worker = Worker(tmp_path / "spool", bytes_max=0)
    worker.record(2000)
    worker.look()
    n_dropped = worker.spool.reader.counts.dropped
    (tmp_path / "spool").unlink()

    worker.look()

    assert worker.spool.kind == "file"
    parts = worker.left()
    assert n_dropped > 0
    assert losses_in(parts) == [(n_dropped, "spool full")]
    assert numbers_in(parts) == list(range(1, 2001 - n_dropped))


def test_a_directory_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    worker = Worker(tmp_path / "spool")
    worker.record(3000)
    worker.look()
    shutil.rmtree(tmp_path / "spool")
    worker.record(4000)  # more than there is room for in what is there
    assert worker.spool.kind.startswith("memory: ")

    worker.look()
    worker.record(10)

    assert worker.spool.kind == "file"
    parts = worker.left()
    ((lost, _),) = losses_in(parts)  # what stood nowhere but in the files
    assert numbers_in(parts) == list(range(lost + 1, worker.recorded + 1))
    assert lost < worker.recorded - 10


def test_segments_of_a_spool_that_is_full_are_no_descriptors(
    in_memory: Worker,
) -> None:
    in_memory.record(8000)
    in_memory.look()
    in_memory.spool_dir.unlink()
    before = n_descriptors()

    in_memory.look()
    in_memory.look()  # parks what the sync before has needed

    assert len(in_memory.spool.writer.segments) > 5
    assert n_descriptors() <= before + 8


steps = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.integers(1, 400)),
        st.tuples(st.just("look"), st.just(0)),
        st.tuples(st.just("ship"), st.integers(1, 3)),
        st.tuples(st.just("room"), st.integers(0, 3)),
    ),
    max_size=25,
)


@given(steps=steps)
def test_however_room_comes_and_goes_nothing_is_lost_once_there_is_some(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    create = Segment.create
    settle = Segment.settle
    room = [0]  # how many files can be made

    def take_room() -> None:
        if room[0] < 1:
            raise OSError(28, "No space left on device")
        room[0] -= 1

    def scarce_create(directory: str | None, **given: Any) -> Segment:
        if directory is not None:
            take_room()
        return create(directory, **given)

    def scarce_settle(segment: Segment, directory: str) -> None:
        take_room()
        settle(segment, directory)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Segment, "create", scarce_create)
        patch.setattr(Segment, "settle", scarce_settle)
        worker = Worker(tmp_path_factory.mktemp("spool"))
        for step, n in steps:
            match step:
                case "record":
                    worker.record(n)
                case "look":
                    worker.look()
                case "ship":
                    worker.ship(n)
                case _:
                    room[0] = n
        room[0] = 1000
        worker.look()
        assert worker.spool.kind == "file"

        parts = worker.left()

    assert losses_in(parts) == []
    assert numbers_in(parts)[-1:] in ([], [worker.recorded])
    assert set(numbers_in(parts)) >= set(range(worker.acked + 1, worker.recorded + 1))


def test_the_sidecar_is_told_and_so_is_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "spool").touch()
    meter = Meter(socket=tmp_path / "s", spool_dir=tmp_path / "spool")
    meter.record("n", 0)
    assert "in the spool" not in caplog.text

    with FakeSidecar(tmp_path / "s") as sidecar:
        sidecar.wait_for_events(1)
        (tmp_path / "spool").unlink()
        (ledger,) = sidecar.ledgers.values()
        sidecar.wait_for(lambda _: ledger.hellos[-1].spool == "file")
        meter.record("n", 1)
        sidecar.wait_for_events(2)
        until(lambda: caplog.text.count("events wait in files again") == 1)
        meter.close(timeout_s=PATIENCE_S)
        sidecar.assert_complete()

    assert ledger.hellos[0].spool.startswith("memory: ")
    assert caplog.text.count("in memory only") == 1
    assert caplog.text.count("events wait in files again") == 1
    assert spool_directories(tmp_path / "spool") == []
