"""Another user of the machine, who means harm: what they reach, and what they do not.

What they may not reach: the ledger and every file beside it, any file of root's through a
command that root runs, another worker's number, the events of others, and the HTTP side
without a token of their own or beyond what it may. Whoever may record events can record
false ones of their own, and can delete spools in a directory that they share.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from meterline.spool.dead import spool_directories
from tests.fault.adversary import HUGE_BYTES
from tests.fault.host import ROOT, Host
from tests.fault.test_socket import memory_bytes
from tests.patience import PATIENCE_S
from tests.sidecar_process import SIDECAR, until
from tests.web.live import LiveSidecar

pytestmark = pytest.mark.fault
IS_ROOT: Final = os.geteuid() == 0
"""Else whoever means harm is another process of our own user."""

UID: Final = 54_321  # nobody has it
GID: Final = 54_322
SHARED: Final = SIDECAR + f"allowed_uids = [{UID}]\n"
PRECIOUS: Final = b"nobody else's business"
MEMORY_BYTES_MAX: Final = 64 << 20
FILES: Final = ("meterline.db", *(f"meterline.db.{x}" for x in ("key", "portal-key")))
PATHS: Final = (
    *("/status", "/metrics", "/", "/v1/customers", "/v1/customers/acme/usage"),
    *("/v1/events", "/livez", "/v1/customers/acme/invoice/finalize"),
)


@contextmanager
def acting(what: str, *arguments: str | Path) -> Generator[dict[str, str | None]]:
    """Let somebody act, and go on with it as long as the block lasts."""
    command = [sys.executable, "-m", "tests.fault.adversary", str(UID), str(GID), what]
    with subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()
            assert process.wait(PATIENCE_S) == 0


@pytest.fixture
def reachable() -> Generator[Path]:
    """A folder that another user can go through.

    Not pytest's: it takes the way to those from all others whenever a run begins.
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture
def shared(reachable: Path) -> Generator[Host]:
    """A sidecar whose spool directory and socket the other user may use."""
    with Host(reachable, sidecar=SHARED) as host:
        host.sidecar.start()
        if IS_ROOT:
            os.chown(host.sidecar.spool_dir, 0, GID)
            host.sidecar.spool_dir.chmod(0o2770)
            os.chown(host.sidecar.socket, 0, GID)
        yield host


def contents(folder: Path) -> dict[str, bytes]:
    names = (*FILES[1:], "victim", "meterline.toml")
    return {name: (folder / name).read_bytes() for name in names}


def test_what_a_user_puts_into_the_spools_leads_nobody_elsewhere(shared: Host) -> None:
    sidecar = shared.sidecar
    (shared.folder / "victim").write_bytes(PRECIOUS)
    (shared.folder / "victim").chmod(0o600)
    worker = shared.worker(events=500)
    before, memory_before = contents(shared.folder), memory_bytes(sidecar.pid)
    victims = [shared.folder / name for name in (*FILES, "victim")]

    with acting("poison", sidecar.spool_dir, *victims) as found:
        assert set(found.values()) == ({"PermissionError"} if IS_ROOT else set()), found
    worker.wait()
    sidecar.until_counted(500)
    until(lambda: "spools_not_read" in problems(shared))

    assert contents(shared.folder) == before
    assert memory_bytes(sidecar.pid) - memory_before < MEMORY_BYTES_MAX
    assert sidecar.meterline("doctor").returncode == 3  # by root
    assert contents(shared.folder) == before
    assert max(f.stat().st_size for f in shared.folder.iterdir()) < HUGE_BYTES
    assert sidecar.stop() == 0
    sidecar.start()
    shared.worker(events=100).wait()
    sidecar.until_counted(600)
    log = sidecar.log.read_text()
    assert "Traceback" not in log
    assert not set(log) & {"\x1b", "\x07"}


def problems(host: Host) -> set[str]:
    return {one["code"] for one in host.sidecar.get("/status")["problems"]}


def test_a_user_who_may_send_takes_no_number_of_anothers_worker(shared: Host) -> None:
    worker = shared.worker(per_s=200)
    (folder,) = spool_directories(shared.sidecar.spool_dir)

    with acting("steal", shared.sidecar.socket, Path(folder).name) as answer:
        assert answer == {"hello": "duplicate_producer"}

    worker.stop()
    shared.settle()


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
def test_on_the_loopback_a_user_gets_what_their_token_may_and_stops_nobody(
    tmp_path: Path,
) -> None:
    with LiveSidecar(tmp_path) as sidecar:
        tokens = {scope: created(sidecar, scope) for scope in ("status", "read")}
        port = sidecar.url.rpartition(":")[2]
        with acting("browse", port, tokens["status"], *PATHS) as found:
            open_to_all = {asked for asked, code in found.items() if code == "200"}
            right = httpx.get(
                f"{sidecar.url}/v1/customers",
                headers={"Authorization": f"Bearer {tokens['read']}"},
                timeout=PATIENCE_S,
            )

            assert right.status_code == 200
            assert (
                httpx.get(f"{sidecar.url}/livez", timeout=PATIENCE_S).status_code == 200
            )
        assert open_to_all == {
            *("/livez", "/livez with a token", "/status with a token"),
            "/metrics with a token",
        }
        assert set(found.values()) <= {"200", "401", "403", "429"}
        assert "Traceback" not in sidecar.log.read_text()


def created(sidecar: LiveSidecar, scope: str) -> str:
    done = sidecar.meterline("token", "create", scope, "--scope", scope, "--json")
    answer: dict[str, Any] = json.loads(done.stdout)
    return str(answer["token"])
