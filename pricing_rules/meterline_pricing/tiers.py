"""The steps that tiered prices are made of."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from meterline_pricing.errors import PricingError, Problem
from meterline_pricing.fields import (
    Checked,
    Exact,
    ExactOrNone,
    check_positive,
    check_whole,
    default,
)
from meterline_pricing.money import ZERO

TIERS_MAX: Final = 10_000


class Tier(Checked, frozen=True, kw_only=True):
    """One step of a graduated or volume price."""

    up_to: ExactOrNone = default(None)
    """The last quantity that is still in this tier; ``None`` for the last tier."""
    unit_amount: Exact = default(ZERO)
    flat_amount: Exact = default(ZERO)
    """Due once, when the tier is entered."""
    maximum: ExactOrNone = default(None)
    """The most that this tier costs, its flat amount included."""


class Step(Checked, frozen=True, kw_only=True):
    """One step of a stairstep price."""

    up_to: ExactOrNone = default(None)
    """The last quantity that is still on this step."""
    amount: Exact
    """Due for any quantity on this step, whole."""


class BlockTier(Checked, frozen=True, kw_only=True):
    """One tier of a price by blocks."""

    block_size: Exact
    amount: Exact
    """Of one block."""
    max_blocks: ExactOrNone = default(None)
    """How many blocks this tier holds, counted within it; ``None`` for no end."""

    def __post_init__(self) -> None:
        """Check that there are units in a block, and whole blocks in a tier."""
        super().__post_init__()
        check_positive(self, "block_size")
        check_whole(self, "max_blocks")
        if self.max_blocks is not None:
            check_positive(self, "max_blocks")


class PercentTier(Checked, frozen=True, kw_only=True):
    """One step of a graduated percentage."""

    up_to: ExactOrNone = default(None)
    """The last amount that is still in this tier; ``None`` for the last tier."""
    rate: Exact = default(ZERO)
    """Percent of what lies in this tier: ``"1.5"`` is 1.5 %."""
    flat_amount: Exact = default(ZERO)
    """Due once, when the tier is entered."""


def tier_key(i: int, field: str) -> str:
    """Return how an error names a field of tier ``i``: ``tiers[2].up_to``."""
    return f"tiers[{i}].{field}"


def bounds_of(tiers: Sequence[Tier | Step | PercentTier]) -> tuple[Decimal, ...]:
    """Return where the tiers end; without the last one if it has no end."""
    return tuple(tier.up_to for tier in tiers if tier.up_to is not None)


def capped_at(tier: Tier) -> Decimal | None:
    """Return the quantity within a tier after which it costs no more; in ``exact()``.

    ``None`` where that never happens.
    """
    if tier.maximum is None or not tier.unit_amount:
        return None
    return max(tier.maximum - tier.flat_amount, ZERO) / tier.unit_amount


def free_up_to(tiers: Sequence[Tier]) -> Decimal:
    """Return up to where tiers cost nothing by the unit; 0 where all of them do."""
    bound = ZERO
    for tier in tiers:
        if tier.unit_amount:
            return bound
        bound = tier.up_to or ZERO
    return ZERO


def repeated(
    expected: Sequence[tuple[Decimal | None, ...]],
    costs: Sequence[tuple[Decimal | None, ...]],
) -> tuple[int, ...]:
    """Return the tiers that cost what the one before lets expect.

    Args:
        expected: by tier, what the next one costs if it changes nothing.
        costs: by tier, what it costs: of each unit, on entering, and at most.
    """
    return tuple(i for i in range(1, len(costs)) if costs[i] == expected[i - 1])


def check_bounds(bounds: list[Decimal | None], *, may_end: bool = False) -> None:
    """Refuse tiers that do not rise, or whose last one ends unless it may.

    Raises:
        PricingError: with every problem, as ``tiers[i].up_to``.
    """
    problems: list[Problem] = []
    if not 1 <= len(bounds) <= TIERS_MAX:
        message = f"expected 1 to {TIERS_MAX} tiers, not {len(bounds)}"
        raise PricingError(Problem(message, "tiers"))
    lower = ZERO
    for i, bound in enumerate(bounds):
        key = tier_key(i, "up_to")
        is_last = i == len(bounds) - 1
        if bound is None:
            if not is_last:
                problems.append(Problem("only the last tier is without up_to", key))
            continue
        if bound <= lower:
            message = f"tiers overlap: {bound} is not above {lower}"
            problems.append(Problem(message, key))
        elif is_last and not may_end:
            message = "the last tier is missing: add one without up_to, for all usage"
            problems.append(Problem(f"{message} above {bound}", key))
        lower = max(lower, bound)
    if problems:
        raise PricingError(problems)
