"""Damage to a dead worker's files, at every byte: counted to the last event."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from meterline.spool.dead import DeadSpool, spool_directories
from meterline.spool.producer_file import FILE_NAME
from meterline.spool.scan import Part, Run
from meterline.spool.segment import DATA_START, SUFFIX
from meterline.usage_event import UsageEvent
from meterline.wire import record_crc, split_records
from tests.fake_sidecar import FakeSidecar
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.fault

N_EVENTS = 12

DIE = """
import meterline, os, sys, time
meter = meterline.Meter(socket="/nowhere/s", spool_dir=sys.argv[1])
for i in range(int(sys.argv[2])):
    meter.record("n", i)
while meter.stats.recorded < int(sys.argv[2]):   # until the shipper has looked
    time.sleep(0.01)
os.kill(os.getpid(), 9)
"""

_decode = msgspec.msgpack.Decoder(UsageEvent).decode


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that a killed process has left."""
    spool_dir = tmp_path_factory.mktemp("dead") / "spool"
    subprocess.run(
        [sys.executable, "-c", DIE, str(spool_dir), str(N_EVENTS)], check=False
    )
    (directory,) = spool_directories(spool_dir)
    return Path(directory)


def read(directory: Path) -> dict[int, int]:
    """Return number to quantity of what can be read; the rest must be losses."""
    spool = DeadSpool.take(directory)
    assert spool is not None
    found: dict[int, int] = {}
    next_seq = 1
    parts: list[Part] = list(spool.parts(after_seq=0))
    for part in parts:
        assert part.first_seq == next_seq
        next_seq = part.last_seq + 1
        if isinstance(part, Run):
            for seq, (crc, hint, payload) in enumerate(
                split_records(part.read()), part.first_seq
            ):
                assert crc == record_crc(hint, payload)
                found[seq] = int((_decode(payload).quantities or {})["n"])
    spool.close()
    assert next_seq == N_EVENTS + 1, parts
    return found


def written(segment: Path) -> bytes:
    """Return a segment's contents without most of its fresh space, to be quick."""
    return segment.read_bytes().rstrip(b"\0") + bytes(4096)


def copy(directory: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(directory, to / directory.name))


def test_a_killed_worker_leaves_all_that_it_recorded(
    dead: Path, tmp_path: Path
) -> None:
    assert read(copy(dead, tmp_path / "c")) == {i + 1: i for i in range(N_EVENTS)}


def test_a_flipped_bit_at_any_byte_costs_at_most_its_event_and_is_counted(
    dead: Path, tmp_path: Path
) -> None:
    directory = copy(dead, tmp_path / "c")
    segment = directory / f"00000001{SUFFIX}"
    whole = written(segment)
    end = len(whole.rstrip(b"\0"))
    for position in range(end):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position % 8)
        segment.write_bytes(damaged)

        found = read(directory)

        assert all(value == seq - 1 for seq, value in found.items())
        missing = N_EVENTS - len(found)
        assert missing == (0 if position < DATA_START else 1), position


def test_a_file_cut_off_at_any_byte_costs_what_is_cut_and_is_counted(
    dead: Path, tmp_path: Path
) -> None:
    directory = copy(dead, tmp_path / "c")
    segment = directory / f"00000001{SUFFIX}"
    whole = segment.read_bytes()
    end = len(whole.rstrip(b"\0"))
    expected = N_EVENTS
    for size in range(end, -1, -1):
        segment.write_bytes(whole[:size])

        found = read(directory)

        assert found == {i + 1: i for i in range(len(found))}
        assert expected - 1 <= len(found) <= expected
        expected = len(found)
    assert expected == 0


def test_a_page_of_zeros_anywhere_costs_what_stood_there_and_is_counted(
    dead: Path, tmp_path: Path
) -> None:
    directory = copy(dead, tmp_path / "c")
    segment = directory / f"00000001{SUFFIX}"
    whole = written(segment)
    end = len(whole.rstrip(b"\0"))
    for position in range(0, end, 7):
        damaged = bytearray(whole)
        damaged[position : position + 64] = bytes(64)
        segment.write_bytes(damaged)

        found = read(directory)

        assert all(value == seq - 1 for seq, value in found.items())
        assert N_EVENTS - len(found) <= 4


def test_a_flipped_bit_in_the_producer_file_costs_no_event(
    dead: Path, tmp_path: Path
) -> None:
    directory = copy(dead, tmp_path / "c")
    file = directory / FILE_NAME
    whole = file.read_bytes()
    for position in range(len(whole.rstrip(b"\0"))):
        damaged = bytearray(whole)
        damaged[position] ^= 0x40
        file.write_bytes(damaged)

        assert len(read(directory)) == N_EVENTS


def test_a_whole_spool_of_garbage_is_drained_as_lost(
    dead: Path, tmp_path: Path
) -> None:
    directory = copy(dead, tmp_path / "c")
    segment = directory / f"00000001{SUFFIX}"
    segment.write_bytes(os.urandom(segment.stat().st_size // 8))

    assert read(directory) == {}


# --- disks and limits, in a process of its own

SMALL_FILES = """
import meterline, resource, sys
soft, hard = int(sys.argv[3]), resource.RLIM_INFINITY
meter = meterline.Meter(socket=sys.argv[1], spool_dir=sys.argv[2])
meter.record("n", 0)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
for i in range(1, 60_000):
    meter.record("n", i)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
for i in range(60_000, 60_100):
    meter.record("n", i)
print(meter.stats.spool)
meter.close(timeout_s=50)
"""

NO_DESCRIPTORS = """
import meterline, os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
meter = meterline.Meter(socket=sys.argv[1], spool_dir=sys.argv[2])
if sys.argv[3] == "after":
    meter.record("n", 0)
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
if sys.argv[3] == "before":
    meter.record("n", 0)
kinds = set()  # a full part that is on the disk gives its descriptor to the next
for i in range(1, 60_000):
    meter.record("n", i)
    kinds.add(meter.stats.spool)
print(kinds)
for fd in taken:
    os.close(fd)
meter.close(timeout_s=50)
"""


def run(code: str, tmp_path: Path, *more: str) -> str:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            str(tmp_path / "s"),
            str(tmp_path / "spool"),
            *more,
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    return done.stdout


@pytest.mark.parametrize("limit", [0, 100_000])
def test_a_disk_without_room_makes_events_wait_in_memory_and_loses_none(
    tmp_path: Path, limit: int
) -> None:
    with FakeSidecar(tmp_path / "s") as sidecar:
        run(SMALL_FILES, tmp_path, str(limit))

    found = [(event.quantities or {})["n"] for event in sidecar.events]
    assert found == list(range(60_100))


@pytest.mark.parametrize("when", ["before", "after"])
def test_without_a_descriptor_left_the_app_records_on_and_loses_nothing(
    tmp_path: Path, when: str
) -> None:
    with FakeSidecar(tmp_path / "s") as sidecar:
        spool = run(NO_DESCRIPTORS, tmp_path, when)

    found = [(event.quantities or {})["n"] for event in sidecar.events]
    assert found == list(range(60_000))
    assert "memory" in spool
