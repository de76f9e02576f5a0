"""Databases that are not what this sidecar wrote last."""

import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from meterline.spool.producer_file import DROP_REASONS, SPOOL_FULL
from meterline.spool.scan import FORGOTTEN
from tests.fault.host import Host

PAGE_BYTES = 4096
MISSING = re.compile(r"\d+ batch(es are| is) missing")


def refused(host: Host) -> str:
    """Start the sidecar, which must end by itself; return what it said."""
    host.sidecar.log.write_text("")
    host.sidecar.launch()
    assert host.sidecar.wait() == 1
    said = host.sidecar.log.read_text()
    assert "Traceback" not in said
    return said


def alarm_of(host: Host) -> str:
    problems = host.sidecar.get("/status")["problems"]
    return next((p["text"] for p in problems if p["code"] == "ledger_not_trusted"), "")


def has_recorded(host: Host, n_events: int) -> None:
    """Start the sidecar, let it count some events, and stop it."""
    host.sidecar.start()
    host.worker(events=n_events).wait()
    host.sidecar.until_counted(n_events)
    assert host.sidecar.stop() == 0


def test_a_database_from_the_future_is_refused_and_left_alone(host: Host) -> None:
    has_recorded(host, 10)
    connection = sqlite3.connect(host.sidecar.database)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    before = host.sidecar.database.read_bytes()

    said = refused(host)

    assert "schema 999" in said
    assert "run the newer Meterline" in said
    assert host.sidecar.database.read_bytes() == before


@pytest.mark.parametrize("content", ["another database", "no database"])
def test_a_strangers_file_is_refused_and_left_alone(host: Host, content: str) -> None:
    if content == "another database":
        connection = sqlite3.connect(host.sidecar.database)
        connection.execute("CREATE TABLE customers (name TEXT)")
        connection.close()
    else:
        host.sidecar.database.write_text("my diary\n" * 1000)
    before = host.sidecar.database.read_bytes()

    said = refused(host)

    assert "choose another sidecar.database" in said
    assert host.sidecar.database.read_bytes() == before


def test_an_old_backup_put_back_is_an_alarm_and_what_is_gone_is_counted(
    host: Host, tmp_path: Path
) -> None:
    has_recorded(host, 500)
    backup = tmp_path / "backup.db"
    shutil.copyfile(host.sidecar.database, backup)
    host.sidecar.start()
    # More than a segment of its spool, so that a part of it is gone for good.
    worker = host.worker(per_s=1000, METERLINE_SPOOL_BYTES_MAX="262336")
    worker.until_recorded(2500)
    host.sidecar.until_counted(3000)
    host.sidecar.kill()

    for suffix in ("-wal", "-shm"):
        Path(f"{host.sidecar.database}{suffix}").unlink(missing_ok=True)
    shutil.copyfile(backup, host.sidecar.database)
    host.sidecar.start()

    assert MISSING.search(alarm_of(host))
    found = host.settle(may_lose=(FORGOTTEN, DROP_REASONS[SPOOL_FULL]))
    assert 0 < found.lost["worker1"] < worker.ledger.done


def test_a_deleted_wal_is_an_alarm_until_a_person_has_looked(host: Host) -> None:
    host.sidecar.start()
    worker = host.worker(events=200)
    host.sidecar.until_counted(200)
    host.sidecar.kill()
    worker.kill()
    wal = Path(f"{host.sidecar.database}-wal")
    assert wal.stat().st_size > 0
    wal.unlink()

    host.sidecar.start()
    alarm = alarm_of(host)
    host.sidecar.stop()

    assert MISSING.search(alarm)
    assert host.sidecar.meterline("verify").returncode == 3
    assert host.sidecar.meterline("verify", "--accept").returncode == 0
    host.sidecar.start()
    assert alarm_of(host) == ""


def root_of(database: Path, table: str) -> int:
    """Return where a table's first page begins in the file, in bytes."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
    (page,) = connection.execute(sql, (table,)).fetchone()
    connection.close()
    return (int(page) - 1) * PAGE_BYTES


def damage(database: Path, at: int) -> None:
    """Overwrite one page."""
    with database.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * PAGE_BYTES)


def test_a_deleted_wal_that_left_pages_which_do_not_fit_is_found_at_start(
    host: Host, tmp_path: Path
) -> None:
    # What a checkpoint leaves that readers held up: batches are missing, as after
    # every deleted WAL, and here and there a page is of another time.
    has_recorded(host, 50)
    old = tmp_path / "old.db"
    shutil.copyfile(host.sidecar.database, old)
    has_recorded(host, 50)
    shutil.copyfile(old, host.sidecar.database)
    damage(host.sidecar.database, root_of(old, "stripe_events"))

    said = refused(host)

    assert MISSING.search(said)
    assert "Nothing is billed from a damaged ledger" in said
    assert len(list(host.folder.glob("meterline.db.corrupt-*"))) == 1


def test_a_page_that_breaks_while_the_sidecar_runs_ends_it_and_says_why(
    host: Host,
) -> None:
    has_recorded(host, 50)
    host.sidecar.start()
    damage(host.sidecar.database, root_of(host.sidecar.database, "held_events"))

    with host.sidecar.client() as client:
        answer = client.get("/v1/held")

    assert answer.status_code == 503
    assert "the ledger cannot be read" in answer.json()["detail"]
    assert host.sidecar.wait() == 1
    said = host.sidecar.log.read_text()
    assert "Traceback" not in said
    assert "Nothing is billed from a damaged ledger" in said


def test_a_corrupt_database_is_put_aside_and_nothing_is_billed_from_it(
    host: Host,
) -> None:
    has_recorded(host, 2000)
    damaged = bytearray(host.sidecar.database.read_bytes())
    damaged[PAGE_BYTES:] = b"\xa5" * (len(damaged) - PAGE_BYTES)
    host.sidecar.database.write_bytes(damaged)

    said = refused(host)
    said_again = refused(host)

    (folder,) = host.folder.glob("meterline.db.corrupt-*")
    assert (folder / "meterline.db").read_bytes() == damaged
    assert str(folder) in said
    assert str(folder) in said_again
    assert "Nothing is billed from a damaged ledger" in said
