"""App and sidecar as two users of one group: a spool is theirs, or its owner's alone."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from meterline import Meter
from tests.integration.ledger.test_backup_and_doctor import said
from tests.patience import PATIENCE_S
from tests.sidecar_process import SIDECAR, SidecarProcess

SHARED = SIDECAR + "allowed_uids = [65_534]\n"


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Let the umask be what most systems have."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize(("spool_mode", "shared"), [(0o2770, 0o060), (0o750, 0o040)])
def test_a_spool_is_shared_as_its_directory_says_whatever_the_umask(
    tmp_path: Path, spool_mode: int, shared: int
) -> None:
    spool_dir = tmp_path / "spool"
    spool_dir.mkdir()
    spool_dir.chmod(spool_mode)
    meter = Meter(socket=tmp_path / "nobody.sock", spool_dir=spool_dir)
    meter.record("n", 1)

    (folder,) = spool_dir.iterdir()
    files = list(folder.iterdir())

    assert folder.stat().st_mode & 0o077 == shared | 0o010
    assert len(files) >= 2
    assert {file.stat().st_mode & 0o077 for file in files} == {shared}
    meter.close(timeout_s=0)


def test_what_an_app_makes_first_is_open_to_nobody_else(tmp_path: Path) -> None:
    spool_dir = tmp_path / "state" / "spool"
    with Meter(socket=tmp_path / "nobody.sock", spool_dir=spool_dir) as meter:
        meter.record("n", 1)

        made = [spool_dir.parent, spool_dir, *spool_dir.iterdir()]

        assert {folder.stat().st_mode & 0o777 for folder in made} <= {0o700, 0o750}


def test_a_sidecar_for_other_users_makes_a_spool_for_its_group(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path, sidecar=SHARED) as sidecar:
        assert sidecar.spool_dir.stat().st_mode & 0o7777 == 0o2770
        assert "spools" in {
            check["name"]
            for check in said(sidecar, "doctor")
            if check["verdict"] == "ok"
        }

        sidecar.spool_dir.chmod(0o750)
        (warning,) = (
            check
            for check in said(sidecar, "doctor", code=3)
            if check["name"] == "spools" and check["verdict"] == "warning"
        )
        assert warning["advice"] == f"chmod 2770 {sidecar.spool_dir}"


def test_a_spool_that_an_app_of_its_own_user_made_first_is_for_its_group_as_well(
    tmp_path: Path,
) -> None:
    sidecar = SidecarProcess(tmp_path, sidecar=SHARED)
    with Meter(socket=sidecar.socket, spool_dir=sidecar.spool_dir) as meter:
        meter.record("n", 1)
        assert sidecar.spool_dir.stat().st_mode & 0o7777 == 0o750
        with sidecar:
            assert sidecar.spool_dir.stat().st_mode & 0o7777 == 0o2770
            meter.close(timeout_s=PATIENCE_S)
            sidecar.until_counted(1)
