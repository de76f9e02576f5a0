"""What the API answers about amounts: what they are made of, and what a change does."""

from decimal import Decimal
from typing import Literal

import msgspec


class ShownOwed(msgspec.Struct, frozen=True, kw_only=True):
    """An amount in a currency of its own."""

    amount: Decimal
    currency: str


class ShownAges(msgspec.Struct, frozen=True, kw_only=True):
    """What is left to pay of invoices in a currency, by days since their due day.

    Of those that are final or sent; what is uncollectible, and what is in the customer's
    favour on an invoice that is paid, is in none.
    """

    currency: str
    not_due: Decimal
    days_1_30: Decimal
    days_31_60: Decimal
    days_61_90: Decimal
    days_over_90: Decimal
    total: Decimal


class ShownTax(msgspec.Struct, frozen=True, kw_only=True):
    """A tax within an amount."""

    title: str
    percent: Decimal | None
    """``null``: several rates are rounded together, or nobody knows."""
    base: Decimal | None
    """What it is taken of; ``null`` where that cannot be said."""
    amount: Decimal


class ShownBreakdown(msgspec.Struct, frozen=True, kw_only=True):
    """What the amount of a document in one currency is made of: they add up to it."""

    currency: str
    net: Decimal
    """Before taxes, and before what credits paid."""
    tax: Decimal
    """All taxes together."""
    taxes: tuple[ShownTax, ...]
    credits: Decimal
    """What credits paid: below zero on an invoice, above where it is taken back."""
    adjustments: Decimal
    """Adjustments of earlier periods that do not say their tax."""
    amount: Decimal


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
