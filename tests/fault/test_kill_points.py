"""The sidecar's writing is killed before every write and every fsync that it makes."""

import asyncio
import random
import subprocess
import sys
from pathlib import Path

from tests.fault import steps
from tests.fault.host import IS_SOAK, ROOT
from tests.fault.load import Ledger
from tests.fault.oracle import assert_law
from tests.fault.strace import calls_by_kind, needs_strace, strace
from tests.patience import PATIENCE_S

POINTS_PER_CALL = 2  # besides the first; `make soak` takes all of about 700


def run_steps(folder: Path, *, inject: str = "") -> int:
    """Run the steps in a process of their own; return its exit code."""
    database = folder / "meterline.db"
    files = [
        database.with_name(database.name + suffix)
        for suffix in ("", "-wal", "-journal", ".key.new", ".head.new")
    ]
    command = [
        *strace(folder / "strace.log", files, inject=inject),
        *(sys.executable, "-m", "tests.fault.steps"),
        *(str(database), str(folder / "truth")),
    ]
    return subprocess.run(command, cwd=ROOT, timeout=PATIENCE_S, check=False).returncode


def assert_it_goes_on(folder: Path) -> None:
    """Do the steps that are left, and check the law on all of them."""
    ledger = Ledger(folder / "truth")
    asyncio.run(steps.run(folder / "meterline.db", ledger))
    found = assert_law(folder / "meterline.db", [ledger])
    assert found.numbers[ledger.name] == list(range(1, steps.EVENTS + 1))


def moments(last: int, chance: random.Random) -> list[int]:
    """Return before which of ``last`` calls to kill; the first one is special."""
    if IS_SOAK:
        return list(range(1, last + 1))
    others = range(2, last + 1)
    return [1, *sorted(chance.sample(others, min(POINTS_PER_CALL, len(others))))]


@needs_strace
def test_a_kill_at_any_write_or_fsync_loses_nothing_that_was_acked(
    tmp_path: Path, chance: random.Random
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    assert run_steps(whole) == 0
    calls = calls_by_kind(whole / "strace.log")
    assert {"pwrite64", "fdatasync", "write"} <= calls.keys(), calls
    assert_it_goes_on(whole)
    points = [
        (call, n) for call, last in sorted(calls.items()) for n in moments(last, chance)
    ]

    for call, n in points:
        folder = tmp_path / f"{call}-{n}"
        folder.mkdir()
        code = run_steps(folder, inject=f"{call}:signal=SIGKILL:when={n}")
        assert code == -9, f"{call} number {n} was not reached"
        assert_it_goes_on(folder)
