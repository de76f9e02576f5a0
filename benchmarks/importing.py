"""Events per second from a file: put aside, then committed.

One ``meterline run``, and a command that reads a file of plain JSON Lines beside it. The
goal is 50,000 events/s put aside, on two cores.

Expected from arithmetic: reading the JSON of an event takes 2 us, its time, name, row and
mac 7 us, and its share of a request and an fsync of 2,000 events 2 us. To commit it takes
looking for its name 8 us, storing both 12 us, and counting it 3 us.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.harness import cpu_s, sidecar

GOAL_PER_S: Final = 50_000


def _write(path: Path, n_events: int) -> None:
    with path.open("w") as out:
        for i in range(n_events):
            event = {
                "id": f"e-{i:09d}",
                "time": f"2025-{i % 12 + 1:02d}-{i % 28 + 1:02d}T{i % 24:02d}:00:00Z",
                "subject": f"acct_{i % 100}",
                "quantities": {"tokens": i % 1_000},
            }
            out.write(json.dumps(event) + "\n")


def _import(config: Path, *arguments: str) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-m", "meterline_sidecar", "import", *arguments]
    subprocess.run(
        [*command, "--config", str(config), "--json"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def main() -> None:
    """Print what both halves of an import take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=400_000)
    n_events: int = parser.parse_args().events
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, file = folder / "meterline.toml", folder / "events.jsonl"
        config.write_text(
            '[sidecar]\nsocket = "s"\ndatabase = "db"\nspool_dir = "spool"\n'
            f'http = "unix:{folder}/http"\n'
            '[[meter]]\nname = "tokens"\naggregation = "sum"\n'
            'value = "quantities.tokens"\n'
        )
        _write(file, n_events)
        with sidecar(config, folder / "http") as pid:
            empty_s = _import(config, "list")  # what a command takes by itself
            for label, arguments in (
                ("put aside", (str(file), "--stage", "all")),
                ("compared again", (str(file), "--stage", "all")),
                ("committed", ("commit", "all")),
            ):
                before_s = cpu_s(pid)
                took_s = _import(config, *arguments) - empty_s
                cpu_us = (cpu_s(pid) - before_s) * 1e6 / n_events
                # Of few events a command takes no longer than of none.
                rate = f"{n_events / took_s:10,.0f}" if took_s > 0 else "too many"
                print(
                    f"{label:15} {rate:>10} events/s,"
                    f" {cpu_us:5.1f} us of the sidecar's CPU time each"
                )
            print(f"goal: {GOAL_PER_S:,} events/s put aside")


if __name__ == "__main__":
    main()
