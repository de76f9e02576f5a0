"""What memory metering takes in an app, beside its map, and whether it stays that.

An app of one answer serves requests without a server, as fast as it can, in processes
of their own: bare, and metered with a sidecar that runs. What is measured is memory that
belongs to no file; the map of the spool does.

Expected from arithmetic: nothing stays of a request, so the memory after ten million is
that after the first hundred thousand.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.harness import tell
from tests.sidecar_process import SidecarProcess

WARM_REQUESTS: Final = 100_000
ADDED_MIB_GOAL: Final = 2.0
"""Beside the map, and beside what the modules take that nearly every app has loaded."""


def mib(folder: str, *marks: int) -> list[float]:
    """Return the memory of such a process after so many requests each."""
    command = [sys.executable, "-m", "benchmarks.memory_served", folder]
    done = subprocess.run(
        [*command, *map(str, marks)], capture_output=True, text=True, check=True
    )
    return [int(line) / 1024 for line in done.stdout.split()]


def main() -> None:
    """Serve bare and metered, and print the memory of both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    marks = (0, WARM_REQUESTS, options.requests // 2, options.requests)
    (bare,) = mib("-", WARM_REQUESTS)
    with tempfile.TemporaryDirectory() as name, SidecarProcess(Path(name)):
        made, warm, half, end = mib(name, *marks)
    result = {
        "bare_mib": bare,
        "with_its_modules_mib": made,
        "serving_mib": warm,
        "added_by_serving_mib": warm - made,
        "added_by_serving_mib_goal": ADDED_MIB_GOAL,
        f"after_{options.requests // 2}_mib": half,
        f"after_{options.requests}_mib": end,
        "grown_since_warm_mib": end - warm,
    }
    tell(__doc__, result, as_json=options.json)


if __name__ == "__main__":
    main()
