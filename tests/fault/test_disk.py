"""Disks that are full, that fail, and that may not be written."""

import contextlib
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.host import IS_SOAK, Host
from tests.fault.strace import needs_strace, strace
from tests.sidecar_process import SIDECAR, until

DISK_BYTES = 3 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MiB; the apps' spools are on another one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write a file until there is no room for another byte."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def is_ready(host: Host) -> bool:
    with host.sidecar.client() as client:
        return client.get("/readyz").status_code == 200


def test_a_full_disk_stops_the_acks_and_recovers_by_itself(
    tmp_path: Path, small_disk: Path
) -> None:
    elsewhere = SIDECAR.replace('"meterline.db"', '"disk/meterline.db"')
    with Host(tmp_path, sidecar=elsewhere) as host:
        host.sidecar.database = small_disk / "meterline.db"
        host.sidecar.start()
        worker = host.worker(per_s=2000)
        ballast = small_disk / "ballast"
        fill(ballast)

        until(lambda: not is_ready(host))
        at_full = worker.ledger.done
        worker.until_recorded(at_full + 1000)  # the app goes on
        problems = host.sidecar.get("/status")["problems"]
        worker.stop()
        ballast.unlink()
        until(lambda: is_ready(host))

        assert "events_not_stored" in {problem["code"] for problem in problems}, (
            problems
        )
        host.settle()


def test_a_disk_that_is_full_at_the_start_is_a_clear_refusal(
    tmp_path: Path, small_disk: Path
) -> None:
    elsewhere = SIDECAR.replace('"meterline.db"', '"disk/meterline.db"')
    with Host(tmp_path, sidecar=elsewhere) as host:
        host.sidecar.database = small_disk / "meterline.db"
        ballast = small_disk / "ballast"
        fill(ballast)

        host.sidecar.launch()

        assert host.sidecar.wait() != 0
        said = host.sidecar.log.read_text()
        assert "Traceback" not in said
        assert "No space left on device" in said or "disk is full" in said
        ballast.unlink()
        host.sidecar.start()
        host.worker(events=10).wait()
        host.settle()


@needs_strace
@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
def test_an_io_error_ends_the_process_and_a_clean_reopen_has_everything(
    host: Host, chance: random.Random, call: str
) -> None:
    n = chance.randint(1, 40) + (0 if call == "fdatasync" else 300)
    files = [host.sidecar.database.with_name("meterline.db" + s) for s in ("", "-wal")]
    host.sidecar.prefix = strace(
        host.folder / "strace.log",
        files,
        calls=(call,),
        inject=f"{call}:error=EIO:when={n}+",
    )
    for _ in range(2):
        host.worker(per_s=1000)
    host.sidecar.launch()

    code = host.sidecar.wait()

    assert code == 1, f"{call} number {n}: {host.sidecar.log.read_text()}"
    assert "check the disk" in host.sidecar.log.read_text()
    host.sidecar.prefix = []
    host.sidecar.start()
    host.settle()


@needs_strace
@pytest.mark.skipif(
    os.geteuid() == 0 and not IS_SOAK, reason="root has a small disk to fill"
)
def test_a_disk_that_is_full_for_a_moment_anywhere_loses_nothing(
    host: Host, chance: random.Random
) -> None:
    n = chance.randint(200, 400)
    files = [host.sidecar.database.with_name("meterline.db" + s) for s in ("", "-wal")]
    host.sidecar.prefix = strace(
        host.folder / "strace.log",
        files,
        calls=("pwrite64",),
        inject=f"pwrite64:error=ENOSPC:when={n}..{n + 20}",
    )
    host.sidecar.start()
    worker = host.worker(per_s=1000)
    until(lambda: "No space left" in (host.folder / "strace.log").read_text())
    worker.until_recorded(worker.ledger.done + 500)

    host.settle()
    assert "database or disk is full" in host.sidecar.log.read_text()


def test_a_file_that_may_not_be_written_is_a_clear_refusal_to_start(
    host: Host,
) -> None:
    if not (setpriv := shutil.which("setpriv")):
        pytest.skip("setpriv is not installed (util-linux)")
    host.sidecar.start()
    worker = host.worker(events=100)
    worker.until_recorded(100)
    host.sidecar.stop()
    host.sidecar.database.chmod(0o440)
    # Root may write everything, unless it gives that up.
    host.sidecar.prefix = [setpriv, "--bounding-set=-dac_override"]

    host.sidecar.launch()

    assert host.sidecar.wait() == 1
    assert "check the disk and the file's permissions" in host.sidecar.log.read_text()
    host.sidecar.database.chmod(0o640)
    host.sidecar.prefix = []
    host.sidecar.start()
    host.settle()
