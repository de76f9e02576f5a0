"""Nothing costs more than it did, by counts that a busy machine does not change."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.guards.measure import Costs, calls, here, instructions, missing, read_budget

MEASURED, BUDGET = read_budget()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        here() != MEASURED, reason=f"the budget holds for {MEASURED}: make budgets"
    ),
]


class Slack(NamedTuple):
    """How much more than in the budget is still the same."""

    percent: int
    more: int = 0


SLACK: Final = {
    "instructions": Slack(10),
    "calls": Slack(10, more=20),  # a file that is begun now, or in the next thousand
    "syncs": Slack(10),
    "bytes": Slack(10),
}


def too_dear(costs: Costs, budget: Costs) -> list[str]:
    """Return what costs more than it may, in words."""
    return [
        f"{name}: {found:,} {of}, {allowed.get(of, 0):,} are in the budget"
        for name, allowed in budget.items()
        for of, found in costs.get(name, {}).items()
        if found > most(of, allowed.get(of, 0))
    ]


def most(of: str, allowed: int) -> int:
    slack = SLACK[of]
    return allowed * (100 + slack.percent) // 100 + slack.more


@pytest.mark.parametrize(
    ("program", "count"), [("valgrind", instructions), ("strace", calls)]
)
def test_nothing_costs_more_than_its_budget(
    tmp_path: Path, program: str, count: Callable[[Path], Costs]
) -> None:
    if gone := missing(program):
        pytest.skip(gone)

    costs = count(tmp_path)

    assert costs.keys() == BUDGET.keys()
    assert too_dear(costs, BUDGET) == [], "if it is worth it: make budgets"


def test_what_is_above_the_slack_is_told() -> None:
    budget: Costs = {"an event": {"syncs": 10, "calls": 100}}

    assert too_dear({"an event": {"syncs": 11, "calls": 130}}, budget) == []
    assert too_dear({"an event": {"syncs": 12, "calls": 131}}, budget) == [
        "an event: 12 syncs, 10 are in the budget",
        "an event: 131 calls, 100 are in the budget",
    ]
    assert too_dear({"an event": {"bytes": 1}}, budget) == [
        "an event: 1 bytes, 0 are in the budget"
    ]
