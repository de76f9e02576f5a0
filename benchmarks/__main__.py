"""Runs every benchmark of this folder in turn: ``make bench``."""

import runpy
import sys
from pathlib import Path
from typing import Final

NOT_A_BENCHMARK: Final = (
    *("__init__", "__main__", "full_ledger", "harness"),
    "memory_served",
)


def main() -> None:
    """Run them as ``python -m benchmarks.NAME`` would, in order of their names."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem not in NOT_A_BENCHMARK:
            sys.stdout.write(f"\n=== {path.stem}\n\n")
            sys.stdout.flush()
            runpy.run_module(f"benchmarks.{path.stem}", run_name="__main__")


if __name__ == "__main__":
    main()
