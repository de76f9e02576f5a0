"""Run the examples that a price list carries."""

from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct

from meterline_pricing.errors import PricingError
from meterline_pricing.invoice import Invoice, invoice
from meterline_pricing.plan import Plan, PlanTest


class TestFailure(Struct, frozen=True, kw_only=True):
    """An example of a price list that its prices do not keep."""

    plan: str
    version: int
    test: str
    line: int | None
    expected: Decimal
    actual: Decimal | None
    """``None`` where the usage could not be rated at all."""
    explanation: str
    """How the actual total came about, line by line, or why there is none."""

    def __str__(self) -> str:
        """Return what was expected and what came out."""
        line = f" on line {self.line}" if self.line else ""
        actual = "no total" if self.actual is None else f"{self.actual:f}"
        return (
            f"plan {self.plan} version {self.version}, {self.test}{line}: "
            f"expected {self.expected:f}, got {actual}: {self.explanation}"
        )


def run_tests(plans: Iterable[Plan]) -> tuple[TestFailure, ...]:
    """Return the examples of ``plans`` that fail, in order; empty when all hold."""
    results = (_failure(plan, test) for plan in plans for test in plan.tests)
    return tuple(failure for failure in results if failure)


def _failure(plan: Plan, test: PlanTest) -> TestFailure | None:
    actual: Decimal | None = None
    try:
        result = invoice(plan, test.usage)
    except PricingError as error:
        explanation = str(error)
    else:
        actual, explanation = result.total, _explained(result)
        if result.unpriced:
            explanation = f"not charged for: {', '.join(result.unpriced)}"
        elif actual == test.total:
            return None
    return TestFailure(
        plan=plan.name,
        version=plan.version,
        test=test.name,
        line=test.line,
        expected=test.total,
        actual=actual,
        explanation=explanation,
    )


def _explained(result: Invoice) -> str:
    return "; ".join(f"{line.name}: {line.explanation}" for line in result.lines)
