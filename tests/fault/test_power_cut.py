"""The power goes: what was acked, and every file beside the ledger, was on the disk."""

import asyncio
import os
import random
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import pytest

from meterline import wire
from meterline.spool.dead import DeadSpool, spool_directories
from meterline.spool.living import Spool
from meterline.spool.scan import DAMAGED, Loss
from meterline.wire import Ack, WireError
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.verify import alarm_at_start
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from tests.all_events import ALL_EVENTS, with_packs
from tests.fault.host import IS_SOAK, Host, rounds
from tests.fault.oracle import assert_law, verify_ledger
from tests.fault.power import Call, Disk, put, read_calls, recording
from tests.fault.strace import needs_strace
from tests.patience import PATIENCE_S
from tests.producer import Connection, batch, event
from tests.sidecar_process import MODULE

N_BATCHES: Final = 8
BATCH_EVENTS: Final = 5
N_EVENTS: Final = N_BATCHES * BATCH_EVENTS
SUBJECT: Final = "sent"
SOON: Final = frozenset({"-wal", "-shm", ".lock"})
"""Ends of names of files that are made again, or whose removal does not matter."""


@dataclass
class Sent:
    """What was sent to a sidecar."""

    name: str = SUBJECT
    begun: int = N_EVENTS
    done: int = N_EVENTS


async def send_all(socket: Path) -> int:
    """Send every event that is not there yet; return how many were there."""
    async with Connection(socket) as app:
        known = await app.hello(app=SUBJECT)
        for first in range(known + 1, N_EVENTS + 1, BATCH_EVENTS):
            numbers = range(first, min(first + BATCH_EVENTS, N_EVENTS + 1))
            events = [event(subject=SUBJECT, quantities={"n": n}) for n in numbers]
            await app.ship(batch(*events, first_seq=first))
    return known


@dataclass
class Recorded:
    """What a sidecar did from its first start to its end."""

    folder: Path
    calls: list[Call]

    def cut(self, n_calls: int) -> tuple[Disk, int]:
        """Return the disk after so many calls, and what was acked by then."""
        disk, acked = Disk(self.folder), 0
        for call in self.calls[:n_calls]:
            disk.repeat(call)
            acked = max(acked, acked_by(call))
        return disk, acked


