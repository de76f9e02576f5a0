"""The directory of all spools, as workers make it who come at once."""

import os
from pathlib import Path

import pytest

from meterline.spool.modes import make_spool_dir


@pytest.mark.parametrize("end", ["", "/"])
def test_those_above_it_are_for_the_group_and_nobody_else(
    tmp_path: Path, end: str
) -> None:
    before = os.umask(0)
    try:
        make_spool_dir(f"{tmp_path}/state/spool{end}")
    finally:
        os.umask(before)

    for made in (tmp_path / "state", tmp_path / "state" / "spool"):
        assert made.stat().st_mode & 0o777 == 0o750


def test_it_is_made_where_the_working_directory_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    make_spool_dir("spool")

    assert (tmp_path / "spool").is_dir()


def test_another_worker_may_be_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_meanwhile(path: str) -> bool:
        Path(path).mkdir(exist_ok=True)
        return False

    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("os.path.exists", made_meanwhile)
        make_spool_dir("spool")

    assert (tmp_path / "spool").is_dir()


def test_what_leads_nowhere_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "spool").symlink_to(tmp_path / "nowhere")

    with pytest.raises(FileExistsError):
        make_spool_dir(tmp_path / "spool")
