"""`restore`: what is put back, what is missing since, and that nothing is billed."""

import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.ledger.chain import ledger_number
from tests.integration.ingest.test_whose import left_by_a_worker
from tests.integration.ledger.test_backup_and_doctor import said, ship
from tests.sidecar_process import SidecarProcess, until


def problems(sidecar: SidecarProcess) -> dict[str, str]:
    return {one["code"]: one["text"] for one in said(sidecar, "status")["problems"]}


@pytest.fixture
def sidecar(tmp_path: Path) -> SidecarProcess:
    """Return a stopped sidecar that had 20 events in a backup, and 7 since."""
    sidecar = SidecarProcess(tmp_path)
    with sidecar:
        ship(sidecar, 20)
        said(sidecar, "backup", str(tmp_path / "copy.db"))
        ship(sidecar, 7, first_seq=21)
        assert sidecar.stop() == 0
    return sidecar


def test_a_restore_says_what_is_missing_and_bills_nothing_until_it_is_accepted(
    sidecar: SidecarProcess, tmp_path: Path
) -> None:
    restored = said(sidecar, "restore", str(tmp_path / "copy.db"))

    assert restored["events"] == 20
    missing = restored["missing"]
    assert (missing["batches"], missing["events"]) == (1, 7)
    assert [gap["events"] for gap in missing["workers"]] == [7]
    assert said(sidecar, "verify", code=3)["alarm"] is not None
    with sidecar:
        assert "7 events" in problems(sidecar)["ledger_not_trusted"]
        sidecar.stop()
    said(sidecar, "verify", "--accept")
    with sidecar:
        assert "ledger_not_trusted" not in problems(sidecar)


def test_a_restored_ledger_takes_what_dead_workers_had_begun_to_send_it(
    sidecar: SidecarProcess, tmp_path: Path
) -> None:
    number = ledger_number(LedgerFiles(sidecar.database).key.read_bytes())
    ours = left_by_a_worker(sidecar.spool_dir, ledger=number)
    anothers = left_by_a_worker(sidecar.spool_dir, ledger=number + 1)
    for path in tmp_path.glob("meterline.db*"):
        path.unlink()  # the key as well: that of the backup is put back

    said(sidecar, "restore", str(tmp_path / "copy.db"))

    with sidecar:
        until(lambda: not ours.exists())
        until(lambda: "spools_of_another_ledger" in problems(sidecar))
    assert anothers.exists()


def test_a_restore_puts_the_ledger_that_was_there_aside(
    sidecar: SidecarProcess, tmp_path: Path
) -> None:
    first = said(sidecar, "restore", str(tmp_path / "copy.db"))
    second = said(sidecar, "restore", str(tmp_path / "copy.db"))

    aside = Path(first["put_aside"])
    connection = sqlite3.connect(aside / "meterline.db")
    assert connection.execute("SELECT count(*) FROM events").fetchone() == (27,)
    connection.close()
    assert (aside / "meterline.db.key").exists()
    assert second["put_aside"] not in (None, first["put_aside"])
    assert sidecar.database.exists()


def test_a_backup_that_was_put_back_by_hand_with_its_head_is_an_alarm(
    sidecar: SidecarProcess, tmp_path: Path
) -> None:
    for suffix in ("", ".key", ".head"):
        shutil.copyfile(tmp_path / f"copy.db{suffix}", f"{sidecar.database}{suffix}")

    assert said(sidecar, "verify", code=3)["report"]["findings"]
    with sidecar:
        assert "is missing" in problems(sidecar)["ledger_not_trusted"]


@pytest.mark.parametrize(
    "what",
    [
        *("a lost row", "no ledger", "empty", "a line", "no tables", "half"),
        *("not there", "itself"),
    ],
)
def test_what_is_no_sound_backup_changes_nothing(
    sidecar: SidecarProcess, tmp_path: Path, what: str
) -> None:
    copy = tmp_path / "copy.db"
    if what == "a lost row":
        connection = sqlite3.connect(copy)
        with connection:
            connection.execute("DELETE FROM events WHERE id = 3")
        connection.close()
    elif what == "no ledger":
        copy.write_text("my diary\n" * 1000)
    elif what == "empty":
        copy.write_bytes(b"")
    elif what == "a line":  # SQLite takes what is shorter than its header for empty
        copy.write_text("see the other disk\n")
    elif what == "no tables":
        copy.unlink()
        connection = sqlite3.connect(copy)
        connection.execute("CREATE TABLE t (a)")
        connection.execute("DROP TABLE t")
        connection.close()
    elif what == "half":
        os.truncate(copy, copy.stat().st_size // 2)
    elif what == "not there":
        copy.unlink()
    else:
        copy = sidecar.database
    before = sidecar.database.read_bytes()

    done = sidecar.meterline("restore", str(copy), "--config", str(sidecar.config))

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(copy) in done.stderr
    assert "sidecar.database" not in done.stderr
    assert sidecar.database.read_bytes() == before
    assert not list(tmp_path.glob("*.restoring*"))
    assert not list(tmp_path.glob("*.before-restore*"))


@pytest.mark.parametrize("state", ["gone", "damaged", "head damaged"])
def test_a_restore_over_what_cannot_be_read_says_that_nobody_knows(
    sidecar: SidecarProcess, tmp_path: Path, state: str
) -> None:
    if state == "gone":
        sidecar.database.unlink()
    elif state == "damaged":
        content = bytearray(sidecar.database.read_bytes())
        content[4096:] = b"\xa5" * (len(content) - 4096)
        sidecar.database.write_bytes(content)
    else:
        Path(f"{sidecar.database}.head").write_bytes(b"")

    restored = said(sidecar, "restore", str(tmp_path / "copy.db"))

    assert restored["missing"]["unknown"] is not None
    assert restored["alarm"]
    with sidecar:
        assert "ledger_not_trusted" in problems(sidecar)


def test_nothing_is_restored_under_a_running_sidecar(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path) as sidecar:
        ship(sidecar, 5)
        said(sidecar, "backup", str(tmp_path / "copy.db"))

        done = sidecar.meterline(
            *("restore", str(tmp_path / "copy.db"), "--config", str(sidecar.config))
        )

        assert done.returncode == 1
        assert "in use by process" in done.stderr


def test_a_final_invoice_that_is_gone_is_named(tmp_path: Path) -> None:
    sidecar = SidecarProcess(tmp_path, clock="2026-10-15T12:00:00Z")
    with sidecar:
        ship(sidecar, 3)
        said(sidecar, "backup", str(tmp_path / "copy.db"))
        sidecar.set_clock("2026-11-15T12:00:00Z")

        def is_final() -> bool:
            done = sidecar.meterline(
                *("invoice", "acme", "--period", "2026-10", "--finalize"),
                *("--config", str(sidecar.config), "--json"),
            )
            return done.returncode == 0

        until(is_final)
        assert sidecar.stop() == 0

    restored: Any = json.loads(
        sidecar.meterline(
            *("restore", str(tmp_path / "copy.db"), "--json"),
            *("--config", str(sidecar.config)),
        ).stdout
    )

    assert restored["missing"]["finals"] == ["acme 2026-10"]
    assert "acme 2026-10" in restored["alarm"]
