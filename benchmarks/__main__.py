"""Runs every benchmark of this folder in turn, as ``make bench`` does, or the one named.

python -m benchmarks stored --events 200000
"""

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
    files = sorted(Path(__file__).parent.glob("*.py"))
    names = [file.stem for file in files if file.stem not in NOT_A_BENCHMARK]
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        name = sys.argv.pop(1)
        if name not in names:
            sys.exit(f"no benchmark {name}; there are {', '.join(names)}")
        names = [name]
    for name in names:
        sys.stdout.write(f"\n=== {name}\n\n")
        sys.stdout.flush()
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")


if __name__ == "__main__":
    main()
