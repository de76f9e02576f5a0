import asyncio
import json
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.producer import NOON_MS, Connection, batch, event
from tests.sidecar_process import SidecarProcess

LATE = event(time_ms=NOON_MS - 400 * 86_400_000)  # before 2026


async def _send(socket: Path) -> None:
    async with Connection(socket) as app:
        await app.hello()
        await app.ship(batch(event(), LATE, LATE, LATE))


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Generator[SidecarProcess]:
    folder = tmp_path_factory.mktemp("held")
    with SidecarProcess(folder, clock="2026-11-06T12:00:05Z") as running:
        asyncio.run(_send(running.socket))
        running.until_counted(4)
        yield running


def run(sidecar: SidecarProcess, *arguments: str) -> str:
    done = sidecar.meterline("held", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_held_events_are_decided_about_one_by_one_or_together(
    sidecar: SidecarProcess,
) -> None:
    assert run(sidecar, "list").count("waiting") == 3

    why = ("--reason", "they came late")
    dry = run(sidecar, "accept", "--all", "--dry-run", *why)
    assert dry.startswith("would decide about 3 events of 1 subject")
    assert run(sidecar, "list").count("waiting") == 3

    accepted = json.loads(run(sidecar, "accept", "3", "--json", *why))
    rejected = run(sidecar, "reject", "--customer", "acme", "--author", "ann", *why)
    assert accepted["events"] == 1
    assert rejected.startswith("2 events")

    listed = run(sidecar, "list", "--state", "rejected")
    assert listed.count("they came late") == 2
    assert "counted as 5" in run(sidecar, "list")
    assert "no held event matches" in run(sidecar, "reject", "--all", *why)


def test_a_decision_needs_what_it_is_about(sidecar: SidecarProcess) -> None:
    done = sidecar.meterline("held", "accept", "--reason", "x")

    assert done.returncode == 2
    assert (
        "say which events, by an EVENT, --customer, --producer or --all" in done.stderr
    )
