"""From the spool to a sidecar that behaves, and to one that does not."""

import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import meterline.meter
import meterline.shipper
import meterline.spool.living
from meterline import Meter, wire
from meterline.meter import shippers
from meterline.spool.dead import DeadSpool, spool_directories
from meterline.spool.producer_file import FILE_NAME
from meterline.spool.scan import FORGOTTEN, Run
from meterline.spool.segment import SEGMENT_BYTES_MIN, SUFFIX
from meterline.wire import Refusal
from tests.fake_sidecar import FakeSidecar
from tests.patience import PATIENCE_S
from tests.sidecar_process import until

SMALL = 4 * SEGMENT_BYTES_MIN

MakeMeter = Callable[..., Meter]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[MakeMeter]:
    """Return a function that makes meters on one socket and spool directory."""
    made: list[Meter] = []

    def make_meter(**options: Any) -> Meter:
        where: dict[str, Any] = {
            "socket": tmp_path / "s",
            "spool_dir": tmp_path / "spool",
        }
        meter = Meter(**{**where, **options})
        made.append(meter)
        return meter

    yield make_meter
    for meter in made:
        meter.close(timeout_s=0)


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[FakeSidecar]:
    fake = FakeSidecar(tmp_path / "s")
    yield fake
    fake.stop()


def fill(meter: Meter, n_events: int, *, start: int = 0) -> None:
    for i in range(start, start + n_events):
        meter.record("n", i)


def until_looked(meter: Meter, n_events: int) -> None:
    """Wait until the shipping thread has counted what was recorded."""
    until(lambda: meter.stats.recorded == n_events)


def numbers(sidecar: FakeSidecar) -> list[int]:
    return [int((event.quantities or {})["n"]) for event in sidecar.events]


def kill(meter: Meter) -> None:
    """What a worker leaves that has ended: the files, and nobody who holds them."""
    shipper = meter.shipper
    assert shipper is not None
    # Of this meter alone: threads of others would go on without their spools.
    shippers.give_back(meter.options, user=meter, shipper=shipper)
    shipper.begin_to_close(timeout_s=0, when_closed=refuse)
    until(lambda: shipper.has_ended)  # a close waits no longer than a second for it
    meter.forget_parent()


def refuse(_payload: bytes) -> None:
    pytest.fail("it is dead")


def n_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- the sidecar comes and goes


