"""What is old leaves the ledger for files, and nothing is lost by that."""

import gzip
import shutil
import sqlite3
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.ledger.archive import NoSuchFile
from meterline_sidecar.ledger.archived import LINES, PARQUET, Form
from meterline_sidecar.ledger.shelf import DirectoryShelf
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge import held
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.sqlite.driver import (
    GIVEN_BACK_PAGES,
    SPARE_PART,
    SqliteDatabase,
)
from tests.integration.conftest import Sidecar
from tests.integration.ledger.archiving import (
    LATER_MS,
    archive_of,
    away,
    fill_for_long,
    rows_of,
    verified_with,
)
from tests.integration.ledger.test_coverage import copy_beside, done_and_unseen
from tests.integration.ledger.test_verify import tamper
from tests.producer import Connection, batch, event

PAGE: Final = 4096
JUNK_PAGES: Final = 1_500
BESIDE_EVENTS: Final = (
    *("archive_moves", "event_hours", "held_events", "producers"),
    "external_events",
)
"""Tables with rows that belong to events which left."""
LOG: Final = ("archive_moves", "journal")
"""What says that something left and came back."""


@pytest.mark.parametrize("form", [LINES, PARQUET], ids=["lines", "parquet"])
async def test_what_left_and_came_back_is_as_it_was(
    sidecar: Sidecar, tmp_path: Path, form: Form
) -> None:
    path, folder = await fill_for_long(sidecar), tmp_path / "archive"
    before = rows_of(path, *LOG)
    archive = archive_of(sidecar, folder, form=form)

    assert await archive.run() == 1
    (file,) = await away(sidecar)
    left = rows_of(path, *LOG)
    with_archive = await verified_with(path, folder)
    alone = await verified_with(path, None)
    back = await archive.bring_back(file.file)

    assert file.file.endswith(form.suffix)
    assert (len(left["batches"]), len(left["events"]), left["losses"]) == (1, 2, [])
    assert with_archive.findings == []
    assert with_archive.events == len(before["events"])
    assert with_archive.archive_files == 1
    assert alone.findings == []
    assert alone.archive_events_unread == file.events
    assert back == file._replace(is_out=0)
    assert rows_of(path, *LOG) == before
    assert (await verified_with(path, None)).archive_events_unread == 0


async def test_numbers_go_on_behind_what_left(sidecar: Sidecar, tmp_path: Path) -> None:
    await fill_for_long(sidecar)
    async with sidecar.database.reading() as tx:
        before = await event_store.marks(tx)
    await archive_of(sidecar, tmp_path / "archive").run()

    async with sidecar.database.reading() as tx:
        after = await event_store.marks(tx)
    async with Connection(sidecar.socket) as app:
        await app.hello("9" * 32)
        await app.ship(batch(event(), b"no event", first_seq=3))

    assert after == before
    async with sidecar.database.reading() as tx:
        now = await event_store.marks(tx)
    assert now[:3] == (before.event_id + 1, before.loss_id + 1, before.batch_id + 1)
    report = await verified_with(sidecar.database.path, tmp_path / "archive")
    assert report.findings == []


