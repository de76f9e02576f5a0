"""A command that is forked does what one does that Python was started for."""

import os
from pathlib import Path

import pytest

from tests.forked import Command, forked
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