def test_events_wait_for_a_sidecar_that_comes_later(
    make: MakeMeter, sidecar: FakeSidecar, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    meter = make()
    fill(meter, 100)
    until(lambda: "the sidecar is away" in caplog.text)
    assert not meter.flush(timeout_s=0.3)

    sidecar.start()
    sidecar.wait_for_events(100)

    assert numbers(sidecar) == list(range(100))
    assert caplog.text.count("the sidecar is away") == 1
    assert meter.flush(timeout_s=PATIENCE_S)
    assert caplog.text.count("the sidecar is back") == 1


def test_a_sidecar_that_restarts_fifty_times_gets_everything_once(
    make: MakeMeter, sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meterline.shipper, "BACKOFF_S_MAX", 0.01)
    meter = make()
    for i in range(50):
        fill(meter, 40, start=40 * i)
        sidecar.start()
        sidecar.wait_for_events(40 * i + i % 3)
        sidecar.stop()
    sidecar.start()

    sidecar.wait_for_events(2000)

    assert numbers(sidecar) == list(range(2000))
    sidecar.assert_complete()


def test_a_lost_ack_counts_nothing_twice(
    make: MakeMeter, sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meterline.shipper, "BACKOFF_S_MAX", 0.01)
    cuts = iter([False] * 20)
    sidecar.before_ack = lambda: next(cuts, True)
    sidecar.start()
    meter = make()
    for i in range(30):
        fill(meter, 10, start=10 * i)
        sidecar.wait_for_events(10 * i + 10)

    assert meter.flush(timeout_s=PATIENCE_S)
    assert numbers(sidecar) == list(range(300))


def test_a_sidecar_that_lost_its_memory_gets_what_is_left_and_the_rest_as_lost(
    make: MakeMeter, sidecar: FakeSidecar
) -> None:
    sidecar.start()
    meter = make(spool_bytes_max=8 * SEGMENT_BYTES_MIN)
    fill(meter, 5000)
    assert meter.flush(timeout_s=PATIENCE_S)
    sidecar.stop()
    sidecar.ledgers.clear()
    fill(meter, 100, start=5000)

    sidecar.start()
    sidecar.wait_for_events(5100)

    (ledger,) = sidecar.ledgers.values()
    ledger.assert_complete()
    assert set(ledger.lost.values()) == {FORGOTTEN}
    assert list(ledger.lost) == list(range(1, len(ledger.lost) + 1))
    assert numbers(sidecar) == list(range(len(ledger.lost), 5100))


@pytest.mark.parametrize("code", ["not_ready", "stopping", "gap", "uid", "version"])
def test_a_refusal_is_said_once_and_survived(
    make: MakeMeter,
    sidecar: FakeSidecar,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
) -> None:
    monkeypatch.setattr(meterline.shipper, "REFUSED_BACKOFF_S", 0.05)
    sidecar.refusal = Refusal(code, "for a reason")
    sidecar.start()
    meter = make()
    fill(meter, 10)
    sidecar.wait_for(lambda fake: len(fake.refused) >= 3)

    sidecar.refusal = None

    sidecar.wait_for_events(10)
    assert caplog.text.count("for a reason") == 1


def test_a_peer_that_speaks_nonsense_is_left_and_asked_again(
    make: MakeMeter, sidecar: FakeSidecar, tmp_path: Path
) -> None:
    answers = [b"\xff" * 100, b"\0\0\0\x05hello", wire.encode_frame(wire.Ack(5)), b""]
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    meter = make()
    fill(meter, 10)
    for answer in answers:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(answer)
    listener.close()

    sidecar.start()

    sidecar.wait_for_events(10)
    assert numbers(sidecar) == list(range(10))


# --- bounds


def test_a_full_spool_drops_counts_and_reports_exactly(
    make: MakeMeter, sidecar: FakeSidecar
) -> None:
    meter = make(spool_bytes_max=SMALL)
    fill(meter, 10_000)
    until_looked(meter, 10_000)
    stats = meter.stats
    assert stats.recorded == 10_000
    assert 0 < stats.dropped < 10_000

    sidecar.start()
    assert meter.flush(timeout_s=PATIENCE_S)
    fill(meter, 10, start=10_000)
    assert meter.flush(timeout_s=PATIENCE_S)

    sidecar.assert_complete()
    assert sidecar.lost == stats.dropped
    (ledger,) = sidecar.ledgers.values()
    assert set(ledger.lost.values()) == {"spool full"}
    assert numbers(sidecar)[-10:] == list(range(10_000, 10_010))
    assert len(sidecar.events) == 10_010 - stats.dropped


def test_a_full_spool_takes_no_more_disk_and_few_descriptors(
    make: MakeMeter, tmp_path: Path
) -> None:
    descriptors = n_descriptors()
    meter = make(spool_bytes_max=64 * SEGMENT_BYTES_MIN)
    for i in range(20):
        fill(meter, 10_000, start=10_000 * i)
        until_looked(meter, 10_000 * (i + 1))

    size = sum(path.stat().st_size for path in tmp_path.rglob(f"*{SUFFIX}"))
    assert size <= 64 * SEGMENT_BYTES_MIN
    assert meter.stats.dropped > 0
    assert n_descriptors() - descriptors <= 8


def test_acked_segments_are_deleted(
    make: MakeMeter, sidecar: FakeSidecar, tmp_path: Path
) -> None:
    sidecar.start()
    meter = make(spool_bytes_max=SMALL)
    for i in range(20):
        fill(meter, 1000, start=1000 * i)
        assert meter.flush(timeout_s=PATIENCE_S)

    assert meter.stats.dropped == 0
    assert numbers(sidecar) == list(range(20_000))
    assert len(list(tmp_path.rglob(f"*{SUFFIX}"))) <= 3


def test_drops_that_were_never_marked_are_reported_at_the_end(
    make: MakeMeter, sidecar: FakeSidecar
) -> None:
    meter = make(spool_bytes_max=SMALL)
    fill(meter, 10_000)
    sidecar.start()

    meter.close(timeout_s=PATIENCE_S)

    sidecar.assert_complete()
    (ledger,) = sidecar.ledgers.values()
    assert ledger.last_seq == 10_000
    assert ledger.is_closed


# --- no file to be had


@pytest.mark.parametrize("where", ["a file", "read only"])
def test_without_a_directory_events_wait_in_memory_and_it_is_said_once(
    make: MakeMeter,
    sidecar: FakeSidecar,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    where: str,
) -> None:
    spool_dir = tmp_path / "spool"
    if where == "a file":
        spool_dir.touch()
    else:
        spool_dir = Path("/proc/meterline")
    sidecar.start()
    meter = make(spool_dir=spool_dir)
    fill(meter, 100)

    sidecar.wait_for_events(100)

    assert numbers(sidecar) == list(range(100))
    assert caplog.text.count("in memory only") == 1
    (ledger,) = sidecar.ledgers.values()
    assert ledger.hellos[0].spool.startswith("memory: ")
    assert meter.stats.spool.startswith("memory: ")


def test_a_directory_that_vanishes_costs_what_stood_there_and_stops_nothing(
    make: MakeMeter,
    sidecar: FakeSidecar,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    meter = make(spool_bytes_max=32 * SEGMENT_BYTES_MIN)
    for i in range(8):
        fill(meter, 2000, start=2000 * i)
        until_looked(meter, 2000 * (i + 1))
    shutil.rmtree(tmp_path / "spool")
    for i in range(8, 18):  # more than there is room for in what was made ready
        fill(meter, 2000, start=2000 * i)
        until_looked(meter, 2000 * (i + 1))
    assert meter.stats.spool.startswith("memory: ")

    sidecar.start()
    sidecar.wait_for_events(36_000)

    assert 0 < sidecar.lost < 16_000
    assert numbers(sidecar)[-20_000:] == list(range(16_000, 36_000))
    sidecar.assert_complete()
    assert caplog.text.count("in memory only") == 1


# --- what dead workers leave behind


def test_the_next_worker_drains_what_a_dead_one_left(
    make: MakeMeter, sidecar: FakeSidecar, tmp_path: Path
) -> None:
    for i in range(3):
        dead = make()
        fill(dead, 100, start=100 * i)
        kill(dead)
    sidecar.start()
    living = make()
    fill(living, 100, start=300)

    sidecar.wait_for(lambda fake: sum(x.is_closed for x in fake.ledgers.values()) == 3)
    assert living.flush(timeout_s=PATIENCE_S)

    assert sorted(numbers(sidecar)) == list(range(400))
    sidecar.assert_complete()
    # A spool is deleted once its last ack was read, which may come after its events.
    until(lambda: len(spool_directories(tmp_path / "spool")) == 1)


def test_a_living_workers_spool_is_nobody_elses(
    make: MakeMeter, tmp_path: Path
) -> None:
    meter = make()
    fill(meter, 10)

    (directory,) = spool_directories(tmp_path / "spool")

    assert DeadSpool.take(directory) is None


def test_only_one_of_many_drainers_gets_a_spool(
    make: MakeMeter, tmp_path: Path
) -> None:
    meter = make()
    fill(meter, 10)
    kill(meter)
    (directory,) = spool_directories(tmp_path / "spool")
    taken: list[DeadSpool | None] = []
    go = threading.Barrier(8)

    def drain() -> None:
        go.wait()
        spool = DeadSpool.take(directory)
        taken.append(spool)
        if spool is not None:
            spool.delete()

    threads = [threading.Thread(target=drain) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len([spool for spool in taken if spool is not None]) == 1
    assert not Path(directory).exists()


def test_a_dead_spool_tells_who_it_was_and_what_is_still_to_be_sent(
    make: MakeMeter, tmp_path: Path
) -> None:
    meter = make(app_name="shop")
    fill(meter, 10)
    until_looked(meter, 10)
    kill(meter)
    (directory,) = spool_directories(tmp_path / "spool")

    spool = DeadSpool.take(directory)

    assert spool is not None
    assert spool.hello.producer == Path(directory).name
    assert (spool.hello.app, spool.hello.pid) == ("shop", os.getpid())
    assert spool.hello.recorded_seq == 10
    (run,) = spool.parts(after_seq=0)
    assert isinstance(run, Run)
    assert (run.first_seq, run.last_seq) == (1, 10)
    assert len(list(wire.split_records(run.read()))) == 10
    assert list(spool.parts(after_seq=10)) == []
    spool.close()
    assert DeadSpool.take(directory) is not None


def test_events_that_stood_in_the_memory_of_a_dead_worker_are_reported_lost(
    make: MakeMeter, sidecar: FakeSidecar, tmp_path: Path
) -> None:
    meter = make()
    fill(meter, 50)
    until_looked(meter, 50)
    kill(meter)
    (segment, *_) = sorted(tmp_path.rglob(f"*{SUFFIX}"))
    data = bytearray(segment.read_bytes())
    data[64:] = bytes(len(data) - 64)  # the disk has lost them
    segment.write_bytes(data)
    sidecar.start()
    make().record("n", 1)

    sidecar.wait_for(lambda fake: fake.lost == 50)

    sidecar.assert_complete()


def test_drops_of_a_dead_worker_are_reported(
    make: MakeMeter, sidecar: FakeSidecar
) -> None:
    meter = make(spool_bytes_max=SMALL)
    fill(meter, 10_000)
    until_looked(meter, 10_000)
    dropped = meter.stats.dropped
    kill(meter)
    sidecar.start()
    make().record("n", 0)

    sidecar.wait_for_events(10_001)

    sidecar.assert_complete()
    assert sidecar.lost == dropped


@pytest.mark.parametrize("damage", ["gone", "empty", "garbage", "cut"])
def test_a_damaged_producer_file_does_not_keep_its_events_from_being_sent(
    make: MakeMeter, sidecar: FakeSidecar, tmp_path: Path, damage: str
) -> None:
    meter = make()
    fill(meter, 10)
    kill(meter)
    (file,) = tmp_path.rglob(FILE_NAME)
    match damage:
        case "gone":
            file.unlink()
        case "empty":
            file.write_bytes(b"")
        case "garbage":
            file.write_bytes(os.urandom(4096))
        case _:
            file.write_bytes(file.read_bytes()[:300])
    sidecar.start()
    make().record("n", 10)

    sidecar.wait_for_events(11)

    assert sorted(numbers(sidecar)) == list(range(11))
    sidecar.assert_complete()


# --- the thread


def test_an_error_in_the_shipping_thread_is_said_once_and_delays_only(
    make: MakeMeter,
    sidecar: FakeSidecar,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failed: list[int] = []
    again = threading.Event()

    def fail(**_options: object) -> None:
        failed.append(1)
        if len(failed) == 10:
            again.set()
        raise ArithmeticError("a bug")

    sidecar.start()
    meter = make()
    fill(meter, 10)
    assert meter.flush(timeout_s=PATIENCE_S)
    shipper = meter.shipper
    assert shipper is not None
    with monkeypatch.context() as patch:
        patch.setattr(shipper.spool, "maintain", fail)
        assert again.wait(PATIENCE_S)
    fill(meter, 10, start=10)

    sidecar.wait_for_events(20)

    assert numbers(sidecar) == list(range(20))
    assert caplog.text.count("ArithmeticError in the shipping thread") == 1


def test_without_a_thread_to_be_had_events_wait_in_the_spool(
    make: MakeMeter, sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sidecar.start()
    meter = make()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        fill(meter, 10)
        assert not sidecar.events
    fill(meter, 1, start=10)

    sidecar.wait_for_events(11)

    assert numbers(sidecar) == list(range(11))


def test_many_threads_record_at_once_and_nothing_is_lost_or_doubled(
    make: MakeMeter, sidecar: FakeSidecar
) -> None:
    sidecar.start()
    meter = make(spool_bytes_max=256 * SEGMENT_BYTES_MIN)
    go = threading.Barrier(8)

    def busy(start: int) -> None:
        go.wait()
        fill(meter, 5000, start=start)

    threads = [threading.Thread(target=busy, args=(5000 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.flush(timeout_s=PATIENCE_S)

    assert sorted(numbers(sidecar)) == list(range(40_000))
    sidecar.assert_complete()


def test_closing_while_threads_record_loses_nothing(
    make: MakeMeter, sidecar: FakeSidecar
) -> None:
    sidecar.start()
    meter = make()
    threads = [
        threading.Thread(target=fill, args=(meter, 20_000), kwargs={"start": start})
        for start in (0, 20_000)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        meter.close(timeout_s=PATIENCE_S)
    meter.close(timeout_s=PATIENCE_S)

    assert sorted(numbers(sidecar)) == list(range(40_000))
    assert meter.stats.recorded == meter.stats.acked == 40_000
    assert len(sidecar.ledgers) > 1
    assert all(ledger.is_closed for ledger in sidecar.ledgers.values())


def test_an_event_that_can_not_be_encoded_is_counted_and_reported_lost(
    make: MakeMeter, sidecar: FakeSidecar
) -> None:
    sidecar.start()
    meter = make()
    meter.record("n", 1)
    meter.fail()
    meter.record("n", 2)
    meter.close(timeout_s=PATIENCE_S)

    (ledger,) = sidecar.ledgers.values()
    assert sorted(ledger.lost.values()) == ["could not be recorded"]
    assert len(ledger.events) == 2
    assert (meter.stats.failed, meter.stats.dropped) == (1, 1)


def test_a_hello_says_how_much_was_recorded(
    make: MakeMeter, sidecar: FakeSidecar
) -> None:
    meter = make()
    fill(meter, 123)
    until_looked(meter, 123)

    sidecar.start()
    sidecar.wait_for_events(123)

    (ledger,) = sidecar.ledgers.values()
    assert ledger.hellos[0].recorded_seq == 123
    assert msgspec.structs.asdict(ledger.hellos[0])["app"] == "app"


def test_a_kill_right_after_a_new_segment_was_begun_invents_no_loss(
    make: MakeMeter, tmp_path: Path
) -> None:
    for n_events in (3_000, 10_000):  # into a second segment; into drops and on
        meter = make(spool_bytes_max=SMALL)
        fill(meter, n_events)
        until_looked(meter, n_events)
        dropped = meter.stats.dropped
        kill(meter)
        (directory,) = spool_directories(tmp_path / "spool")
        for path in Path(directory).glob(f"*{SUFFIX}"):
            data = bytearray(path.read_bytes())
            data[32:48] = bytes(16)  # as if the shipper had not looked yet
            path.write_bytes(data)
        spool = DeadSpool.take(directory)
        assert spool is not None

        parts = list(spool.parts(after_seq=0))

        lost = [part for part in parts if not isinstance(part, Run)]
        assert sum(part.last_seq - part.first_seq + 1 for part in lost) == dropped
        assert {part.reason for part in lost} <= {"spool full"}
        assert parts[-1].last_seq == n_events
        spool.delete()


def test_what_fails_at_the_end_of_the_stack_is_reported_lost(
    make: MakeMeter, sidecar: FakeSidecar
) -> None:
    sidecar.start()
    meter = make()
    recorded: list[int] = []

    def record_deeper() -> None:
        meter.record("n", len(recorded))
        recorded.append(1)
        record_deeper()

    with pytest.raises(RecursionError):
        record_deeper()

    assert meter.stats.failed > 0, "it must reach the end of the stack"
    sidecar.wait_for_events(len(recorded))
    assert len(sidecar.events) == len(recorded) - meter.stats.failed
    sidecar.assert_complete()


def test_what_failed_while_nothing_could_be_opened_is_reported_lost(
    make: MakeMeter, sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(meterline.meter, "RETRY_S", 0)
    sidecar.start()
    meter = make()
    with monkeypatch.context() as full:
        full.setattr(meterline.spool.living, "Reader", no_memory)
        fill(meter, 30)
    assert meter.stats.failed == 30

    fill(meter, 5)

    sidecar.wait_for_events(35)
    assert numbers(sidecar) == list(range(5))
    assert sidecar.lost == 30
    sidecar.assert_complete()


def test_events_that_keep_coming_share_rounds_of_the_thread(
    make: MakeMeter, sidecar: FakeSidecar
) -> None:
    acks = 0

    def count() -> bool:
        nonlocal acks
        acks += 1
        return True

    sidecar.before_ack = count
    sidecar.start()
    meter = make()
    end_s = time.monotonic() + 0.5
    n_events = 0
    while time.monotonic() < end_s:
        meter.record("n", n_events)
        n_events += 1
        time.sleep(0.001)

    assert meter.flush(timeout_s=PATIENCE_S)
    assert numbers(sidecar) == list(range(n_events))
    # Once in 50 ms, hello and goodbye besides; each ack led to the next frame before.
    assert acks <= 20, acks
