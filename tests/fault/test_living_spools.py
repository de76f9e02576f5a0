"""Damage to the files of a worker that lives: it goes on, and nothing is lost unsaid."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from meterline.spool.dead import DeadSpool, spool_directories
from meterline.spool.living import Spool
from meterline.spool.producer_file import FILE_NAME
from meterline.spool.scan import DAMAGED, Loss, Part
from meterline.spool.segment import DATA_START, SUFFIX, Segment
from meterline.wire import RECORD_HEADER, record_crc, split_records
from tests.fake_sidecar import FakeSidecar
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.fault

N_EVENTS: Final = 6_000
N_MORE: Final = 10

LIVE: Final = """
import meterline, sys, time
meter = meterline.Meter(socket=sys.argv[1], spool_dir=sys.argv[2])
n_events, n_more = map(int, sys.argv[3:])
for i in range(n_events):
    meter.record("n", i)
while meter.stats.recorded < n_events:  # until the shipper has looked, and counted
    time.sleep(0.01)
print("recorded", flush=True)
sys.stdin.readline()
for i in range(n_events, n_events + n_more):
    meter.record("n", i)
meter.close(timeout_s=50)
"""

Parts = list[bytearray]
"""The bytes of each part of a spool that holds records."""
Damage = Callable[[Parts], None]


def starts_of(part: bytes | bytearray) -> list[int]:
    """Return where each record starts, and where the last one ends."""
    starts = [DATA_START]
    while (length := int.from_bytes(part[starts[-1] : starts[-1] + 4], "little")) > 0:
        starts.append(starts[-1] + RECORD_HEADER.size + length)
    return starts


def zeros(i: int, start: float, end: float) -> Damage:
    """Fill records of a part with zeros, from one place to another, 1 is its end."""

    def damage(parts: Parts) -> None:
        starts = starts_of(parts[i])
        last = len(starts) - 1
        first, behind = starts[int(start * last)], starts[int(end * last)]
        parts[i][first:behind] = bytes(behind - first)

    return damage


def length(i: int, place: float, number: int) -> Damage:
    """Have a record say that it is as long as that."""

    def damage(parts: Parts) -> None:
        starts = starts_of(parts[i])
        at = starts[int(place * (len(starts) - 2))]
        parts[i][at : at + 4] = number.to_bytes(4, "little")

    return damage


def both(one: Damage, other: Damage) -> Damage:
    def damage(parts: Parts) -> None:
        one(parts)
        other(parts)

    return damage


def whole(parts: Parts) -> None:
    """Have nothing be left of a part, not even its header."""
    parts[1][:] = bytes(len(parts[1]))


def header(parts: Parts) -> None:
    parts[1][: DATA_START + 100] = bytes(DATA_START + 100)


DAMAGES: Final = {
    "in the middle": zeros(1, 0.4, 0.6),
    "at the beginning": zeros(1, 0, 0.3),
    "at the end": zeros(1, 0.7, 1),
    "over a boundary": both(zeros(0, 0.9, 1), zeros(1, 0, 0.1)),
    "in two parts": both(zeros(0, 0.3, 0.4), zeros(1, 0.6, 0.8)),
    "in the last part": zeros(-1, 0.4, 0.6),
    "at the very end": zeros(-1, 0.9, 1),
    "all of the last part": zeros(-1, 0, 1),
    "a whole part": whole,
    "a header": header,
    "a length too large": length(1, 0.5, 0xFFFFFFFF),
    "a length over the next": length(1, 0.5, 2_000),
    "a length too small": length(1, 0.5, 5),
    "the last length": length(-1, 1, 0xFFFFFFFF),
}
ON_REAL_WORKERS: Final = (
    *("in the middle", "over a boundary", "at the very end", "a length too small"),
)
EVERY: Final = pytest.mark.parametrize(
    "damage", DAMAGES.values(), ids=[name.replace(" ", "_") for name in DAMAGES]
)


def hit(before: Parts, after: Parts) -> int:
    """Return how many records are not what they were."""
    n_records = 0
    for one, other in zip(before, after, strict=True):
        starts = starts_of(one)
        for start, end in pairwise(starts):
            n_records += one[start:end] != other[start:end]
    return n_records


def damage_files(folder: Path, damage: Damage) -> int:
    """Damage a spool; return how many of its records that hits."""
    files = sorted(folder.glob(f"*{SUFFIX}"))
    parts = [bytearray(file.read_bytes()) for file in files]
    used = [i for i, part in enumerate(parts) if len(starts_of(part)) > 1]
    before = [bytearray(parts[i]) for i in used]
    after = [bytearray(part) for part in before]
    damage(after)
    for i, part in zip(used, after, strict=True):
        with files[i].open("r+b") as file:  # not shorter, not for a moment
            file.write(part)
    return hit(before, after)


def read(parts: Iterable[Part]) -> tuple[dict[int, bytes], int]:
    """Return what can be sent, by number, and how many are lost; there is no hole."""
    found: dict[int, bytes] = {}
    n_lost = 0
    next_seq = 1
    for part in parts:
        assert part.first_seq == next_seq
        next_seq = part.last_seq + 1
        if isinstance(part, Loss):
            assert part.reason == DAMAGED
            n_lost += part.last_seq - part.first_seq + 1
            continue
        records = list(split_records(part.read()))
        assert len(records) == part.last_seq - part.first_seq + 1
        for seq, (crc, hint, payload) in enumerate(records, part.first_seq):
            if crc == record_crc(hint, payload):
                found[seq] = bytes(payload)
            else:
                n_lost += 1  # the sidecar says so
    return found, n_lost


def waiting(spool: Spool) -> Iterator[Part]:
    while (part := spool.reader.next_part()) is not None:
        yield part


@pytest.mark.parametrize(
    "damage", [DAMAGES[name] for name in ON_REAL_WORKERS], ids=[*"1234"]
)
def test_a_spool_damaged_while_its_events_wait_costs_what_was_hit_and_is_counted(
    tmp_path: Path, damage: Damage
) -> None:
    sidecar = FakeSidecar(tmp_path / "s", expects_damage=True)
    arguments = [str(tmp_path / "s"), str(tmp_path / "spool"), str(N_EVENTS)]
    with subprocess.Popen(
        [sys.executable, "-c", LIVE, *arguments, str(N_MORE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        (folder,) = spool_directories(tmp_path / "spool")
        n_hit = damage_files(Path(folder), damage)
        with sidecar:
            sidecar.wait_for_events(N_EVENTS)  # while it lives and does nothing
            worker.communicate(b"\n", timeout=PATIENCE_S)

    sidecar.assert_complete()
    found = [(event.quantities or {})["n"] for event in sidecar.events]
    assert found == sorted(set(found))
    assert 0 < n_hit == sidecar.lost
    assert len(found) == N_EVENTS + N_MORE - n_hit
    assert not Path(folder).exists()


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that a killed process has left."""
    spool_dir = tmp_path_factory.mktemp("dead") / "spool"
    code = LIVE.replace("sys.stdin.readline()", "__import__('os').kill(0, 9)")
    arguments = ["/nowhere/s", str(spool_dir), str(N_EVENTS), str(N_MORE)]
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=False,
    )
    (directory,) = spool_directories(spool_dir)
    return Path(directory)


