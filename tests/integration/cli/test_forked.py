"""A command that is forked does what one does that Python was started for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.forked import Command, forked
from tests.patience import PATIENCE_S
from tests.sidecar_process import meterline


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "--url", "http://127.0.0.1:9"),
        ("config", "schema"),
        ("check",),
        ("nope",),
        ("--help",),
    ],
)
def test_it_prints_and_ends_as_in_a_python_of_its_own(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "meterline.toml").write_text("nonsense = 1")

    one = meterline(*arguments, cwd=tmp_path, environment={"NO_COLOR": "1"})
    # With such a variable it is no fork.
    other = meterline(
        *arguments, cwd=tmp_path, environment={"NO_COLOR": "1", "PYTHON_OWN": "1"}
    )

    assert (one.returncode, one.stdout, one.stderr) == (
        other.returncode,
        other.stdout,
        other.stderr,
    )


def test_one_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    done = forked().run(Command(["check"], str(tmp_path), dict(os.environ), 1e-6))

    assert done.returncode < 0


FOUR_THREADS = """
from concurrent.futures import ThreadPoolExecutor
from tests.forked import forked

with ThreadPoolExecutor(4) as pool:
    found = list(pool.map(lambda _: forked(), range(4)))
print(len({id(one) for one in found}))
"""


def test_threads_that_ask_at_once_share_one() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FOUR_THREADS],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
