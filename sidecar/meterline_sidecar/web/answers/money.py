"""What the API answers about what a change does to money."""

from decimal import Decimal
from typing import Literal

import msgspec


class ShownOwed(msgspec.Struct, frozen=True, kw_only=True):
    """An amount in a currency of its own."""

    amount: Decimal
    currency: str


class ChangedPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """What a customer's period comes to, and what it would come to."""

    customer: str
    period: str
    status: Literal["open", "final"]
    """Of a final one, the difference is billed later: as an adjustment."""
    before: ShownOwed | None
    """``None``: there is no invoice for it."""
    after: ShownOwed | None


class MoneyChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a change does to money."""

    periods: tuple[ChangedPeriod, ...]
    """Those that change most, the largest difference first."""
    n_periods: int
    """How many change, listed or not."""
    open: tuple[ShownOwed, ...]
    """By how much all open periods change, by currency."""
    adjustments: tuple[ShownOwed, ...]
    """By how much all final periods change, which would be billed later."""
    summary: tuple[str, ...]
    """The same in words, with what is not in these amounts."""