@EVERY
def test_a_dead_workers_spool_damaged_likewise_costs_the_same(
    tmp_path: Path, dead: Path, damage: Damage
) -> None:
    folder = Path(shutil.copytree(dead, tmp_path / dead.name))
    n_hit = damage_files(folder, damage)

    spool = DeadSpool.take(folder)
    assert spool is not None
    found, n_lost = read(spool.parts(after_seq=0))

    assert list(found) == sorted(found)
    assert 0 < n_hit == n_lost
    assert len(found) == N_EVENTS - n_hit
    spool.close()


# --- damaged before it was looked at: in this process


def event(number: int) -> bytes:
    return b"an event of a worker that lives, number %d" % number


@EVERY
@pytest.mark.parametrize("is_counted", [False, True], ids=["before", "after"])
def test_a_spool_damaged_before_or_after_it_was_counted_costs_what_was_hit(
    tmp_path: Path, damage: Damage, is_counted: bool
) -> None:
    spool = Spool.open(tmp_path, app="", host="", pid=1, bytes_max=1 << 26)
    for number in range(1, N_EVENTS + 1):
        spool.writer.append(event(number))
    if is_counted:
        spool.reader.scan()
    segments = spool.writer.segments
    for segment in segments:
        segment.unpark()
    before = [bytearray(segment.map[:]) for segment in segments]
    after = [bytearray(part) for part in before]
    damage(after)
    for segment, part in zip(segments, after, strict=True):
        segment.map[:] = bytes(part)
    if is_counted:
        spool.reader.doubt()  # as the sidecar can make nothing of it
        spool.reader.resume(0)
    spool.reader.scan()
    for number in range(N_EVENTS + 1, N_EVENTS + N_MORE + 1):
        spool.writer.append(event(number))

    spool.reader.scan()
    found, n_lost = read(waiting(spool))

    assert found == {number: event(number) for number in found}
    assert n_lost == hit(before, after)
    assert len(found) + n_lost == N_EVENTS + N_MORE == spool.reader.recorded_seq
    spool.close(lambda _: None)
    spool.abandon()


