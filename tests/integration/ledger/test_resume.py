import sqlite3
from pathlib import Path

import pytest

from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.ledger import progress_mark
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.progress_mark import ProgressMark
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.ledger.verify import verify
from meterline_sidecar.store.sqlite.driver import SqliteReader
from tests.integration.conftest import Sidecar
from tests.integration.ledger.test_verify import fill, tamper


class Interrupted(Exception):
    """Somebody pressed Ctrl-C."""


async def run(path: Path, *, resumes: bool = True, stop_at: int = 99) -> Report:
    """Verify, and stop once a batch is verified."""
    key = ChainFiles(path).key(has_batches=True)

    def progress(what: str, done: int, total: int) -> None:
        if what == "usage" or done > stop_at:
            raise Interrupted
        del total

    reader = await SqliteReader.open_reader(path)
    try:
        return await verify(
            reader,
            key=key,
            head=ChainFiles(path).head(),
            progress=progress if stop_at < 99 else lambda what, done, total: None,
            mark=ProgressMark(path, key, resumes=resumes),
        )
    finally:
        await reader.close()


@pytest.fixture
async def interrupted(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of four batches, of which two are verified and noted."""
    monkeypatch.setattr(progress_mark, "WRITE_EVERY_S", 0.0)
    await fill(sidecar)
    with pytest.raises(Interrupted):
        await run(sidecar.database.path, stop_at=2)
    return sidecar.database.path


async def test_an_interrupted_verification_goes_on(interrupted: Path) -> None:
    report = await run(interrupted)

    assert report.findings == []
    assert (report.resumed_at_batch, report.batches, report.events) == (2, 4, 5)
    assert not LedgerFiles(interrupted).verified.exists()


async def test_what_changed_behind_the_mark_is_found(interrupted: Path) -> None:
    tamper(interrupted, "UPDATE events SET bytes_out = 9 WHERE id = 5")

    report = await run(interrupted)

    assert report.resumed_at_batch == 2
    assert report.findings[0].startswith("batch 4 ")


async def test_without_being_asked_it_begins_at_the_beginning(
    interrupted: Path,
) -> None:
    tamper(interrupted, "UPDATE events SET bytes_out = 9 WHERE id = 1")

    report = await run(interrupted, resumes=False)

    assert report.resumed_at_batch is None
    assert report.findings[0].startswith("batch 1 ")


@pytest.mark.parametrize("damage", ["other chain", "other key", "damaged", "no file"])
async def test_a_mark_that_does_not_hold_is_none(
    interrupted: Path, damage: str
) -> None:
    mark = LedgerFiles(interrupted).verified
    match damage:
        case "other chain":
            with sqlite3.connect(interrupted) as connection:
                connection.execute("UPDATE batches SET mac = zeroblob(32) WHERE id = 2")
            connection.close()
        case "other key":
            text = mark.read_text()
            mark.write_text(text.replace('"batches":2', '"batches":1'))
            assert mark.read_text() != text
        case "damaged":
            mark.write_bytes(mark.read_bytes()[:20] + b"\xff")
        case _:
            mark.unlink()

    report = await run(interrupted)

    assert report.resumed_at_batch is None


async def test_where_the_mark_cannot_be_written_the_ledger_is_verified_all_the_same(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(sidecar)
    path = sidecar.database.path
    monkeypatch.setattr(progress_mark, "WRITE_EVERY_S", 0.0)
    LedgerFiles(path).verified.with_name("meterline.db.verified.new").mkdir()

    report = await run(path)

    assert report.findings == []
