"""Whether the files of the archive are where they were put, as ``/status`` says it."""

import asyncio
from collections.abc import Collection
from pathlib import Path
from threading import Event
from typing import Final

import pytest

from meterline_sidecar.ledger.archive_watch import ArchiveWatch
from meterline_sidecar.ledger.shelf import DirectoryShelf, open_shelf
from meterline_sidecar.store.edge.archive import NewMove
from meterline_sidecar.store.edge.edge_files import add_file, file_of
from tests.integration.conftest import Sidecar
from tests.integration.ledger.archiving import archive_of, away, fill_days
from tests.integration.ledger.test_shelf import Bucket
from tests.integration.ledger.test_shelf import bucket as bucket  # a fixture
from tests.patience import PATIENCE_S

DAYS: Final = 4


async def archived(sidecar: Sidecar, folder: Path) -> list[NewMove]:
    """Let the events of some days leave; return their files, the oldest first."""
    await fill_days(sidecar, DAYS)
    await archive_of(sidecar, folder).run()
    return await away(sidecar)


async def said(sidecar: Sidecar, folder: Path) -> str | None:
    watch = ArchiveWatch(sidecar.database, DirectoryShelf(folder))
    await watch.look()
    return watch.trouble


class Slow(DirectoryShelf):
    """A place that answers when it is let, and notes how often it was asked."""

    def __init__(self, folder: Path, *, is_empty: bool = False) -> None:
        super().__init__(folder)
        self.asked = 0
        self.may_answer = Event()
        self._is_empty = is_empty

    def sizes(self, names: Collection[str]) -> dict[str, int | None]:
        self.asked += 1
        assert self.may_answer.wait(PATIENCE_S)
        return {} if self._is_empty else super().sizes(names)


async def test_files_that_are_there_are_no_trouble(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    watch = ArchiveWatch(sidecar.database, None)
    await watch.look()
    assert (watch.trouble, watch.n_files) == (None, 0)
    files = await archived(sidecar, folder)
    (folder / "of somebody else").touch()

    assert await said(sidecar, folder) is None
    assert len(files) > DAYS


async def test_a_file_that_is_gone_cut_off_or_no_file_is_named_with_the_place(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    gone, cut, other, *_ = await archived(sidecar, folder)
    (folder / gone.file).unlink()
    (folder / cut.file).write_bytes(b"")
    (folder / other.file).unlink()
    (folder / other.file).mkdir()

    assert await said(sidecar, folder) == (
        f"at {folder}, 1 file with {gone.events} events is missing: {gone.file};"
        f" 1 file with {other.events} events is there, but cannot be read:"
        f" {other.file}; 1 file with {cut.events} events is not of the size that was"
        f" written: {cut.file}"
    )


async def test_a_place_that_is_empty_gone_or_unknown_is_told_with_what_it_should_have(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    files = await archived(sidecar, folder)
    n_events = sum(file.events for file in files)
    all_of_them = f"{len(files)} files with {n_events} events"
    named = f"{', '.join(file.file for file in files[:3])} and others"
    moved = folder.rename(tmp_path / "moved")
    nowhere = ArchiveWatch(sidecar.database, None)

    not_there = await said(sidecar, folder)
    folder.mkdir()
    empty = await said(sidecar, folder)
    no_directory = await said(sidecar, moved / files[0].file)
    await nowhere.look()

    assert not_there == (
        f"{folder}/ cannot be looked at: No such file or directory;"
        f" {all_of_them} should be there: {named}"
    )
    assert empty == f"at {folder}, {all_of_them} are missing: {named}"
    assert no_directory is not None
    assert "cannot be looked at: Not a directory" in no_directory
    assert nowhere.trouble == (
        f"archive.url is not set; {all_of_them} should be there: {named}"
    )
    assert await said(sidecar, moved) is None


async def test_a_bucket_whose_keys_have_expired_is_told(
    sidecar: Sidecar, bucket: Bucket, tmp_path: Path
) -> None:
    shelf = open_shelf("s3://cold/ledger")
    await fill_days(sidecar, DAYS)
    await archive_of(sidecar, tmp_path / "unused", shelf=shelf).run()
    files = await away(sidecar)
    watch = ArchiveWatch(sidecar.database, shelf)

    await watch.look()
    assert (watch.trouble, watch.n_files) == (None, len(files))
    del bucket.files[f"/cold/ledger/{files[1].file}"]
    await watch.look()
    assert watch.trouble is not None
    assert "at s3://cold/ledger, 1 file with " in watch.trouble
    assert watch.trouble.endswith(f"is missing: {files[1].file}")
    bucket.status = 403
    await watch.look()
    assert watch.trouble.startswith("s3://cold/ledger cannot be looked at: ")
    assert f"{len(files)} files with " in watch.trouble


async def test_a_place_that_does_not_answer_is_told_and_asked_once(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    await archived(sidecar, folder)
    shelf = Slow(folder)
    watch = ArchiveWatch(sidecar.database, shelf, answer_s=0.01)

    for _ in range(3):
        await watch.look()
        assert watch.trouble is not None
        assert watch.trouble.startswith(f"{folder} did not answer in ")
    assert shelf.asked == 1
    shelf.may_answer.set()

    async with asyncio.timeout(PATIENCE_S):
        while watch.trouble is not None:
            await asyncio.sleep(0.01)
            await watch.look()
    assert shelf.asked > 1


async def test_all_is_looked_at_again_soon_only_after_trouble(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    file, *_ = await archived(sidecar, folder)
    shelf = Slow(folder)
    shelf.may_answer.set()
    watch = ArchiveWatch(sidecar.database, shelf)

    await watch.run()
    (folder / file.file).rename(tmp_path / "kept")
    await watch.run()
    assert watch.trouble is None
    assert shelf.asked == 1
    await watch.look()
    assert shelf.asked == 2
    (tmp_path / "kept").rename(folder / file.file)
    await watch.run()
    assert watch.trouble is None
    assert shelf.asked == 3


async def test_what_came_back_while_it_was_looked_for_is_not_missed(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    files = await archived(sidecar, folder)
    shelf = Slow(folder, is_empty=True)
    watch = ArchiveWatch(sidecar.database, shelf)

    looking = asyncio.create_task(watch.look())
    async with asyncio.timeout(PATIENCE_S):
        while not shelf.asked:
            await asyncio.sleep(0.01)
    await archive_of(sidecar, folder).bring_back(files[-1].file)
    shelf.may_answer.set()
    await looking

    assert watch.trouble is not None
    assert f"{len(files) - 1} files with " in watch.trouble


@pytest.mark.parametrize("has_place", [True, False])
async def test_files_of_edges_are_looked_for_where_there_is_a_place(
    sidecar: Sidecar, tmp_path: Path, has_place: bool
) -> None:
    (move, *_) = await archived(sidecar, tmp_path / "archive")
    of_edge = file_of(move._replace(file="events-of-an-edge"), edge_id=1, learned_ms=1)
    async with sidecar.database.transaction() as tx:
        await add_file(tx, of_edge)
    shelf = DirectoryShelf(tmp_path / "archive") if has_place else None
    watch = ArchiveWatch(sidecar.database, shelf)

    await watch.look()

    assert watch.trouble is not None
    missed = f"1 file of edges with {move.events} events is missing: events-of-an-edge"
    assert (missed in watch.trouble) is has_place
