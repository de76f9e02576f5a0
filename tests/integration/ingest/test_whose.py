"""Which ledger takes what a dead worker left: the first that began to, and no other."""

import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meterline import Meter, wire
from meterline.complaints import troubles
from meterline.link import Link
from meterline.spool.dead import DeadSource, DeadSpool, owner_of
from meterline.spool.living import Spool
from meterline.spool.producer_file import FILE_NAME
from meterline.spool.segment import SEGMENT_BYTES_MIN
from meterline.wire import VERSION, Hello, Refusal, Welcome, WireError, ledger_text
from meterline_sidecar.errors import RetryLater
from meterline_sidecar.ingest.dead_spools import Drain
from meterline_sidecar.ingest.whose import CODE, Whose
from meterline_sidecar.ledger.chain import ledger_number
from tests.fake_sidecar import FakeSidecar
from tests.integration.conftest import Sidecar
from tests.integration.ingest.test_foreign_spools import ingested
from tests.patience import PATIENCE_S
from tests.producer import PRODUCER, Connection, event
from tests.sidecar_process import until

N_EVENTS = 20
OTHER = 0x3F9A1C0B7E22


def left_by_a_worker(spool_dir: Path, *, ledger: int = 0) -> Path:
    """Let a worker record events, hear of a ledger, and die; return its spool."""
    spool = Spool.open(
        spool_dir, app="shop", host="web-1", pid=1, bytes_max=16 * SEGMENT_BYTES_MIN
    )
    for _ in range(N_EVENTS):
        spool.writer.append(msgspec.msgpack.encode(event()))
    spool.reader.claim(ledger)
    spool.abandon()
    assert spool.writer.directory is not None
    return Path(spool.writer.directory)


def ledger_of(path: Path) -> int:
    owner = owner_of(path)
    assert owner is not None
    return owner.ledger


def hello_of(ledger: int) -> Hello:
    return Hello(VERSION, PRODUCER, "shop", "web-1", 7, 1, ledger=ledger)


# --- the number


def test_a_ledger_keeps_its_number_as_long_as_it_keeps_its_key() -> None:
    key, other = b"k" * 32, b"o" * 32

    assert ledger_number(key) == ledger_number(key)
    assert ledger_number(key) != ledger_number(other)
    assert 0 < ledger_number(key) < 2**48
    assert len(ledger_text(ledger_number(key))) == len(ledger_text(1)) == 12


def test_frames_of_an_earlier_meterline_name_no_ledger() -> None:
    hello = msgspec.msgpack.decode(wire.encode_frame(hello_of(OTHER))[4:])
    welcome = msgspec.msgpack.decode(wire.encode_frame(Welcome(5, ledger=OTHER))[4:])
    assert hello[-1] == welcome[-1] == OTHER

    old_hello = wire.decode_from_app(msgspec.msgpack.encode(hello[:-1]))
    old_welcome = wire.decode_from_sidecar(msgspec.msgpack.encode(welcome[:-1]))

    assert old_hello == hello_of(0)
    assert old_welcome == Welcome(5)


# --- the sidecar


