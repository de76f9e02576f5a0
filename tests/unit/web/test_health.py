"""The disk and the backups are judged alike by the sidecar and by doctor."""

import os
from pathlib import Path

import pytest

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.ledger.backup import Receipt
from meterline_sidecar.web.health import (
    DISK_FREE_FULL,
    DISK_FREE_LOW,
    backup_problems,
    disk_problems,
)

NOW_MS = 1_793_966_400_000


@pytest.mark.parametrize(
    ("free_bytes", "codes"),
    [
        (DISK_FREE_LOW, []),
        (DISK_FREE_LOW - 1, ["disk_low"]),
        (DISK_FREE_FULL, ["disk_low"]),
        (DISK_FREE_FULL - 1, ["disk_full"]),
    ],
)
def test_a_disk_is_low_and_then_full(free_bytes: int, codes: list[str]) -> None:
    assert [one.code for one in disk_problems(free_bytes, at="/data")] == codes


@pytest.mark.parametrize(
    ("age_ms", "is_old"), [(2 * DAY_MS, False), (3 * DAY_MS, True)]
)
def test_backups_that_stopped_are_told_of(
    tmp_path: Path, age_ms: int, is_old: bool
) -> None:
    receipt = Receipt(finished_ms=NOW_MS - age_ms, file="copy", batches=1, events=5)

    told = list(backup_problems(tmp_path / "m.db", receipt, now_ms=NOW_MS))

    assert [one.text for one in told] == (
        ["the last backup, copy, is 3 d old"] if is_old else []
    )


@pytest.mark.parametrize(("age_ms", "is_told"), [(DAY_MS, False), (3 * DAY_MS, True)])
def test_a_young_ledger_needs_no_backup_yet(
    tmp_path: Path, age_ms: int, is_told: bool
) -> None:
    database = tmp_path / "m.db"
    key = LedgerFiles(database).key
    key.touch()
    made_s = (NOW_MS - age_ms) / 1000
    os.utime(key, (made_s, made_s))

    told = list(backup_problems(database, None, now_ms=NOW_MS))

    assert [one.code for one in told] == (["backup_missing"] if is_told else [])
    assert not any(one.needs_person for one in told)


def test_where_there_is_no_ledger_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    assert list(backup_problems(tmp_path / "m.db", None, now_ms=NOW_MS)) == []