def test_what_was_damaged_at_the_very_end_is_counted_when_the_worker_ends(
    tmp_path: Path,
) -> None:
    spool = Spool.open(tmp_path, app="", host="", pid=1, bytes_max=1 << 26)
    for number in range(1, 11):
        spool.writer.append(event(number))
    (segment,) = spool.writer.segments
    at = starts_of(segment.map[:])[7]
    segment.map[at : at + 1000] = bytes(1000)
    spool.reader.scan()

    spool.close(lambda _: None)
    spool.reader.scan()

    found, n_lost = read(waiting(spool))
    assert (len(found), n_lost) == (7, 3)
    spool.abandon()


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_part_that_is_cut_or_gone_when_it_is_looked_at_again_is_lost(
    tmp_path: Path, is_gone: bool
) -> None:
    spool = Spool.open(tmp_path, app="", host="", pid=1, bytes_max=1 << 26)
    for number in range(1, N_EVENTS + 1):
        spool.writer.append(event(number))
    spool.reader.scan()
    second: Segment = spool.writer.segments[1]
    assert second.path is not None
    path = Path(second.path)
    n_hit = spool.writer.segments[2].first_seq - second.first_seq
    if is_gone:
        path.unlink()
    else:
        with path.open("r+b") as file:
            file.truncate(starts_of(path.read_bytes())[100])
        n_hit -= 100

    spool.reader.doubt()
    spool.reader.resume(0)

    found, n_lost = read(waiting(spool))
    assert n_lost == n_hit
    assert len(found) == N_EVENTS - n_hit
    spool.close(lambda _: None)
    spool.abandon()


def test_a_damaged_file_of_a_living_producer_changes_no_count(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, app="", host="", pid=1, bytes_max=1)
    for number in range(1, N_EVENTS + 1):
        spool.writer.append(event(number).ljust(900))
    spool.reader.scan()
    before = spool.reader.counts
    assert spool.writer.directory is not None
    file = Path(spool.writer.directory, FILE_NAME)
    file.write_bytes(bytes(4096))

    spool.writer.append(event(0).ljust(900))
    spool.reader.scan()

    assert before.dropped > 0
    assert spool.reader.counts.dropped == before.dropped + 1
    assert spool.reader.counts.recorded == N_EVENTS + 1
    spool.close(lambda _: None)
    spool.abandon()
