import errno
import fcntl
import os
import socket
import sys
from pathlib import Path

import pytest

from meterline_sidecar import files as sidecar_files
from meterline_sidecar.errors import AlreadyRunning, MeterlineError, PlaceGone
from meterline_sidecar.files import (
    LedgerFiles,
    LedgerLock,
    Place,
    create_file,
    lock_of,
    overwrite,
    put_in_place,
    remove_socket,
    replace_file,
)
from meterline_sidecar.ledger.quarantine import quarantine


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_file_of_a_ledger_has_a_name_of_its_own_beside_the_database() -> None:
    files = LedgerFiles(Path("/var/lib/meterline/meterline.db"))

    everything = [*files.kept, files.lock, files.verified]

    assert len(set(everything)) == len(everything)
    assert {path.parent for path in everything} == {files.database.parent}
    named = {value for value in vars(files).values() if isinstance(value, Path)}
    assert set(everything) == named


def test_a_file_is_replaced_as_a_whole_and_nobody_else_reads_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "head"
    replace_file(path, b"a long old text", durably=False)

    replace_file(path, b"new", durably=True)

    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert names_in(tmp_path) == ["head"]


def test_whoever_dies_before_the_rename_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "head"
    replace_file(path, b"old", durably=True)

    def dies(_: Path, __: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        replace_file(path, b"new", durably=True)

    assert path.read_bytes() == b"old"


def test_a_durable_file_is_on_disk_before_its_name_and_its_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real_fsync(descriptor)

    def replace(scratch: Path, path: Path) -> Path:
        done.append("rename")
        return real_replace(scratch, path)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    scratch = tmp_path / "scratch"
    scratch.write_bytes(b"content")
    put_in_place(scratch, tmp_path / "file", durably=True)

    assert done == ["scratch", "rename", tmp_path.name]


def test_a_file_is_made_once_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key"
    create_file(path, b"first", mode=0o600)

    with pytest.raises(FileExistsError):
        create_file(path, b"second", mode=0o600)

    assert path.read_bytes() == b"first"
    assert names_in(tmp_path) == ["key"]


def test_a_quarantine_holds_every_file_of_the_ledger_but_its_lock(
    tmp_path: Path,
) -> None:
    files = LedgerFiles(tmp_path / "meterline.db")
    for path in (*files.kept, files.lock):
        path.write_text(path.name)

    folder = quarantine(files.database)

    assert names_in(folder) == sorted(path.name for path in files.kept)
    assert all((folder / path.name).read_text() == path.name for path in files.kept)
    assert lock_of(files.database) == files.lock


def test_a_ledger_is_copied_aside_once_until_a_person_has_taken_the_copy_away(
    tmp_path: Path,
) -> None:
    database = tmp_path / "meterline.db"
    database.write_bytes(b"damaged")
    first = quarantine(database)
    database.write_bytes(b"damaged, and changed by a start")

    assert quarantine(database) == first
    assert (first / database.name).read_bytes() == b"damaged"

    first.rename(tmp_path / "looked at")
    assert quarantine(database) != first


def test_a_copy_that_was_not_finished_is_no_copy(tmp_path: Path) -> None:
    database = tmp_path / "meterline.db"
    database.write_bytes(b"damaged")
    unfinished = tmp_path / "meterline.db.corrupt-1-2.part"
    unfinished.mkdir()

    folder = quarantine(database)

    assert (folder / database.name).read_bytes() == b"damaged"
    assert not unfinished.exists()


def test_what_lies_beside_a_ledger_lies_beside_the_file_and_not_beside_a_link(
    tmp_path: Path,
) -> None:
    real = tmp_path / "disk" / "meterline.db"
    real.parent.mkdir()
    link = tmp_path / "link.db"
    link.symlink_to(real)

    assert LedgerFiles(link).kept == LedgerFiles(real).kept
    assert LedgerFiles(link).lock == LedgerFiles(real).lock


def test_a_ledger_is_locked_by_whatever_name(tmp_path: Path) -> None:
    real = tmp_path / "meterline.db"
    links = tmp_path / "links"
    links.mkdir()
    (links / "file.db").symlink_to(real)
    (tmp_path / "folder").symlink_to(tmp_path)
    lock = LedgerLock.take(real)

    for name in (real, links / "file.db", tmp_path / "folder" / "meterline.db"):
        with pytest.raises(AlreadyRunning, match="is in use by"):
            LedgerLock.take(name)

    lock.release()
    LedgerLock.take(links / "file.db").release()


def test_a_ledger_with_two_names_of_its_own_is_refused(tmp_path: Path) -> None:
    real = tmp_path / "meterline.db"
    real.write_bytes(b"")
    (tmp_path / "other.db").hardlink_to(real)

    for path in (real, tmp_path / "other.db"):
        with pytest.raises(MeterlineError, match="hard links"):
            LedgerLock.take(path)


def test_a_ledger_that_is_locked_under_a_name_nobody_sees_is_refused(
    tmp_path: Path,
) -> None:
    if sys.platform != "linux":
        pytest.skip("elsewhere the lock is on the file beside it alone")
    database = tmp_path / "meterline.db"
    database.write_bytes(b"")
    # As a mount of this one file elsewhere: the lock beside it has another place.
    with database.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        with pytest.raises(AlreadyRunning, match="by another name"):
            LedgerLock.take(database)

    LedgerLock.take(database).release()


@pytest.mark.parametrize("change", ["delete", "replace", "recreate", "link"])
def test_a_place_that_leads_elsewhere_is_noticed(tmp_path: Path, change: str) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    other.write_bytes(b"")
    place = Place(path, "the file")
    place.check()  # it need not be there yet
    path.write_bytes(b"")
    place.check()
    place.check()

    with path.open("rb"):  # as whoever uses it: its number is not given again
        if change == "replace":
            other.replace(path)
        else:
            path.unlink()
        if change == "recreate":
            path.write_bytes(b"")
        if change == "link":
            path.symlink_to(other)

        with pytest.raises(
            PlaceGone, match="deleted" if change == "delete" else "repl"
        ):
            place.check()
        assert place.is_lost()


def test_only_a_socket_is_removed_to_make_room_for_one(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    remove_socket(path, key="sidecar.socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    link = tmp_path / "link"
    link.symlink_to(path)
    (tmp_path / "file").write_bytes(b"precious")

    for kept in (link, tmp_path / "file"):
        with pytest.raises(AlreadyRunning, match=r"set sidecar\.socket"):
            remove_socket(kept, key="sidecar.socket")
    remove_socket(path, key="sidecar.socket")

    assert names_in(tmp_path) == ["file", "link"]


@pytest.mark.parametrize("before", [None, b"", b"old", b"as long", b"much longer"])
def test_what_is_written_over_is_whole(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "head"
    if before is not None:
        path.write_bytes(before)

    overwrite(path, b"content")

    assert path.read_bytes() == b"content"
    assert names_in(tmp_path) == ["head"]


@pytest.mark.parametrize("size", [3, 7])
def test_a_file_that_fits_is_written_in_place(tmp_path: Path, size: int) -> None:
    path = tmp_path / "head"
    path.write_bytes(b"x" * size)
    inode = path.stat().st_ino

    overwrite(path, b"content")

    assert path.stat().st_ino == inode


def test_a_link_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "head"
    target.write_bytes(b"theirs")
    path.symlink_to(target)

    overwrite(path, b"content")

    assert (target.read_bytes(), path.read_bytes()) == (b"theirs", b"content")
    assert not path.is_symlink()


def test_an_empty_file_that_there_is_no_room_for_stays_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes, *, durably: bool) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(sidecar_files, "replace_file", full)

    with pytest.raises(OSError, match="no room"):
        overwrite(tmp_path / "head", b"content")

    assert names_in(tmp_path) == []
