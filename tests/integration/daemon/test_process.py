"""The daemon as a process: how it starts, stops, and keeps others out."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.producer import Connection, batch, event
from tests.sidecar_process import SidecarProcess


async def test_sigterm_stores_what_was_acked_and_exits_0(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path, clock="2026-11-06T12:00:00Z") as sidecar:
        async with Connection(sidecar.socket) as app:
            await app.hello()
            await app.send(batch(event(), event()))
            await app.receive()

        code = sidecar.stop()

        sidecar.start()
        assert code == 0
        assert sidecar.get("/status")["events"]["ingested"] == 2


def answered(sidecar: SidecarProcess, target: str, host: str) -> list[str]:
    """Return the first line of an answer, and the last: its body."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(sidecar.http))
        head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        with connection.makefile("r", newline="\r\n") as file:
            first, *_, last = file.read().split("\r\n")
    return [first, last]


def test_a_whole_address_is_answered_as_its_path_if_the_host_is_known(
    tmp_path: Path,
) -> None:
    with SidecarProcess(tmp_path, clock="2026-11-06T12:00:00Z") as sidecar:
        path = "/v1/usage?customer=acme"
        plain = answered(sidecar, path, "localhost")
        whole = answered(sidecar, f"http://localhost:8270{path}", "localhost")
        other = answered(sidecar, f"HTTPS://127.0.0.1{path}", "evil.example")
        bare = answered(sidecar, "http://localhost?full=true", "localhost")
        foreign = answered(sidecar, f"http://evil.example{path}", "localhost")
        no_web = answered(sidecar, f"ftp://localhost{path}", "localhost")

    for first, body in (plain, whole, other):  # each as it was counted by then
        assert first.split()[1] == "200"
        assert json.loads(body)["usage"] == json.loads(plain[1])["usage"]
    assert bare[0].split()[1] == "200"
    assert foreign[0].split()[1] == "421"
    assert no_web[0].split()[1] == "404"


def test_a_second_sidecar_names_the_process_that_holds_the_database(
    tmp_path: Path,
) -> None:
    with SidecarProcess(tmp_path) as sidecar:
        second = subprocess.run(
            sidecar.command,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

        assert second.returncode == 1
        assert f"process {sidecar.pid}" in second.stderr
        assert str(sidecar.database) in second.stderr


def test_a_second_sidecar_names_the_process_that_holds_the_socket(
    tmp_path: Path,
) -> None:
    with SidecarProcess(tmp_path) as sidecar:
        second = subprocess.run(
            sidecar.command,
            env={
                **sidecar.environment,
                "METERLINE_DATABASE": str(tmp_path / "another.db"),
                "METERLINE_SPOOL_DIR": str(tmp_path / "another-spool"),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

        assert second.returncode == 1
        assert f"process {sidecar.pid}" in second.stderr
        assert str(sidecar.socket) in second.stderr


def test_a_second_sidecar_names_the_process_that_holds_the_spools(
    tmp_path: Path,
) -> None:
    link = tmp_path / "by-another-name"
    with SidecarProcess(tmp_path) as sidecar:
        link.symlink_to(sidecar.spool_dir)
        second = subprocess.run(
            sidecar.command,
            env={
                **sidecar.environment,
                "METERLINE_DATABASE": str(tmp_path / "another.db"),
                "METERLINE_SOCKET": str(tmp_path / "another.sock"),
                "METERLINE_SPOOL_DIR": str(link),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

        assert second.returncode == 1
        assert f"process {sidecar.pid}" in second.stderr
        assert f"the spool directory {link} is in use" in second.stderr
        assert "METERLINE_SPOOL_DIR" in second.stderr


@pytest.mark.parametrize("key", ["database", "socket"])
@pytest.mark.parametrize("place", ["/proc/nothing/file", "/proc/file"])
def test_a_place_that_can_not_be_written_to_is_told(
    tmp_path: Path, key: str, place: str
) -> None:
    sidecar = SidecarProcess(tmp_path)

    done = subprocess.run(
        sidecar.command,
        env={**sidecar.environment, f"METERLINE_{key.upper()}": place},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "/proc" in done.stderr
    assert "this user" in done.stderr


def test_a_state_directory_that_the_file_stands_above_is_told(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    both = {"METERLINE_STATE_DIR": str(elsewhere)}
    place = {**both, "METERLINE_SOCKET": str(tmp_path / "meterline.sock")}
    told: list[list[str]] = []
    for environment in (both, place, {}):
        with SidecarProcess(tmp_path, environment=environment) as sidecar:
            log = sidecar.log.read_text().splitlines()
        sidecar.log.unlink()
        told.append([line for line in log if "METERLINE_STATE_DIR is set" in line])

    assert [len(lines) for lines in told] == [2, 1, 0]
    assert f"look at {elsewhere / 'meterline.sock'};" in told[0][0]
    assert f"look at {elsewhere / 'spool'};" in told[1][0]


def test_it_says_so_when_the_time_is_rehearsed(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path, clock="2026-11-06T12:00:00Z") as sidecar:
        status = sidecar.get("/status")

        assert status["now_ms"] == 1_793_966_400_000
        assert any(
            "rehearsal clock" in problem["text"] for problem in status["problems"]
        )


FIRST_PROCESS = """
import os, signal, sys, time, types
pid = os.getpid()
os.getpid = lambda: 1
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as a first process has it
slow = types.ModuleType("meterline_sidecar.cli.main")
def main():
    os.kill(pid, signal.SIGTERM)
    time.sleep(0.1)
    print("went on")
slow.main = main
sys.modules[slow.__name__] = slow
from meterline_sidecar.__main__ import main
main()
"""


def test_the_first_process_of_a_container_ends_when_it_is_told_to_while_it_starts() -> (
    None
):
    done = subprocess.run(
        [sys.executable, "-c", FIRST_PROCESS],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )

    assert (done.returncode, done.stdout) == (143, ""), done.stderr
