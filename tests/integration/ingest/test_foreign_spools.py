"""What others put into the spool directory: nothing of theirs leads us elsewhere."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from meterline.spool.dead import DeadSpool, remove_unfinished
from meterline.spool.folder import NotOurs
from meterline.spool.living import Spool
from meterline.spool.producer_file import FILE_BYTES, FILE_NAME
from meterline.spool.segment import SEGMENT_BYTES, file_name
from meterline_sidecar.errors import PlaceGone
from meterline_sidecar.ingest.dead_spools import RETRY_S, Drain
from tests.integration.conftest import Sidecar
from tests.producer import event

N_EVENTS = 20
HELLO_AT = 256
PRECIOUS = b"nobody else's business"


def left_by_a_worker(spool_dir: Path) -> Path:
    """Let a worker record events and die; return its spool."""
    spool = Spool.open(
        spool_dir,
        app="tests",
        host="localhost",
        pid=1,
        bytes_max=1 << 22,
    )
    for _ in range(N_EVENTS):
        spool.writer.append(msgspec.msgpack.encode(event()))
    spool.abandon()
    assert spool.writer.directory is not None
    return Path(spool.writer.directory)


async def ingested(sidecar: Sidecar) -> int:
    async with sidecar.database.reading() as tx:
        row = await tx.fetch_one("SELECT coalesce(sum(ingested), 0) FROM producers")
    assert row is not None
    return int(row[0])


def link(path: Path, victim: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(victim)


def hard_link(path: Path, victim: Path) -> None:
    path.unlink(missing_ok=True)
    path.hardlink_to(victim)


def fifo(path: Path, _victim: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def folder(path: Path, _victim: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def unix_socket(path: Path, _victim: Path) -> None:
    path.unlink(missing_ok=True)
    here = Path.cwd()
    os.chdir(path.parent)  # its path is too long for a socket's name
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def loop(path: Path, _victim: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path)


KINDS = [link, hard_link, fifo, folder, unix_socket, loop]


@pytest.mark.parametrize("name", [FILE_NAME, file_name(1), file_name(9)])
@pytest.mark.parametrize("put", KINDS)
async def test_what_is_no_file_of_a_spool_is_named_and_stops_no_other(
    sidecar: Sidecar, tmp_path: Path, put: Callable[[Path, Path], None], name: str
) -> None:
    spool_dir = tmp_path / "spool"
    victim = tmp_path / "victim"
    victim.write_bytes(PRECIOUS)
    bad = left_by_a_worker(spool_dir)
    bad = bad.rename(spool_dir / ("0" * 32))  # the first one that is looked at
    put(bad / name, victim)
    good = left_by_a_worker(spool_dir)
    drain = Drain(spool_dir, sidecar.ingest, whose=sidecar.whose)

    await drain.run()

    assert not good.exists()
    assert await ingested(sidecar) >= N_EVENTS
    assert drain.trouble is not None
    assert str(bad / name) in drain.trouble
    assert victim.read_bytes() == PRECIOUS


async def test_a_link_in_place_of_a_spool_is_named_and_not_followed(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    spool_dir = tmp_path / "spool"
    left_by_a_worker(spool_dir)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / file_name(1)).write_bytes(PRECIOUS)
    (theirs / FILE_NAME).write_bytes(PRECIOUS)
    (spool_dir / ("0" * 32)).symlink_to(theirs)
    drain = Drain(spool_dir, sidecar.ingest, whose=sidecar.whose)

    assert await drain.run() == 1

    assert sorted(path.name for path in theirs.iterdir()) == [file_name(1), FILE_NAME]
    assert str(spool_dir / ("0" * 32)) in (drain.trouble or "")


async def test_a_spool_of_a_user_who_may_not_record_is_named_and_not_billed(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    bad = left_by_a_worker(tmp_path / "spool")
    for path in (bad, *bad.iterdir()):
        os.chown(path, 12345, 12345)
    drain = Drain(tmp_path / "spool", sidecar.ingest, whose=sidecar.whose)

    await drain.run()

    assert await ingested(sidecar) == 0
    assert "user 12345" in (drain.trouble or "")
    assert (
        await Drain(
            tmp_path / "spool", sidecar.ingest, whose=sidecar.whose, uids=[12345]
        ).run()
        == 1
    )
    assert await ingested(sidecar) == N_EVENTS


def zeroed(content: bytearray) -> None:
    content[HELLO_AT : HELLO_AT + 8] = bytes(8)


def all_zeros(content: bytearray) -> None:
    content[:] = bytes(len(content))


def all_ones(content: bytearray) -> None:
    content[:] = b"\xff" * len(content)


def cut(content: bytearray) -> None:
    del content[100:]


def emptied(content: bytearray) -> None:
    content.clear()


def grown(content: bytearray) -> None:
    content += bytes(FILE_BYTES)


def beyond(content: bytearray) -> None:
    number = 2**60  # more than anybody can record
    whole = number.to_bytes(8, "little") + (number ^ 2**64 - 1).to_bytes(8, "little")
    content[64:HELLO_AT] = whole * ((HELLO_AT - 64) // len(whole))


def gone(content: bytearray) -> None:
    content.clear()


@pytest.mark.parametrize(
    "damage", [zeroed, all_zeros, all_ones, cut, emptied, grown, beyond, gone]
)
async def test_whatever_is_damaged_in_the_producers_file_its_events_are_taken_in(
    sidecar: Sidecar, tmp_path: Path, damage: Callable[[bytearray], None]
) -> None:
    path = left_by_a_worker(tmp_path / "spool")
    content = bytearray((path / FILE_NAME).read_bytes())
    damage(content)
    (path / FILE_NAME).write_bytes(content)
    if damage is gone:
        (path / FILE_NAME).unlink()
    drain = Drain(tmp_path / "spool", sidecar.ingest, whose=sidecar.whose)

    await drain.run()

    assert await ingested(sidecar) == N_EVENTS
    assert drain.trouble is None
    assert not path.exists()


async def test_a_segment_that_is_larger_than_any_is_read_as_far_as_one_goes(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    path = left_by_a_worker(tmp_path / "spool")
    os.truncate(path / file_name(1), SEGMENT_BYTES << 20)  # sparse: 1 TiB

    await Drain(tmp_path / "spool", sidecar.ingest, whose=sidecar.whose).run()

    assert await ingested(sidecar) == N_EVENTS


def test_a_look_at_a_dead_spool_changes_nothing_in_it(tmp_path: Path) -> None:
    path = left_by_a_worker(tmp_path)
    (path / FILE_NAME).write_bytes(b"short")

    spool = DeadSpool.take(path)
    assert spool is not None
    spool.check()
    spool.close()

    assert (path / FILE_NAME).read_bytes() == b"short"


def test_a_spool_without_its_file_is_drained_by_one_alone(tmp_path: Path) -> None:
    path = left_by_a_worker(tmp_path)
    (path / FILE_NAME).unlink()

    first = DeadSpool.take(path)

    assert first is not None
    assert DeadSpool.take(path) is None
    first.close()
    assert not (path / FILE_NAME).exists()


def test_a_file_that_is_cut_while_it_is_read_does_not_end_the_process(
    tmp_path: Path,
) -> None:
    path = left_by_a_worker(tmp_path)
    spool = DeadSpool.take(path)
    assert spool is not None
    parts = spool.parts(after_seq=0)
    first = next(parts)

    os.truncate(path / file_name(1), 0)
    os.truncate(path / FILE_NAME, 0)

    assert first.last_seq == N_EVENTS
    assert list(parts) == []
    spool.close()


async def test_one_that_failed_is_left_alone_for_a_while_and_not_for_ever(
    sidecar: Sidecar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = left_by_a_worker(tmp_path / "spool")
    (bad / file_name(9)).mkdir()
    drain = Drain(tmp_path / "spool", sidecar.ingest, whose=sidecar.whose)
    await drain.run()
    (bad / file_name(9)).rmdir()

    assert await drain.run() == 0
    later_s = time.monotonic() + 2 * RETRY_S
    # Its own clock alone: where that of all others stands still, nothing can be late.
    clock = SimpleNamespace(monotonic=lambda: later_s)
    monkeypatch.setattr("meterline_sidecar.ingest.dead_spools.time", clock)
    assert await drain.run() == 1

    assert drain.trouble is None
    assert not bad.exists()


async def test_any_number_of_bad_ones_in_front_stops_no_other(
    sidecar: Sidecar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterline_sidecar.ingest.dead_spools.SPOOLS_PER_RUN_MAX", 3)
    spool_dir = tmp_path / "spool"
    good = left_by_a_worker(spool_dir)
    good = good.rename(spool_dir / ("f" * 32))
    for i in range(7):
        (spool_dir / f"{i:032x}").write_bytes(b"no directory")
    drain = Drain(spool_dir, sidecar.ingest, whose=sidecar.whose)

    for _ in range(3):
        await drain.run()

    assert not good.exists()


async def test_a_spool_directory_that_is_replaced_is_noticed(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    spool_dir = tmp_path / "spool"
    spool_dir.mkdir()
    drain = Drain(spool_dir, sidecar.ingest, whose=sidecar.whose)
    await drain.run()
    spool_dir.rename(tmp_path / "old")

    with pytest.raises(PlaceGone, match="deleted"):
        await drain.run()
    spool_dir.mkdir()
    with pytest.raises(PlaceGone, match="replaced"):
        await drain.run()


@pytest.mark.parametrize("put", KINDS)
def test_looking_at_such_a_spool_says_what_is_there(
    tmp_path: Path, put: Callable[[Path, Path], None]
) -> None:
    path = left_by_a_worker(tmp_path)
    (tmp_path / "victim").write_bytes(PRECIOUS)
    put(path / FILE_NAME, tmp_path / "victim")

    with pytest.raises(NotOurs, match=FILE_NAME):
        DeadSpool.take(path)


def test_what_a_process_left_that_died_as_it_removed_a_spool_goes(
    tmp_path: Path,
) -> None:
    full = left_by_a_worker(tmp_path)
    emptied, being_emptied = (tmp_path / (digit * 32) for digit in "ab")
    for path in (emptied, being_emptied):
        path.mkdir()
    for path in (full, emptied):
        os.utime(path, (0, 0))

    remove_unfinished(tmp_path)

    assert set(tmp_path.iterdir()) == {full, being_emptied}
    assert (full / FILE_NAME).exists()
