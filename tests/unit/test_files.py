import os
from pathlib import Path

import pytest

from meterline_sidecar.files import (
    LedgerFiles,
    create_file,
    lock_of,
    put_in_place,
    replace_file,
)
from meterline_sidecar.ledger.quarantine import quarantine


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_file_of_a_ledger_has_a_name_of_its_own_beside_the_database() -> None:
    files = LedgerFiles(Path("/var/lib/meterline/meterline.db"))

    everything = [*files.kept, files.lock]

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
