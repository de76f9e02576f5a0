"""What ``import meterline`` takes: CPU time, where nothing is loaded and in an app.

Each is imported by a new interpreter without ``site``, and all take turns; msgspec alone,
which is all that the middleware depends on, is the baseline. ``typing_extensions``, which
msgspec loads where it is installed, is kept away.

Expected from arithmetic: 45 modules, each 0.05 ms to find and read and about as much again
to run; 40 classes at 0.05 ms; five modules written in C at 0.3 and ``threading`` at 0.5:
about 9 ms above msgspec.
"""

import argparse
import os
import statistics
import subprocess
import sys
from typing import Final

from benchmarks.harness import heading

GOAL_MS: Final = 30.0
BEFORE: Final = {
    "nothing": "",
    "logging, socket and pathlib": "import logging, pathlib, socket",
    "Starlette and uvicorn": "import starlette.applications, uvicorn",
}
"""What is loaded already."""
MODULES: Final = ("msgspec", "meterline")
TIMED: Final = """
import sys, time
{before}
sys.modules.setdefault("typing_extensions", None)
begun_ns = time.process_time_ns()
import {module}
print(time.process_time_ns() - begun_ns)
"""


def _took_ms(module: str, before: str) -> float:
    paths = {"PYTHONPATH": ":".join(sys.path)}
    environment = {**os.environ, **paths}
    environment.pop(
        "PYTHONDONTWRITEBYTECODE", None
    )  # what is not kept is compiled anew
    done = subprocess.run(
        [sys.executable, "-S", "-c", TIMED.format(before=before, module=module)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout) / 1e6


def main() -> None:
    """Print the medians, and how they compare to msgspec alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    rounds: int = parser.parse_args().rounds
    heading(__doc__)
    for name, before in BEFORE.items():
        for module in MODULES:
            _took_ms(module, before)  # writes what is kept compiled
        took = [[_took_ms(module, before) for module in MODULES] for _ in range(rounds)]
        bare, ours = (statistics.median(column) for column in zip(*took, strict=True))
        print(
            f"{name} loaded: meterline {ours:.1f} ms, of which msgspec {bare:.1f}"
            f" ({ours / bare:.2f} times as much)"
        )
    print(f"goal: {GOAL_MS:.0f} ms where nothing is loaded")


if __name__ == "__main__":
    main()
