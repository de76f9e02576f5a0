"""A command waits for its own imports only."""

import subprocess
import sys

import pytest

HEAVY = {
    *("aiosqlite", "apscheduler", "httpx", "prometheus_client"),
    *("starlette", "stripe", "uvicorn"),
}


@pytest.mark.parametrize(
    ("command", "allowed"),
    [("--help", set[str]()), ("check", {"aiosqlite", "httpx"}), ("status", {"httpx"})],
)
def test_a_command_loads_what_it_needs(command: str, allowed: set[str]) -> None:
    code = (
        "import sys; from meterline_sidecar.cli.main import cli;"
        f"cli(['{command}', '--help'], standalone_mode=False);"
        "print(*sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    loaded = set(done.stdout.splitlines()[-1].split())
    assert loaded & HEAVY <= allowed


def test_a_sidecar_loads_nothing_of_stripes_before_it_tells_stripe_something() -> None:
    code = "import sys, meterline_sidecar.daemon.run; print(*sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert not {"stripe", "aiohttp", "requests"} & set(done.stdout.split())
