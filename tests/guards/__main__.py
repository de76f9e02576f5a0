"""``make budgets``: measures everything, and writes the budget anew."""

import sys
import tempfile
from pathlib import Path

from tests.guards.measure import calls, instructions, missing, write_budget

if __name__ == "__main__":
    if gone := missing("valgrind", "strace"):
        sys.exit(gone)
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as other,
    ):
        costs = instructions(Path(one))
        for name, counts in calls(Path(other)).items():
            costs[name].update(counts)
    write_budget(costs)