def acked_by(call: Call) -> int:
    """Return the number that a call acked; 0 if it did anything else."""
    if call.name != "sendto":
        return 0
    try:
        message = wire.decode_from_sidecar(call.text[wire.FRAME_HEADER.size :])
    except WireError:
        return 0
    return message.seq if isinstance(message, Ack) else 0


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A new sidecar that takes events in, adds them up, and is stopped."""
    folder = tmp_path_factory.mktemp("recorded")
    log = folder.with_name(f"{folder.name}.strace")
    with Host(folder) as host:
        host.sidecar.prefix = recording(log)
        host.sidecar.start()
        asyncio.run(send_all(host.sidecar.socket))
        host.sidecar.until_counted(N_EVENTS)
        assert host.sidecar.stop() == 0
    calls = read_calls(log)
    changes = [call for call in calls if call.path.startswith(str(folder))]
    assert len(changes) > 200
    return Recorded(folder, [c for c in calls if c in changes or acked_by(c)])


async def open_ledger(database: Path) -> str | None:
    """Open a ledger as a start does; return its alarm."""
    chain = ChainFiles(database)
    opened = await SqliteDatabase.open(database)
    try:
        async with opened.reading() as tx:
            marks = await event_store.marks(tx)
        chain.key(has_batches=marks.batch_id > 0)
        return await alarm_at_start(opened, chain)
    finally:
        await opened.close()


def read_numbers(database: Path) -> list[int]:
    connection = with_packs(sqlite3.connect(f"file:{database}?mode=ro", uri=True))
    try:
        rows = connection.execute(f"SELECT quantities FROM {ALL_EVENTS} ORDER BY id")
        return [msgspec.json.decode(row[0])["n"] for row in rows]
    finally:
        connection.close()


def has_whole_head(database: Path) -> bool:
    """Tell whether the head is whole, or none is there yet.

    It is written without a sync after each commit. If another file's sync takes its
    new name along, a power cut leaves an empty one: an alarm, and no loss.
    """
    head = LedgerFiles(database).head
    if not head.exists():
        return True
    try:
        msgspec.json.decode(head.read_bytes())
    except ValueError:
        return False
    return True


def assert_nothing_acked_is_lost(folder: Path, *, acked: int) -> None:
    database = folder / "meterline.db"
    is_whole = has_whole_head(database)
    alarm = asyncio.run(open_ledger(database))
    assert alarm is None if is_whole else "is damaged" in str(alarm), alarm
    numbers = read_numbers(database)
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= acked, f"{acked} were acked, {len(numbers)} are left"
    if alarm is None and (folder / "meterline.db.key").exists():
        report = verify_ledger(database)
        assert report.is_sound, report.findings


@needs_strace
@pytest.mark.parametrize("is_torn", [False, True])
def test_a_power_cut_at_any_moment_takes_nothing_that_was_acked(
    recorded: Recorded, tmp_path: Path, chance: random.Random, *, is_torn: bool
) -> None:
    moments = range(1, len(recorded.calls) + 1)
    cuts = moments if IS_SOAK else chance.sample(moments, 6)
    for n_calls in (len(recorded.calls), *cuts):
        disk, acked = recorded.cut(n_calls)
        folder = tmp_path / str(n_calls)
        put(disk.survivors(chance if is_torn else None), folder)
        folder.mkdir(exist_ok=True)

        assert_nothing_acked_is_lost(folder, acked=acked)


@needs_strace
def test_after_a_power_cut_the_sidecar_starts_and_goes_on(
    recorded: Recorded, tmp_path: Path, chance: random.Random
) -> None:
    moments = range(1, len(recorded.calls))
    first_acked = next(n for n in moments if acked_by(recorded.calls[n - 1]))
    cuts = [
        chance.randrange(1, first_acked),  # in the first seconds of its life
        *chance.sample(moments[first_acked:], rounds(1, soak=50)),
    ]
    for n_calls in cuts:
        disk, acked = recorded.cut(n_calls)
        folder = tmp_path / str(n_calls)
        put(disk.survivors(), folder)
        folder.mkdir(exist_ok=True)
        allowed = {"usage_unassigned"}
        if not has_whole_head(folder / "meterline.db"):
            allowed.add("ledger_not_trusted")

        with Host(folder) as host:
            host.sidecar.start()
            known = asyncio.run(send_all(host.sidecar.socket))
            host.sidecar.until_counted(N_EVENTS)
            assert known >= acked
            problems = host.sidecar.get("/status")["problems"]
            assert {one["code"] for one in problems} <= allowed
            host.sidecar.stop()
            if len(allowed) == 1:  # else a person must look first
                assert_law(host.sidecar.database, [Sent()])


@needs_strace
def test_what_a_command_or_a_stop_leaves_beside_the_ledger_is_on_the_disk(
    recorded: Recorded, tmp_path: Path
) -> None:
    disk, _ = recorded.cut(len(recorded.calls))
    assert {name for name in disk.at_risk() if not is_made_again(name)} == set()
    there = disk.survivors()
    put(there, tmp_path)
    config = recorded.folder / "meterline.toml"
    (tmp_path / config.name).write_bytes(config.read_bytes())
    database = tmp_path / "meterline.db"
    (tmp_path / "pricing.toml").touch()
    made = after(
        tmp_path,
        there,
        ("token", "create", "ci", "--scope", "read"),
        ("backup", str(tmp_path / "backup.db")),
        ("restore", str(tmp_path / "backup.db")),
    )

    files = LedgerFiles(database)
    backup = LedgerFiles(tmp_path / "backup.db")
    expected = {files.tokens, files.receipt, backup.database, backup.key}
    assert {str(file.relative_to(tmp_path)) for file in expected} <= made.known()
    assert {name for name in made.at_risk() if not is_made_again(name)} == set()


def after(folder: Path, there: dict[Path, bytes], *commands: tuple[str, ...]) -> Disk:
    """Run commands of Meterline in a folder; return what they leave."""
    disk = Disk(folder, there)
    for i, command in enumerate(commands):
        log = folder.with_name(f"{folder.name}.{i}.strace")
        done = subprocess.run(
            [*recording(log), *MODULE, *command],
            env={**os.environ, "METERLINE_CONFIG": str(folder / "meterline.toml")},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        for call in read_calls(log):
            disk.repeat(call)
    return disk


def is_made_again(name: str) -> bool:
    return any(name.endswith(end) for end in SOON) or name.endswith(".sock")


# --- the spool


class Platter:
    """What was forced to the disk of a spool directory, which is itself there.

    A spool is written through memory, so nobody sees its writes: what is on the disk is
    what a file held as somebody forced it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.stat().st_ino
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}

    def force(self, fd: int) -> None:
        """Take what a descriptor leads to, as it is now."""
        inode = os.fstat(fd).st_ino
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            self._contents[inode] = os.pread(fd, os.fstat(fd).st_size, 0)
            return
        with os.scandir(fd) as entries:
            self._names[inode] = {entry.name: entry.inode() for entry in entries}

    def put(self, folder: Path) -> None:
        """Write what survived into a folder."""
        for name, inode in self._names.get(self._root, {}).items():
            (folder / name).mkdir(parents=True)
            for file, content in self._names.get(inode, {}).items():
                (folder / name / file).write_bytes(self._contents.get(content, b""))


