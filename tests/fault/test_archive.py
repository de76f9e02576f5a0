"""A sidecar that is killed while events leave for the archive, or come back."""

import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from tests.fault.host import ROOT, rounds
from tests.fault.strace import WRITES, calls_by_kind, needs_strace, strace
from tests.fault.test_kill_points import moments
from tests.integration.conftest import Sidecar
from tests.integration.conftest import sidecar as sidecar  # a fixture
from tests.integration.ledger.archiving import (
    LATER_MS,
    archive_of,
    away,
    fill_days,
    rows_of,
    verified_with,
)
from tests.integration.ledger.test_coverage import copy_beside

DAYS: Final = 25
LOG: Final = ("archive_moves", "journal")


def moving(path: Path, folder: Path, times: int) -> list[str]:
    """Return the command that moves events out and back so often; 0: for ever."""
    command = (sys.executable, "-m", "tests.fault.archiving")
    return [*command, str(path), str(folder), str(LATER_MS), str(times)]


def kill_soon(path: Path, folder: Path, after_s: float) -> None:
    with subprocess.Popen(
        moving(path, folder, 0), cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(after_s)
        assert process.poll() is None
        process.kill()


async def copied(sidecar: Sidecar, path: Path) -> dict[str, list[Any]]:
    """Copy the ledger, and return what is in it."""
    await sidecar.database.copy_to(path)
    copy_beside(sidecar.database.path, path)
    return rows_of(path, *LOG)


async def assert_nothing_is_lost(path: Path, folder: Path, n_events: int) -> None:
    report = await verified_with(path, folder)
    assert report.findings == []
    assert report.events == n_events


async def assert_all_comes_back(
    sidecar: Sidecar, path: Path, folder: Path, before: dict[str, list[Any]]
) -> None:
    """Move out what is old, and all of it back: the ledger is as it was."""
    database = await SqliteDatabase.open(path)
    copy = replace(sidecar, database=database)
    archive = archive_of(copy, folder)
    while (await archive.step(by_hand=True)).moved is not None:
        pass
    files = await away(copy)
    assert files
    for _ in files:
        await archive.bring_back(files[0].file)
    await database.close()
    assert rows_of(path, *LOG) == before


async def test_a_kill_at_any_moment_leaves_every_event_in_the_ledger_or_in_a_file(
    sidecar: Sidecar, tmp_path: Path, chance: random.Random
) -> None:
    await fill_days(sidecar, DAYS)
    path, folder = tmp_path / "copy.db", tmp_path / "archive"
    folder.mkdir()
    before = await copied(sidecar, path)

    for _ in range(rounds(3, soak=400)):
        kill_soon(path, folder, chance.uniform(0, 1.0))
        await assert_nothing_is_lost(path, folder, len(before["events"]))

    await assert_all_comes_back(sidecar, path, folder, before)


@needs_strace
async def test_a_kill_at_any_write_of_a_move_leaves_every_event_in_one_place(
    sidecar: Sidecar, tmp_path: Path, chance: random.Random
) -> None:
    await fill_days(sidecar, 1)
    path, folder, log = tmp_path / "copy.db", tmp_path / "archive", tmp_path / "log"
    before = await copied(sidecar, path)
    folder.mkdir()
    await assert_all_comes_back(sidecar, path, folder, before)
    names = [file.name for file in folder.iterdir()]  # the same ones, every time

    def killed(inject: str = "") -> int:
        """Move out and back once, from the beginning; return the exit code."""
        for old in (*folder.iterdir(), *tmp_path.glob("copy.db-*")):
            old.unlink()
        shutil.copy(whole, path)
        written = [
            folder / f"{name}{suffix}" for name in names for suffix in ("", ".new")
        ]
        files = [path, path.with_name("copy.db-wal"), folder, *written]
        command = [
            *strace(log, files, calls=(*WRITES, "unlink"), inject=inject),
            *moving(path, folder, 1),
        ]
        return subprocess.run(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False
        ).returncode

    whole = tmp_path / "whole"
    shutil.copy(path, whole)
    assert killed() == 0
    calls = calls_by_kind(log)
    assert {"pwrite64", "write", "rename", "fsync", "fdatasync"} <= calls.keys(), calls

    for call, last in sorted(calls.items()):
        for n in moments(last, chance):
            assert killed(f"{call}:signal=SIGKILL:when={n}") == -9, (call, n)
            await assert_nothing_is_lost(path, folder, len(before["events"]))
            await assert_all_comes_back(sidecar, path, folder, before)