async def test_a_spool_that_another_ledger_takes_is_left_alone_and_told_of(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    path = left_by_a_worker(tmp_path / "spool", ledger=OTHER)
    ours = left_by_a_worker(tmp_path / "spool", ledger=sidecar.whose.ledger)
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    drain = Drain(tmp_path / "spool", sidecar.ingest, whose=sidecar.whose)

    assert await drain.run() == 1

    assert not ours.exists()
    assert await ingested(sidecar) == N_EVENTS
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    assert drain.trouble is None
    assert str(path) in (drain.left_alone or "")
    assert "3f9a1c0b7e22" in (drain.left_alone or "")
    assert ledger_text(sidecar.whose.ledger) in (drain.left_alone or "")
    # It holds up no period of this ledger, to which it does not belong.
    assert await drain.waiting(before_ms=2**53) == ()
    assert await drain.waiting_since() == {}


async def test_what_is_told_of_a_spool_ends_with_the_spool(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    path = left_by_a_worker(tmp_path / "spool", ledger=OTHER)
    drain = Drain(tmp_path / "spool", sidecar.ingest, whose=sidecar.whose)
    await drain.run()
    for file in path.iterdir():
        file.unlink()
    path.rmdir()

    await drain.run()

    assert drain.left_alone is None


async def test_a_spool_that_a_worker_found_too_is_told_of_once_and_as_long_as_it_is_there(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    path = left_by_a_worker(tmp_path / "spool", ledger=OTHER)
    drain = Drain(tmp_path / "spool", sidecar.ingest, whose=sidecar.whose)
    with pytest.raises(WireError):
        sidecar.whose.greet(
            msgspec.structs.replace(hello_of(OTHER), producer=path.name)
        )

    await drain.run()
    assert (drain.left_alone or "").count(path.name) == 1
    path.rename(tmp_path / path.name)
    await drain.run()

    assert drain.left_alone is None


async def test_a_person_lets_a_ledger_take_over_from_one_that_is_gone(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    path = left_by_a_worker(tmp_path / "spool", ledger=OTHER)
    whose = Whose(sidecar.whose.ledger, takes_over=[ledger_text(OTHER)])
    drain = Drain(tmp_path / "spool", sidecar.ingest, whose=whose)

    assert await drain.run() == 1

    assert not path.exists()
    assert await ingested(sidecar) == N_EVENTS
    assert drain.left_alone is None


async def test_a_spool_of_an_earlier_meterline_is_taken_in(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    path = left_by_a_worker(tmp_path / "spool")
    assert ledger_of(path) == 0
    drain = Drain(tmp_path / "spool", sidecar.ingest, whose=sidecar.whose)

    assert await drain.run() == 1

    assert await ingested(sidecar) == N_EVENTS


@pytest.mark.parametrize("before", [0, OTHER])
async def test_a_drain_that_is_cut_short_has_noted_its_ledger(
    sidecar: Sidecar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    path = left_by_a_worker(tmp_path / "spool", ledger=before)
    whose = Whose(sidecar.whose.ledger, takes_over=[ledger_text(OTHER)])
    drain = Drain(tmp_path / "spool", sidecar.ingest, whose=whose)

    async def full(_hello: Hello) -> None:
        assert ledger_of(path) == whose.ledger  # before anything is in the ledger
        raise RetryLater("the disk is full", after_s=1)

    monkeypatch.setattr(sidecar.ingest, "hello", full)
    with pytest.raises(RetryLater):
        await drain.run()
    another = Drain(tmp_path / "spool", sidecar.ingest, whose=Whose(OTHER))

    assert await another.run() == 0
    assert str(path) in (another.left_alone or "")


async def test_a_spool_in_which_no_ledger_can_be_noted_is_not_taken_in(
    sidecar: Sidecar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = left_by_a_worker(tmp_path / "spool")
    drain = Drain(tmp_path / "spool", sidecar.ingest, whose=sidecar.whose)

    def read_only(*_given: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", read_only)
        assert await drain.run() == 0

    assert await ingested(sidecar) == 0
    assert str(path) in (drain.trouble or "")
    assert "Read-only file system" in (drain.trouble or "")


async def test_a_spool_whose_file_is_gone_is_taken_in_without_a_note(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    path = left_by_a_worker(tmp_path / "spool", ledger=OTHER)
    (path / FILE_NAME).unlink()
    drain = Drain(tmp_path / "spool", sidecar.ingest, whose=sidecar.whose)

    assert await drain.run() == 1

    assert await ingested(sidecar) == N_EVENTS


async def test_a_worker_that_brings_what_another_ledger_takes_is_refused(
    sidecar: Sidecar,
) -> None:
    async with Connection(sidecar.socket) as app:
        await app.send(hello_of(OTHER))
        refusal = await app.receive()

    assert isinstance(refusal, Refusal)
    assert refusal.code == CODE
    assert "3f9a1c0b7e22" in refusal.message
    assert sidecar.receiver.refusals[CODE] == 1
    (told,) = sidecar.whose.refused()
    assert PRODUCER in told
    assert "shop on web-1" in told
    async with sidecar.database.reading() as tx:
        assert await tx.fetch_all("SELECT id FROM producers") == []


@pytest.mark.parametrize("is_claimed", [False, True])
async def test_who_is_welcomed_hears_which_ledger_it_is(
    sidecar: Sidecar, is_claimed: bool
) -> None:
    async with Connection(sidecar.socket) as app:
        await app.send(hello_of(sidecar.whose.ledger if is_claimed else 0))
        welcome = await app.receive()

    assert isinstance(welcome, Welcome)
    assert welcome.ledger == sidecar.whose.ledger
    assert list(sidecar.whose.refused()) == []


def test_as_many_refused_spools_are_told_of_as_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("meterline_sidecar.ingest.whose.TOLD_MAX", 2)
    whose = Whose(1)

    for i in range(3):
        with pytest.raises(WireError):
            whose.greet(msgspec.structs.replace(hello_of(OTHER), producer=f"{i:032x}"))

    assert [text.split()[1] for text in whose.refused()] == [f"{1:032x}", f"{2:032x}"]


def test_it_is_told_for_a_day_that_a_worker_found_such_a_spool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whose = Whose(1)
    with pytest.raises(WireError):
        whose.greet(hello_of(OTHER))
    assert len(list(whose.refused())) == 1

    monkeypatch.setattr("meterline_sidecar.ingest.whose.TOLD_S", 0.0)

    assert list(whose.refused()) == []


# --- workers


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeSidecar]:
    sidecar = FakeSidecar(tmp_path / "fake.sock", ledger=OTHER)
    sidecar.start()
    yield sidecar
    sidecar.stop()


def worker_of(socket: Path, spool_dir: Path) -> Meter:
    return Meter(socket=socket, spool_dir=spool_dir)


def told_of(spool_dir: Path) -> list[str]:
    return [text for text in tuple(troubles.counts) if str(spool_dir) in text]


def test_a_worker_notes_which_ledger_takes_its_events_before_it_sends_any(
    tmp_path: Path,
) -> None:
    noted: list[int] = []

    def note() -> bool:
        (path,) = (path for path in (tmp_path / "spool").iterdir() if path.is_dir())
        noted.append(ledger_of(path))
        return True

    fake = FakeSidecar(tmp_path / "fake.sock", before_ack=note, ledger=OTHER)
    fake.start()
    meter = worker_of(fake.path, tmp_path / "spool")
    meter.record("n", 1)
    meter.flush(timeout_s=PATIENCE_S)
    meter.close(timeout_s=PATIENCE_S)
    fake.stop()

    assert noted[0] == OTHER


async def test_the_living_follow_their_socket_and_take_their_spool_along(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    # Whoever puts another ledger behind a socket has decided for the workers there.
    spool = Spool.open(
        tmp_path / "spool", app="a", host="h", pid=1, bytes_max=SEGMENT_BYTES_MIN
    )
    spool.writer.append(msgspec.msgpack.encode(event()))
    spool.reader.claim(OTHER)
    spool.maintain(sync_interval_s=None)
    assert spool.writer.directory is not None
    link = Link(sidecar.socket, spool.reader)

    async with asyncio.timeout(PATIENCE_S):
        while spool.reader.counts.acked < 1:
            link.pump(is_awaited=True)
            await asyncio.sleep(0)

    assert ledger_of(Path(spool.writer.directory)) == sidecar.whose.ledger
    link.close()
    spool.abandon()


def test_a_sidecar_that_is_too_old_to_name_its_ledger_changes_no_note(
    tmp_path: Path,
) -> None:
    path = left_by_a_worker(tmp_path, ledger=OTHER)
    dead = DeadSpool.take(path)
    assert dead is not None

    dead.claim(0)
    with pytest.raises(WireError, match=r"3f9a1c0b7e22 .* upgrade it"):
        DeadSource(dead).claim(0)

    assert ledger_of(path) == OTHER
    dead.close()


def test_a_worker_drains_for_its_ledger_and_leaves_what_is_anothers(
    tmp_path: Path, fake: FakeSidecar
) -> None:
    spool_dir = tmp_path / "spool"
    ours = left_by_a_worker(spool_dir, ledger=OTHER)
    old = left_by_a_worker(spool_dir)
    anothers = left_by_a_worker(spool_dir, ledger=1)

    meter = worker_of(fake.path, spool_dir)
    meter.open()
    # Until it has read the refusal: one that closes looks after its own events alone.
    until(lambda: not ours.exists() and not old.exists() and told_of(spool_dir))
    meter.close(timeout_s=PATIENCE_S)

    assert anothers.exists()
    assert ledger_of(anothers) == 1
    assert len(fake.events) == 2 * N_EVENTS
    assert len(fake.refused) == 1
    (reason,) = told_of(spool_dir)
    assert CODE in reason


def test_a_worker_whose_sidecar_is_too_old_leaves_what_is_anothers(
    tmp_path: Path, fake: FakeSidecar
) -> None:
    fake.ledger = 0
    anothers = left_by_a_worker(tmp_path / "spool", ledger=1)
    old = left_by_a_worker(tmp_path / "spool")

    meter = worker_of(fake.path, tmp_path / "spool")
    meter.open()
    until(lambda: not old.exists() and anothers.name in fake.ledgers)
    meter.close(timeout_s=PATIENCE_S)

    assert anothers.exists()
    assert fake.ledgers[anothers.name].last_seq == 0


def test_a_worker_does_not_announce_a_spool_that_it_could_not_note_a_ledger_in(
    tmp_path: Path, fake: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = left_by_a_worker(tmp_path / "spool")
    known, opened = os.open, list[str]()

    def read_only(name: Any, flags: int, *given: Any, **options: Any) -> int:
        if name == FILE_NAME and flags & os.O_RDWR and "dir_fd" in options:
            opened.append(name)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return known(name, flags, *given, **options)

    monkeypatch.setattr(os, "open", read_only)
    meter = worker_of(fake.path, tmp_path / "spool")
    meter.open()
    until(lambda: opened)
    meter.close(timeout_s=PATIENCE_S)

    assert path.exists()
    assert path.name not in fake.ledgers


def test_a_worker_looks_again_for_what_somebody_else_held_when_it_looked(
    tmp_path: Path, fake: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterline.shipper.LOOK_EVERY_S", 0.0)
    path = left_by_a_worker(tmp_path / "spool", ledger=OTHER)
    held = DeadSpool.take(path)
    assert held is not None

    meter = worker_of(fake.path, tmp_path / "spool")
    meter.record("n", 1)
    assert meter.flush(timeout_s=PATIENCE_S)
    assert path.exists()
    held.close()
    until(lambda: not path.exists())
    meter.close(timeout_s=PATIENCE_S)

    assert len(fake.events) == N_EVENTS + 1


def test_a_sidecar_is_told_once_a_connection_of_what_is_anothers(
    tmp_path: Path, fake: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterline.shipper.LOOK_EVERY_S", 0.0)
    left_by_a_worker(tmp_path / "spool", ledger=1)
    meter = worker_of(fake.path, tmp_path / "spool")
    meter.open()
    until(lambda: fake.refused)

    ours = left_by_a_worker(tmp_path / "spool", ledger=OTHER)
    until(lambda: not ours.exists())  # it has looked again
    meter.close(timeout_s=PATIENCE_S)

    assert len(fake.refused) == 1


def test_a_worker_that_is_cut_off_while_it_drains_has_noted_the_ledger(
    tmp_path: Path, fake: FakeSidecar
) -> None:
    path = left_by_a_worker(tmp_path / "spool")
    fake.before_ack = lambda: False

    meter = worker_of(fake.path, tmp_path / "spool")
    meter.open()
    until(lambda: path.name in fake.ledgers and fake.ledgers[path.name].events)
    meter.close(timeout_s=0)

    assert ledger_of(path) == OTHER