async def test_what_came_back_stays_for_a_while(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    await fill_for_long(sidecar)
    archive = archive_of(sidecar, tmp_path / "archive")
    await archive.run()
    await archive.bring_back((await away(sidecar))[0].file)

    at_once = await archive.run()
    by_hand = await archive.step(by_hand=True)
    assert by_hand.moved is not None
    await archive.bring_back(by_hand.moved.file)
    sidecar.clock.time_ms += 8 * DAY_MS
    later = await archive.run()

    assert (at_once, later) == (0, 1)


async def test_a_file_that_nobody_knows_brings_nothing_back(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    await fill_for_long(sidecar)
    archive = archive_of(sidecar, tmp_path / "archive")
    await archive.run()

    with pytest.raises(NoSuchFile, match=r"no file .* `meterline archive list`"):
        await archive.bring_back("events-1.jsonl.gz")
    (file,) = await away(sidecar)
    await archive.bring_back(file.file)
    with pytest.raises(NoSuchFile, match=f"{file.file} holds is in the ledger already"):
        await archive.bring_back(file.file)


async def test_any_changed_byte_of_a_file_is_found_and_brings_nothing_back(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    path, folder = await fill_for_long(sidecar), tmp_path / "archive"
    archive = archive_of(sidecar, folder)
    await archive.run()
    (file,) = folder.iterdir()
    whole, here = file.read_bytes(), rows_of(path)

    for position in range(0, len(whole), len(whole) // 12):
        changed = bytearray(whole)
        changed[position] ^= 1
        file.write_bytes(changed)

        report = await verified_with(path, folder)
        assert any(file.name in text for text in report.findings), position
        with pytest.raises(ArchiveFailed, match="not the file that was written"):
            await archive.bring_back(file.name)
    assert rows_of(path) == here


async def test_a_file_that_was_written_anew_with_other_content_is_found(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    path, folder = await fill_for_long(sidecar), tmp_path / "archive"
    await archive_of(sidecar, folder).run()
    (file,) = folder.iterdir()
    text = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(text.replace(b'"bytes_out":120', b'"bytes_out":1')))

    report = await verified_with(path, folder)

    (told,) = [text for text in report.findings if "not the file that was" in text]
    assert f"whose SHA-256 is {(await away(sidecar))[0].digest}; put it there" in told


@pytest.mark.parametrize("gone", ["file", "directory"])
async def test_a_file_that_is_gone_is_named(
    sidecar: Sidecar, tmp_path: Path, gone: str
) -> None:
    path, folder = await fill_for_long(sidecar), tmp_path / "archive"
    await archive_of(sidecar, folder).run()
    (file,) = folder.iterdir()
    if gone == "file":
        file.unlink()
    else:
        shutil.rmtree(folder)

    report = await verified_with(path, folder)

    assert [file.name in text for text in report.findings] == [True]
    assert "cannot be read: No such file" in report.findings[0]
    is_told = "put it there from a copy, or set archive.url" in report.findings[0]
    assert is_told == (gone == "file")


class BadShelf(DirectoryShelf):
    """A directory on which something goes wrong."""

    def __init__(self, folder: Path, fault: str) -> None:
        super().__init__(folder)
        self.fault = fault

    async def put(self, name: str, content: bytes) -> None:
        """Write less than was asked for, or nothing."""
        if self.fault == "refuses":
            raise ArchiveFailed("no room")
        assert self.fault != "fails later", "what is there is not written again"
        await super().put(name, content[:-9] if self.fault == "cuts" else content)

    async def sync(self, name: str) -> None:
        """Say that the disk failed."""
        if self.fault == "fails later":
            raise ArchiveFailed("the disk failed")
        await super().sync(name)

    async def get(self, name: str) -> bytes:
        """Read something else than was written, or nothing."""
        content = await super().get(name)
        if self.fault == "forgets":
            raise ArchiveFailed("gone")
        return bytes(len(content)) if self.fault == "zeroes" else content


@pytest.mark.parametrize("fault", ["refuses", "cuts", "forgets", "zeroes"])
async def test_what_cannot_be_written_and_read_back_stays(
    sidecar: Sidecar, tmp_path: Path, fault: str
) -> None:
    path, folder = await fill_for_long(sidecar), tmp_path / "archive"
    shelf = BadShelf(folder, fault)
    archive = archive_of(sidecar, folder, shelf=shelf)
    before = rows_of(path)

    assert await archive.run() == 0
    assert archive.trouble is not None
    assert rows_of(path) == before

    shelf.fault = "none"
    assert await archive.run() == 1
    assert archive.trouble is None
    assert (await verified_with(path, folder)).findings == []


async def test_a_file_that_is_there_is_not_written_again_but_half_of_it_is(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    path, folder = await fill_for_long(sidecar), tmp_path / "archive"
    archive = archive_of(sidecar, folder)
    await archive.run()
    (file,) = folder.iterdir()
    # As another version of what compresses would have written it.
    other = gzip.compress(gzip.decompress(file.read_bytes()), 1, mtime=1)
    await archive.bring_back(file.name)

    file.write_bytes(other)
    await archive.step(by_hand=True)
    kept = file.read_bytes()
    report = await verified_with(path, folder)
    await archive.bring_back(file.name)
    file.write_bytes(other[:-20])
    await archive.step(by_hand=True)

    assert kept == other
    assert report.findings == []
    assert file.read_bytes() != other[:-20]
    assert (await verified_with(path, folder)).findings == []


async def test_a_file_that_is_there_is_put_on_disk_before_anything_is_deleted(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    path, folder = await fill_for_long(sidecar), tmp_path / "archive"
    shelf = BadShelf(folder, "none")
    archive = archive_of(sidecar, folder, shelf=shelf)
    await archive.run()
    await archive.bring_back((await away(sidecar))[0].file)
    before = rows_of(path)

    shelf.fault = "fails later"
    with pytest.raises(ArchiveFailed, match="the disk failed"):
        await archive.step(by_hand=True)

    assert rows_of(path) == before


async def test_a_directory_that_is_not_there_is_not_made(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    await fill_for_long(sidecar)
    folder = tmp_path / "archive"
    archive = archive_of(sidecar, folder)
    folder.rmdir()

    await archive.run()

    assert archive.trouble is not None
    assert "cannot be written: No such file" in archive.trouble
    assert not folder.exists()


async def test_a_held_event_without_a_decision_holds_up_what_came_behind_it(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    path = await fill_for_long(sidecar)
    async with sidecar.database.transaction() as tx:
        (row,) = await held.read_held(tx, held.Wanted(), after=0, limit=9)
        await tx.execute("UPDATE held_events SET state = 'waiting'")
    archive = archive_of(sidecar, tmp_path / "archive")

    await archive.run()

    async with sidecar.database.reading() as tx:
        assert 0 < (await begin(tx)).event_id < row.event_id
    assert archive.waits == (
        f"event {row.event_id} is held, and nobody has decided about it:"
        " `meterline held`"
    )
    assert path.exists()


async def test_what_is_not_counted_stays(sidecar: Sidecar, tmp_path: Path) -> None:
    await fill_for_long(sidecar)
    archive = archive_of(sidecar, tmp_path / "archive")
    for sql in (
        "UPDATE generations SET cursor = 3",
        "DELETE FROM corrections",
        "INSERT INTO generations (definition, cursor, is_complete)"
        " SELECT definition, 2, 0 FROM generations",
    ):
        async with sidecar.database.transaction() as tx:
            await tx.execute(sql)
    await archive.run()

    async with sidecar.database.reading() as tx:
        assert (await begin(tx)).event_id == 2
    assert archive.waits == "the recount has not come that far"


async def test_nothing_leaves_while_a_correction_is_not_counted(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    await fill_for_long(sidecar)
    archive = archive_of(sidecar, tmp_path / "archive")
    async with sidecar.database.transaction() as tx:
        await tx.execute("UPDATE generations SET cursor = 3")

    assert await archive.run() == 0
    assert archive.waits == "a correction is not counted yet"


async def test_what_may_not_leave_stays_with_all_behind_it(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    await fill_for_long(sidecar)
    archive = archive_of(
        sidecar,
        tmp_path / "archive",
        judge=lambda subject, time_ms: "not final" if subject == "acct_2" else None,
    )

    await archive.run()

    assert archive.waits == "not final"
    async with sidecar.database.reading() as tx:
        assert (await begin(tx)).batch_id == 1


async def test_the_newest_batch_never_leaves(sidecar: Sidecar, tmp_path: Path) -> None:
    await fill_for_long(sidecar)
    archive = archive_of(
        sidecar, tmp_path / "archive", before=lambda: LATER_MS + 400 * DAY_MS
    )

    await archive.run()

    assert len(rows_of(sidecar.database.path)["batches"]) == 1


async def test_whatever_is_done_to_what_belongs_to_events_that_left_is_found(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    source, folder = await fill_for_long(sidecar), tmp_path / "archive"
    archive = archive_of(sidecar, folder)
    await archive.run()
    await archive.bring_back((await away(sidecar))[0].file)
    await archive.step(by_hand=True)
    whole = tmp_path / "whole.db"
    await sidecar.database.copy_to(whole)
    copy_beside(source, whole)
    assert (await verified_with(whole, folder)).findings == []

    for table in BESIDE_EVENTS:
        _, unseen = await done_and_unseen(
            whole, table, lambda path: verified_with(path, folder)
        )
        # The number of a producer whose batches have all left stands nowhere else.
        assert set(unseen) <= ({"id"} if table == "producers" else set()), table


async def test_free_room_is_given_back_in_steps_but_for_a_spare_part(
    sidecar: Sidecar,
) -> None:
    database = sidecar.database
    await fill_with_junk(database)
    await database.checkpoint()
    full = database.path.stat().st_size
    sizes = [full]

    while await database.give_back():
        await database.checkpoint()
        sizes.append(database.path.stat().st_size)

    steps = [before - after for before, after in pairwise(sizes)]
    assert len(steps) > 2
    # With it may go a page that says where others are.
    assert max(steps) <= (GIVEN_BACK_PAGES + 1) * PAGE
    async with database.reading() as tx:
        free = await tx.fetch_one("PRAGMA freelist_count")
        pages = await tx.fetch_one("PRAGMA page_count")
    assert free is not None
    assert pages is not None
    assert free[0] <= pages[0] // SPARE_PART
    assert await database.check() == []


async def test_a_file_of_an_earlier_version_gives_nothing_back_until_it_is_written_anew(
    tmp_path: Path,
) -> None:
    path = tmp_path / "earlier.db"
    tamper(path, "PRAGMA auto_vacuum = NONE", "CREATE TABLE t (x)", "DROP TABLE t")
    database = await SqliteDatabase.open(path)
    await fill_with_junk(database)
    stays = await database.give_back()
    await database.close()

    connection = sqlite3.connect(path)
    connection.executescript("PRAGMA auto_vacuum = INCREMENTAL; VACUUM")
    connection.close()
    database = await SqliteDatabase.open(path)
    await fill_with_junk(database)
    given = await database.give_back()
    await database.close()

    assert (stays, given) == (False, True)


async def fill_with_junk(database: SqliteDatabase) -> None:
    """Leave 12 MB of free room within the file."""
    async with database.transaction() as tx:
        await tx.execute("CREATE TABLE junk (x BLOB)")
        await tx.execute_many(
            "INSERT INTO junk VALUES (zeroblob(?))", [(PAGE,)] * JUNK_PAGES
        )
    async with database.transaction() as tx:
        await tx.execute("DROP TABLE junk")
