"""``meterline demo``: what a newcomer sees first."""

import os
import re
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.patience import PATIENCE_S
from tests.sidecar_process import MODULE, meterline, until

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary directory in which a socket has a name that is short enough."""
    return tmp_path_factory.mktemp("t")


def processes_in(folder: Path) -> list[int]:
    """Return the ids of the processes that work in ``folder`` or below."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        try:
            cwd = (entry / "cwd").readlink()
        except OSError:  # no process, or one that has just ended
            continue
        if entry.name.isdigit() and cwd.is_relative_to(folder):
            found.append(int(entry.name))
    return found


def test_the_demo_bills_the_worked_example_and_leaves_nothing(place: Path) -> None:
    done = meterline("demo", cwd=place, environment={"TMPDIR": str(place)})

    assert done.returncode == 0, done.stderr
    assert "144,000 of 144,000 requests stored" in done.stdout
    assert "tier 2: 70,000 x $0.001" in done.stdout
    assert "total                                $70.00" in done.stdout
    # The hour may have turned while it served, so it may be two rows.
    told = re.findall(r" acme +api_calls .* ([\d,]+)$", done.stdout, re.MULTILINE)
    assert sum(int(value.replace(",", "")) for value in told) == 120_000
    assert list(place.iterdir()) == []
    assert processes_in(place) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_ends_with_all_its_processes(
    place: Path, number: signal.Signals
) -> None:
    log = place / "demo.log"
    stage = place / "stage"
    stage.mkdir()
    with log.open("wb") as file:
        demo = subprocess.Popen(
            [*MODULE, "demo", "--keep"],
            env={**os.environ, "TMPDIR": str(stage)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: "workers serve" in log.read_text())
        until(lambda: len(processes_in(stage)) == 3)

        demo.send_signal(number)

        assert demo.wait(PATIENCE_S) == 130
        assert log.read_text().endswith("meterline: interrupted\n")
        assert list(stage.iterdir()) == []
        assert processes_in(stage) == []
    finally:
        demo.kill()
        demo.wait()


def test_a_demo_that_is_kept_says_where_to_look_and_serves_visitors(
    tmp_path: Path,
) -> None:
    log = tmp_path / "demo.log"
    far_away = tmp_path / ("a temporary directory with a name " * 3)
    far_away.mkdir()
    with log.open("wb") as file:
        demo = subprocess.Popen(
            [*MODULE, "demo", "--keep"],
            env={**os.environ, "TMPDIR": str(far_away)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: "still running" in log.read_text())
        until(lambda: "commands" in log.read_text())
        (address,) = re.findall(r"dashboard +(\S+)$", log.read_text(), re.MULTILINE)

        until(lambda: served_at(address) > 144_000)

        demo.send_signal(signal.SIGINT)

        assert demo.wait(PATIENCE_S) == 0  # it is what it waits for
    finally:
        demo.terminate()
        demo.wait(PATIENCE_S)


def served_at(address: str) -> int:
    return int(
        httpx.get(f"{address}status", timeout=PATIENCE_S).json()["events"]["ingested"]
    )
