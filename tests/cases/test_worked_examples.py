"""Runs every example of the price lists beside this file."""

from pathlib import Path

import pytest

from meterline_pricing import Plan, invoice, load
from meterline_pricing.models import PlanTest

FILES = sorted(Path(__file__).parent.glob("*.toml"))
EXAMPLES = [
    pytest.param(plan, test, id=f"{file.stem}:{test.line} {plan.name}")
    for file in FILES
    for plan in load(file.read_text(), file=file.name).plans
    for test in plan.tests
]


@pytest.mark.parametrize(("plan", "test"), EXAMPLES)
def test_a_worked_example_comes_to_its_published_total(
    plan: Plan, test: PlanTest
) -> None:
    result = invoice(plan, test.usage)

    assert result.total == test.total, [line.explanation for line in result.lines]
    assert not result.unpriced
    assert sum(line.amount for line in result.lines) == result.total


def test_there_are_examples_of_every_system() -> None:
    assert len(FILES) >= 7
    assert len(EXAMPLES) >= 100
