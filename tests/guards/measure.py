"""Runs the scripts under the programs that count, and reads what these say."""

import os
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from meterline.compiled import VARIABLE, native
from tests.guards.ingest import EVENTS
from tests.guards.request import REQUESTS
from tests.guards.window import BEGIN, END, PROGRAM
from tests.patience import PATIENCE_S

ROOT: Final = Path(__file__).parents[2]
BUDGET: Final = Path(__file__).with_name("budget.toml")
SCRIPTS: Final = {"tests.guards.request": REQUESTS, "tests.guards.ingest": EVENTS}
"""Each with how many of its kind it serves or takes in."""
IN_PYTHON: Final = " in Python"
"""What is added to the name of a request that nothing compiled takes part in."""
RUNS: Final = [
    *((script, number, "") for script, number in SCRIPTS.items()),
    ("tests.guards.request", REQUESTS, IN_PYTHON),
]
BARE: Final = "a bare request"
"""What the app alone costs: it is taken away from its other requests."""
SYNCS: Final = ("fsync", "fdatasync")
WAITING: Final = "futex"
"""How often a thread waits for another is chance; all other calls are the same each time."""

Costs = dict[str, dict[str, int]]
"""What one is called, what is counted, and how much of it there is.

``instructions`` of one; ``calls``, ``syncs`` and ``bytes`` written of a thousand.
"""

_MARK: Final = re.compile(rf'"(?:({re.escape(BEGIN)})|{re.escape(END)})(.+?)"')
_CALL: Final = re.compile(r"^\d+ +(\w+)\(")
_DUMP: Final = re.compile(r"^desc: Trigger: dump (.+)$", re.MULTILINE)
_TOTAL: Final = re.compile(r"^totals: (\d+)$", re.MULTILINE)


def missing(*programs: str) -> str:
    """Return why nothing can be counted here; nothing where it can be."""
    gone = [program for program in programs if shutil.which(program) is None]
    return f"{' and '.join(gone)} not found: apt-get install valgrind strace" * bool(
        gone
    )


def here() -> dict[str, str]:
    """Return what figures depend on besides our code."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "machine": platform.machine(),
        "sqlite": sqlite3.sqlite_version,
        "compiled": "no" if native is None else "yes",
    }


def instructions(folder: Path) -> Costs:
    """Return how many instructions one takes; each script gets a folder in ``folder``."""
    costs: Costs = {}
    for script, number, way in RUNS:
        place = folder / (script + way)
        place.mkdir()
        out = f"--callgrind-out-file={place}/out"
        valgrind = ("valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", out)
        _run(valgrind, script, place, way)
        totals = dict(_totals(place))
        bare = totals.pop(BARE, 0)
        for name, total in totals.items():
            costs[name + way] = {"instructions": (total - bare) // number}
    return costs


def _totals(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield each part that was counted, and its instructions."""
    for file in sorted(folder.glob("out.*")):
        text = file.read_text(errors="replace")
        if (name := _DUMP.search(text)) and (total := _TOTAL.search(text)):
            yield name[1], int(total[1])


def calls(folder: Path) -> Costs:
    """Return which system calls a thousand make, and how much these write."""
    costs: Costs = {}
    for script, number, way in RUNS:
        place = folder / (script + way)
        place.mkdir()
        log = place / "calls"
        written = _run(("strace", "-f", "-qq", "-o", str(log)), script, place, way)
        sizes = dict(line.split("\t") for line in written.splitlines())
        for name, made in _made(log):
            if name != BARE:
                syncs = sum(made[call] for call in SYNCS)
                n_calls = made.total() - made[WAITING]
                counts = {"calls": n_calls, "syncs": syncs, "bytes": int(sizes[name])}
                costs[name + way] = {
                    of: n * 1_000 // number for of, n in counts.items() if n
                }
    return costs


def _run(program: tuple[str, ...], script: str, folder: Path, way: str) -> str:
    done = subprocess.run(
        [*program, sys.executable, "-m", script, str(folder)],
        cwd=ROOT,
        env={
            **os.environ,
            PROGRAM: program[0],
            "PYTHONHASHSEED": "0",
            VARIABLE: "1" if way else "0",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _made(log: Path) -> Iterator[tuple[str, Counter[str]]]:
    """Yield each part that was marked, and how often it made each call."""
    made: Counter[str] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        if (mark := _MARK.search(line)) is not None:
            if not mark[1]:
                yield mark[2], made
            made = Counter()
        elif (call := _CALL.match(line)) is not None:
            made[call[1]] += 1


def read_budget() -> tuple[dict[str, str], Costs]:
    """Return where the budget was measured, and what it allows."""
    budget = tomllib.loads(BUDGET.read_text())
    return budget.pop("measured"), budget


def write_budget(costs: Costs) -> None:
    """Make what is measured now the budget."""
    lines = ["# Written by `make budgets`: what one costs, and what a thousand do."]
    lines += ["", "[measured]", *(f'{of} = "{what}"' for of, what in here().items())]
    for name, counts in costs.items():
        lines += ["", f'["{name}"]', *(f"{of} = {n}" for of, n in counts.items())]
    BUDGET.write_text("\n".join(lines) + "\n")