@pytest.fixture
def platter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platter:
    (tmp_path / "spool").mkdir()
    platter = Platter(tmp_path / "spool")
    monkeypatch.setattr(os, "fsync", platter.force)
    monkeypatch.setattr(os, "fdatasync", platter.force)
    return platter


def left_in(spool_dir: Path) -> Iterator[tuple[list[int], int]]:
    """Yield for each spool the numbers that can be read, and how many are lost."""
    for path in spool_directories(spool_dir):
        spool = DeadSpool.take(path)
        assert spool is not None
        numbers: list[int] = []
        lost = 0
        for part in spool.parts(after_seq=0):
            if isinstance(part, Loss):
                assert part.reason == DAMAGED
                lost += part.last_seq - part.first_seq + 1
            else:
                records = wire.split_records(part.read())
                numbers += [int.from_bytes(payload[:4]) for _, _, payload in records]
                assert numbers[-1] == part.last_seq
        spool.close()
        yield numbers, lost


def test_a_power_cut_leaves_of_a_spool_whatever_was_forced_in_time(
    tmp_path: Path, platter: Platter, chance: random.Random
) -> None:
    spool = Spool.open(
        tmp_path / "spool", app="tests", host="localhost", pid=1, bytes_max=64 << 20
    )
    recorded = forced = 0
    for i in range(rounds(12, soak=200)):
        # A burst fills several segments between two looks of the shipping thread: at
        # least the second round is one that is forced.
        is_burst = i == 1
        n_events = 40_000 if is_burst else chance.choice([1, 10, 1_000, 12_000])
        for _ in range(n_events):
            recorded += 1
            spool.writer.append(recorded.to_bytes(4) + bytes(chance.randrange(60)))
        if is_forced := is_burst or chance.random() < 0.7:
            forced = recorded
        spool.maintain(sync_interval_s=0 if is_forced else None)
        left = tmp_path / f"left{i}"
        platter.put(left)

        found = list(left_in(left))

        if forced:
            ((numbers, lost),) = found
            assert numbers[:forced] == list(range(1, forced + 1))
            assert numbers[forced:] == sorted(set(numbers[forced:]))
            assert len(numbers) + lost <= recorded
        else:
            assert found == []
    spool.abandon()
