"""``meterline correct`` beside a sidecar that is killed."""

import asyncio
import json
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.producer import Connection, batch, event
from tests.sidecar_process import SidecarProcess


async def _send(socket: Path) -> None:
    async with Connection(socket) as app:
        await app.hello()
        await app.ship(batch(*(event() for _ in range(5))))


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Generator[SidecarProcess]:
    folder = tmp_path_factory.mktemp("correct")
    with SidecarProcess(folder, clock="2026-11-06T12:00:05Z") as running:
        asyncio.run(_send(running.socket))
        running.until_counted(5)
        yield running


def run(sidecar: SidecarProcess, *arguments: str, code: int = 0) -> str:
    done = sidecar.meterline("correct", *arguments)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def calls(sidecar: SidecarProcess) -> object:
    done = sidecar.meterline("usage", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_events_are_corrected_and_stay_so_whoever_is_killed(
    sidecar: SidecarProcess,
) -> None:
    before = calls(sidecar)
    why = ("--reason", "a test of ours")
    hour = ("--from", "2026-11-06T12:00:00Z", "--to", "2026-11-06T13:00:00Z")

    dry = run(sidecar, "--customer", "acme", *hour, *why, "--dry-run")
    assert dry.startswith("would be: 5 events void")
    assert "no period's amount changes" in dry  # all of it is free
    assert "nothing was corrected" in run(sidecar, "--list")

    made = json.loads(run(sidecar, "--event", "2", *why, "--json"))
    assert (made["void"], made["correction"]["reason"]) == (1, "a test of ours")
    changed = calls(sidecar)
    assert changed != before
    sidecar.kill()
    sidecar.start()
    assert calls(sidecar) == changed

    assert "correction 2" in run(sidecar, "--revert", "1", "--reason", "no test")
    listed = run(sidecar, "--list")
    assert "taken back by 2" in listed
    assert "events 2" in listed
    audited = sidecar.meterline("audit").stdout
    assert "correction 1 taken back" in audited
    assert sidecar.meterline("verify").returncode == 0
    assert "no event 99" in run(sidecar, "--event", "99", *why, code=1)
