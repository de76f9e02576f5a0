"""Without what is compiled, all of it is done in Python: the same tests, once more."""

import os
import subprocess
import sys
from pathlib import Path

from meterline.compiled import VARIABLE

HERE = Path(__file__).parent
FILES = (
    *(HERE / f"test_{name}.py" for name in ("first_event", "recording", "rules")),
    HERE.parents[1] / "unit" / "middleware" / "test_exchange.py",
)


def test_what_holds_for_requests_holds_without_what_is_compiled() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *FILES],
        cwd=HERE.parents[2],
        env={**os.environ, VARIABLE: "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
