"""The commands that watch, and what a terminal sees of the others."""

import asyncio
import json
import os
import pty
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.patience import PATIENCE_S
from tests.producer import Connection, batch, event
from tests.sidecar_process import MODULE, SidecarProcess, meterline, until


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Generator[SidecarProcess]:
    folder = tmp_path_factory.mktemp("live")
    with SidecarProcess(folder, clock="2026-11-06T12:00:05Z") as running:
        yield running


async def send_two(socket: Path) -> None:
    """Send two events, as a producer that never spoke before."""
    async with Connection(socket) as app:
        await app.hello(uuid4().hex)
        await app.send(batch(event(), event(subject="acme_2", status=500)))
        await app.receive()


def until_ended(command: "subprocess.Popen[str]", socket: Path) -> list[str]:
    """Feed events until the command has seen enough of them; return its lines."""

    def has_ended() -> bool:
        asyncio.run(send_two(socket))
        return command.poll() is not None

    until(has_ended)
    out, _ = command.communicate()
    assert command.returncode == 0
    return out.splitlines()


def start(sidecar: SidecarProcess, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*MODULE, *arguments, "--config", str(sidecar.config)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_tail_prints_events_as_they_are_stored(sidecar: SidecarProcess) -> None:
    command = start(sidecar, "tail", "--count", "3", "--subject", "acme_2")

    lines = until_ended(command, sidecar.socket)

    assert len(lines) == 3
    assert all("acme_2  acme  GET /v1/items/{id}  500" in line for line in lines)


def test_tail_as_json_is_an_event_to_a_line(sidecar: SidecarProcess) -> None:
    command = start(sidecar, "tail", "--count", "2", "--json")

    lines = until_ended(command, sidecar.socket)

    assert [json.loads(line)["subject"] for line in lines] == ["acct_1", "acme_2"]


def test_top_shows_what_is_busy(sidecar: SidecarProcess) -> None:
    command = start(sidecar, "top", "--interval", "1", "--json")
    assert command.stdout is not None

    activity: dict[str, Any] = {"rate": 0}
    while not activity["rate"]:  # on a busy machine nothing may come in a second
        asyncio.run(send_two(sidecar.socket))
        activity = json.loads(command.stdout.readline())
    command.send_signal(signal.SIGINT)
    command.communicate()

    assert activity["customers"]["acme"] == pytest.approx(activity["rate"])
    route = "GET /v1/items/{id}"
    assert activity["errors"][route] == pytest.approx(activity["routes"][route] / 2)


def test_top_of_a_sidecar_without_events_shows_nothing(sidecar: SidecarProcess) -> None:
    done = sidecar.meterline("top", "--interval", "0.2", "--count", "1")

    assert done.returncode == 0
    assert " 0.0 events/s" in done.stdout


def test_ctrl_c_is_a_good_end_of_what_never_ends(sidecar: SidecarProcess) -> None:
    command = start(sidecar, "top", "--interval", "0.2", "--json")
    assert command.stdout is not None
    command.stdout.readline()

    command.send_signal(signal.SIGINT)
    command.communicate()

    assert command.returncode == 0


def on_terminal(sidecar: SidecarProcess, **environment: str) -> str:
    """Return what a terminal gets of ``meterline status``."""
    ours, theirs = pty.openpty()
    command = subprocess.Popen(
        [*MODULE, "status", "--config", str(sidecar.config)],
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200", **environment},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    printed = b""
    try:
        while part := os.read(ours, 65_536):
            printed += part
    except OSError:  # how Linux says that nobody has the other side open
        pass
    os.close(ours)
    assert command.wait(PATIENCE_S) == 0
    return printed.decode()


def test_a_terminal_gets_borders_and_colours(sidecar: SidecarProcess) -> None:
    shown = on_terminal(sidecar)

    assert "┃" in shown
    assert "\x1b[33m! the time is not real" in shown


def test_no_color_leaves_colours_out(sidecar: SidecarProcess) -> None:
    shown = on_terminal(sidecar, NO_COLOR="1")

    assert "\x1b[3" not in shown
    assert "! the time is not real" in shown


def test_a_dumb_terminal_gets_no_escapes(sidecar: SidecarProcess) -> None:
    shown = on_terminal(sidecar, TERM="dumb")

    assert "\x1b" not in shown
    assert "! the time is not real" in shown


def test_a_pipe_gets_plain_text(sidecar: SidecarProcess) -> None:
    shown = sidecar.meterline("status").stdout

    assert "\x1b" not in shown
    assert "┃" not in shown


def test_a_shell_completes_commands() -> None:
    done = meterline(
        environment={
            "_METERLINE_COMPLETE": "bash_complete",
            "COMP_WORDS": "meterline in",
            "COMP_CWORD": "1",
        }
    )

    assert done.stdout.splitlines() == ["plain,init", "plain,invoice", "plain,invoices"]


def test_a_token_lets_its_owner_in_until_it_is_revoked(tmp_path: Path) -> None:
    table = '[sidecar]\nhttp = "unix:http.sock"\ndatabase = "meterline.db"\n'
    (tmp_path / "meterline.toml").write_text(table)

    made = meterline("token", "create", "grafana", "--scope", "read", cwd=tmp_path)
    listed = json.loads(meterline("token", "list", "--json", cwd=tmp_path).stdout)
    revoked = meterline("token", "revoke", listed[0]["id"], cwd=tmp_path)
    again = meterline("token", "revoke", listed[0]["id"], cwd=tmp_path)

    assert made.stdout.startswith("mtl_")
    assert [(t["name"], t["scope"]) for t in listed] == [("grafana", "read")]
    assert revoked.returncode == 0
    assert again.returncode == 1
    assert "meterline token list" in again.stderr
