"""`verify`, `backup` and `doctor` on a real sidecar, and what an alarm does."""

import asyncio
import json
import shutil
import sqlite3
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from meterline_sidecar.store.sqlite.driver import SqliteReader
from tests.patience import PATIENCE_S
from tests.producer import Connection, batch, event
from tests.sidecar_process import SidecarProcess


def ship(sidecar: SidecarProcess, n_events: int, *, first_seq: int = 1) -> None:
    async def connect() -> None:
        async with Connection(sidecar.socket) as app:
            await app.hello()
            events = [event() for _ in range(n_events)]
            await app.ship(batch(*events, first_seq=first_seq))

    asyncio.run(connect())


def said(sidecar: SidecarProcess, *arguments: str, code: int = 0) -> Any:
    """Run a command with ``--json`` and return what it printed."""
    done = sidecar.meterline(*arguments, "--config", str(sidecar.config), "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_verify_works_beside_a_running_sidecar(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path) as sidecar:
        ship(sidecar, 50)

        report = said(sidecar, "verify")

    assert report["sound"]
    assert report["report"]["events"] == 50


def test_verify_exits_with_3_and_names_the_batch(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path) as sidecar:
        ship(sidecar, 5)
    connection = sqlite3.connect(sidecar.database)
    with connection:
        connection.execute("UPDATE events SET bytes_out = 1")
    connection.close()

    report = said(sidecar, "verify", code=3)

    assert "batch 1 (producer 0000" in report["report"]["findings"][0]


def test_a_backup_made_under_way_is_verified_and_can_be_restored(
    tmp_path: Path,
) -> None:
    copy = tmp_path / "copy.db"
    with SidecarProcess(tmp_path) as sidecar:
        ship(sidecar, 20)
        assert said(sidecar, "backups")["backups"] == []
        assert said(sidecar, "backup", str(copy))["events"] == 20
        (noted,) = said(sidecar, "backups")["backups"]
        assert (noted["file"], noted["is_here"]) == (str(copy), True)
        assert noted["digest"] == sha256(copy.read_bytes()).hexdigest()
        assert noted["file_bytes"] == copy.stat().st_size
        ship(sidecar, 30, first_seq=21)
    assert copy.stat().st_mode & 0o777 == 0o600

    for suffix in ("-wal", "-shm"):
        Path(f"{sidecar.database}{suffix}").unlink()
    for suffix in ("", ".key", ".head"):
        shutil.copy(f"{copy}{suffix}", f"{sidecar.database}{suffix}")
    with SidecarProcess(tmp_path) as sidecar:
        assert said(sidecar, "verify")["sound"]
        assert sidecar.get("/status")["problems"] == []
        # The app is asked for what the copy does not hold.
        assert asyncio.run(last_seq(sidecar)) == 20


async def last_seq(sidecar: SidecarProcess) -> int:
    async with Connection(sidecar.socket) as app:
        return await app.hello()


async def test_a_copy_that_is_given_up_ends_before_it_is_cleared_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SidecarProcess(tmp_path) as sidecar:
        sidecar.stop()
    copy = tmp_path / "copy.db"
    has_begun, may_go_on = threading.Event(), threading.Event()
    connect = sqlite3.connect

    def slow(place: str, **options: Any) -> Any:
        if place == str(copy):
            has_begun.set()
            assert may_go_on.wait(PATIENCE_S)
        return connect(place, **options)

    monkeypatch.setattr(sqlite3, "connect", slow)
    ledger = await SqliteReader.open_reader(sidecar.database)
    copying = asyncio.create_task(ledger.copy_to(copy))
    await asyncio.to_thread(has_begun.wait, PATIENCE_S)
    copying.cancel()
    for _ in range(10):  # as long as it takes where nothing is waited for
        await asyncio.sleep(0)
    was_left = copying.done()
    may_go_on.set()
    await asyncio.wait([copying])
    # The same reader makes the next one.
    await ledger.copy_to(tmp_path / "another.db")
    await ledger.close()

    assert not was_left
    assert copying.cancelled()


def test_a_backup_never_overwrites(tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_text("precious")
    with SidecarProcess(tmp_path) as sidecar:
        done = sidecar.meterline("backup", str(copy), "--config", str(sidecar.config))

    assert done.returncode == 1
    assert "exists already" in done.stderr
    assert copy.read_text() == "precious"


def test_a_backup_is_no_link_into_the_void(tmp_path: Path) -> None:
    link = tmp_path / "copy.db"
    link.symlink_to(tmp_path / "unmounted" / "copy.db")
    (tmp_path / "unmounted").mkdir()
    with SidecarProcess(tmp_path) as sidecar:
        done = sidecar.meterline("backup", str(link), "--config", str(sidecar.config))

    assert done.returncode == 1
    assert f"{link} exists already" in done.stderr
    assert link.is_symlink()
    assert not list((tmp_path / "unmounted").iterdir())


def test_an_old_copy_put_back_raises_an_alarm_that_a_person_ends(
    tmp_path: Path,
) -> None:
    old = tmp_path / "old.db"
    with SidecarProcess(tmp_path) as sidecar:
        ship(sidecar, 5)
        said(sidecar, "backup", str(old))
        ship(sidecar, 5, first_seq=6)
        assert sidecar.stop() == 0
    shutil.copy(old, sidecar.database)  # and not its head: nobody shall notice

    with SidecarProcess(tmp_path) as sidecar:
        (problem,) = sidecar.get("/status")["problems"]
        assert "1 batch is missing" in problem["text"]
        said(sidecar, "verify", code=3)
        running = sidecar.meterline(
            "verify", "--accept", "--config", str(sidecar.config)
        )
        assert "is in use by process" in running.stderr
        sidecar.stop()

    assert said(sidecar, "verify", "--accept")["alarm"] is not None
    with SidecarProcess(tmp_path) as sidecar:
        assert sidecar.get("/status")["problems"] == []


def test_a_wal_that_was_deleted_is_noticed(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path) as sidecar:
        # The first checkpoint is made before it is ready: this lies in the WAL alone.
        ship(sidecar, 5)
        sidecar.kill()
    wal = Path(f"{sidecar.database}-wal")
    assert wal.stat().st_size > 0
    wal.unlink()

    with SidecarProcess(tmp_path) as sidecar:
        problems = sidecar.get("/status")["problems"]

    assert any("missing" in problem["text"] for problem in problems), problems


def test_doctor_finds_the_sidecar_and_its_files_in_order(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path) as sidecar:
        ship(sidecar, 1)
        checks = {check["name"]: check for check in said(sidecar, "doctor")}

        assert checks["sidecar"]["verdict"] == "ok"
        assert checks["socket"]["verdict"] == "ok"
        assert checks["chain key"]["verdict"] == "ok"
        assert checks["SQLite"]["verdict"] == "ok"
        # That there is no backup yet is no fault of a ledger that is minutes old.
        assert checks["backup"]["verdict"] == "info"

        sidecar.database.chmod(0o666)
        checks = {check["name"]: check for check in said(sidecar, "doctor", code=3)}
        assert checks["database"]["verdict"] == "warning"
        assert checks["database"]["advice"].startswith("chmod 0640 ")


def test_doctor_exits_with_3_when_nobody_answers(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path) as sidecar:
        pass

    checks = said(sidecar, "doctor", code=3)

    assert checks[0]["verdict"] == "error"
    assert "no sidecar answers" in checks[0]["detail"]


def test_doctor_exits_with_0_only_when_nothing_needs_a_person(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path) as sidecar:
        ship(sidecar, 1)
        said(sidecar, "backup", str(tmp_path / "copy.db"))

        checks = said(sidecar, "doctor")

    assert [c["name"] for c in checks if c["verdict"] != "ok" and c["advice"]] == []


def test_a_ledger_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path) as sidecar:
        ship(sidecar, 1)
    sidecar.database.rename(tmp_path / "elsewhere")
    sidecar.database.mkdir()  # not even root reads that as a file

    done = sidecar.meterline("backup", str(tmp_path / "copy.db"))

    assert done.returncode == 1
    assert done.stderr == (
        f"meterline: {sidecar.database}: Is a directory; run this as the user that the"
        " sidecar runs as\n"
    )
