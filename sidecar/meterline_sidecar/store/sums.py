"""Sums of numbers that peers announce: they cannot overflow, and so never raise.

SQLite ends a query whose sum is beyond 63 bits. A thousand workers that each announce
as many events as the wire lets them would be enough, and the rows stay for ever.
"""

from typing import Final

HALF: Final = 2**32
SUM_MAX: Final = 2**63 - 1
"""What is said of a sum that is larger: every reader of JSON takes it."""


def summed(numbers: str) -> str:
    """Return two columns that together are the sum of an expression's values.

    Args:
        numbers: in SQL; none of them is negative.
    """
    return f"coalesce(sum(({numbers}) / {HALF}), 0), coalesce(sum(({numbers}) % {HALF}), 0)"


def whole(high: int, low: int) -> int:
    """Return the sum that two such columns stand for."""
    return min(int(high) * HALF + int(low), SUM_MAX)
