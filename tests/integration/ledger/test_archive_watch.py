"""Whether the files of the archive are where they were put, as ``/status`` says it."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from threading import Event
from typing import Final

import pytest

from meterline_sidecar.ledger.archive_watch import ANSWER_S, ArchiveWatch
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.shelf import (
    DirectoryShelf,
    OwnShelf,
    Shelf,
    Sizes,
    Unreadable,
)
from meterline_sidecar.ledger.shelves import open_shelf
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
    watch = watch_of(sidecar, DirectoryShelf(folder))
    await watch.look()
    return watch.trouble


def watch_of(
    sidecar: Sidecar,
    shelf: OwnShelf | None,
    *,
    of_edges: Shelf | None = None,
    answer_s: float = ANSWER_S,
) -> ArchiveWatch:
    archived = Archived(shelf, b"", of_edges=of_edges)
    return ArchiveWatch(sidecar.database, archived, answer_s=answer_s)


class Slow(DirectoryShelf):
    """A place that answers when it is let, and notes how often it was asked."""

    def __init__(self, folder: Path, *, is_empty: bool = False) -> None:
        super().__init__(folder)
        self.asked = 0
        self.may_answer = Event()
        self._is_empty = is_empty

    def sizes(self, names: Iterable[str]) -> Sizes:
        self.asked += 1
        assert self.may_answer.wait(PATIENCE_S)
        if self._is_empty:
            return dict.fromkeys(names, Unreadable.GONE)
        return super().sizes(names)


async def test_files_that_are_there_are_no_trouble(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    watch = watch_of(sidecar, None)
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
    nowhere = watch_of(sidecar, None)

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
    watch = watch_of(sidecar, shelf)

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
    watch = watch_of(sidecar, shelf, answer_s=0.01)

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
    watch = watch_of(sidecar, shelf)

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
    watch = watch_of(sidecar, shelf)

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
    events = await noted_of_an_edge(sidecar, tmp_path / "archive")
    shelf = DirectoryShelf(tmp_path / "archive") if has_place else None
    watch = watch_of(sidecar, shelf, of_edges=shelf)

    await watch.look()

    assert watch.trouble is not None
    missed = f"1 file of edges with {events} events is missing: events-of-an-edge"
    assert (missed in watch.trouble) is has_place


async def noted_of_an_edge(sidecar: Sidecar, folder: Path) -> int:
    """Let events leave, and note a file of an edge; return how many are in it."""
    move, *_ = await archived(sidecar, folder)
    of_edge = file_of(move._replace(file="events-of-an-edge"), edge_id=1, learned_ms=1)
    async with sidecar.database.transaction() as tx:
        await add_file(tx, of_edge)
    return move.events


async def test_files_of_edges_are_looked_for_at_their_own_places_alone(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    own, theirs = tmp_path / "archive", tmp_path / "edges"
    theirs.mkdir()
    events = await noted_of_an_edge(sidecar, own)
    first, *_ = await away(sidecar)
    beside = watch_of(sidecar, DirectoryShelf(own), of_edges=DirectoryShelf(theirs))
    nowhere = watch_of(sidecar, DirectoryShelf(own))

    for watch in (beside, nowhere):
        await watch.look()
    assert nowhere.trouble is None
    assert nowhere.where == str(own)
    assert beside.trouble == (
        f"at {theirs}, 1 file of edges with {events} events is missing:"
        " events-of-an-edge"
    )
    (own / first.file).rename(theirs / "events-of-an-edge")
    await beside.look()
    assert beside.trouble == (
        f"at {own}, 1 file with {events} events is missing: {first.file}"
    )
    assert beside.n_files == nowhere.n_files + 1
    assert beside.where == f"{own} and {theirs}"


class Hurried(DirectoryShelf):
    """A place that is asked for two files at once."""

    def sizes(self, names: Iterable[str]) -> Sizes:
        return super().sizes(sorted(names)[:2])


async def test_a_place_that_is_asked_only_so_often_is_looked_at_bit_by_bit(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    names = sorted(file.file for file in await archived(sidecar, folder))
    assert len(names) == 5
    watch = watch_of(sidecar, Hurried(folder))
    (folder / names[2]).unlink()

    seen: list[tuple[bool, int]] = []
    for _ in range(5):
        await watch.look()
        told = watch.trouble is not None and watch.trouble.endswith(names[2])
        seen.append((told, watch.n_left))

    # What is missing is looked for again with what is next, and told all the time.
    assert seen == [(False, 3), (True, 1), (True, 0), (True, 3), (True, 1)]
    (folder / names[2]).touch()
    await watch.look()
    assert watch.trouble is not None
    assert "not of the size" in watch.trouble
    watch_again = watch_of(sidecar, Hurried(folder))
    for _ in range(3):
        await watch_again.look()
    assert (watch_again.trouble, watch_again.n_left) == (watch.trouble, 0)
