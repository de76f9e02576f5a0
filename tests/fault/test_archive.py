"""A sidecar that is killed while events leave for the archive, or come back."""

import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from tests.fault.host import ROOT, rounds
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


def kill_soon(path: Path, folder: Path, after_s: float) -> None:
    command = (sys.executable, "-m", "tests.fault.archiving")
    arguments = (str(path), str(folder), str(LATER_MS))
    with subprocess.Popen(
        [*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(after_s)
        assert process.poll() is None
        process.kill()


async def test_a_kill_at_any_moment_leaves_every_event_in_the_ledger_or_in_a_file(
    sidecar: Sidecar, tmp_path: Path, chance: random.Random
) -> None:
    source = await fill_days(sidecar, DAYS)
    path, folder = tmp_path / "copy.db", tmp_path / "archive"
    await sidecar.database.copy_to(path)
    copy_beside(source, path)
    folder.mkdir()
    before = rows_of(path, *LOG)

    for _ in range(rounds(3, soak=400)):
        kill_soon(path, folder, chance.uniform(0, 1.0))
        report = await verified_with(path, folder)
        assert report.findings == []
        assert report.events == len(before["events"])

    database = await SqliteDatabase.open(path)
    copy = replace(sidecar, database=database)
    archive = archive_of(copy, folder)
    files = await away(copy)
    for _ in files:
        await archive.bring_back(files[0].file)
    await database.close()
    assert rows_of(path, *LOG) == before
