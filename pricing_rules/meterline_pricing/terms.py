"""What is agreed beside the prices: discounts, limits, commitments, credits, tax.

All of it is plain data that checks itself, as prices are. ``adjust.py`` applies it,
in the order that ``order.py`` gives.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from typing import Literal, TypeVar

from meterline_pricing.errors import PricingError, Problem
from meterline_pricing.fields import (
    Checked,
    Exact,
    ExactOrNone,
    check_positive,
    check_range,
    default,
)
from meterline_pricing.money import ZERO


class Conversion(Checked, frozen=True, kw_only=True):
    """Turns what a meter counts into the units that are priced.

    ``quantity * times / per``, then rounded to ``precision`` digits after the point.
    Per million tokens, begun millions in full: ``per = 1_000_000, round = "up"``.
    """

    per: Exact = default(Decimal(1))
    times: Exact = default(Decimal(1))
    round: Literal["none", "up", "down", "half_up"] = "none"
    precision: int = 0
    """Digits after the point that rounding leaves; -1 rounds to tens."""

    def __post_init__(self) -> None:
        """Check the factors and the precision."""
        super().__post_init__()
        check_positive(self, "per")
        check_positive(self, "times")
        check_range(self, "precision", -12, 12)


class Discount(Checked, frozen=True, kw_only=True):
    """Less to pay: ``units`` off the quantity, an ``amount``, or a ``percent``.

    Exactly one of the three. Several discounts of a kind are chained, each on what
    the one before it left, and none goes below zero.
    """

    name: str = "discount"
    units: ExactOrNone = default(None)
    amount: ExactOrNone = default(None)
    percent: ExactOrNone = default(None)
    """``"10"`` is 10 %."""
    on: tuple[str, ...] = ()
    """The names of the prices that it applies to; empty for all. Only for discounts
    of a plan: those of a price apply to that price."""

    def __post_init__(self) -> None:
        """Check that it takes one thing off, and not more than all."""
        super().__post_init__()
        _check_off(self, ("units", "amount", "percent"))


class Coupon(Checked, frozen=True, kw_only=True):
    """An ``amount`` or a ``percent`` off an invoice, or off some of its lines."""

    name: str = "coupon"
    amount: ExactOrNone = default(None)
    percent: ExactOrNone = default(None)
    """``"10"`` is 10 %."""
    on: tuple[str, ...] = ()
    """The names of the prices that it applies to; empty for the whole invoice."""
    periods: int | None = None
    """For how many billing periods it is given; ``None`` for all. Who makes one
    invoice after the other counts them; an invoice by itself gives it."""

    def __post_init__(self) -> None:
        """Check that it takes one thing off, and not more than all."""
        super().__post_init__()
        _check_off(self, ("amount", "percent"))
        if self.periods is not None and self.periods < 1:
            raise PricingError(Problem(f"{self.periods} is below 1", "periods"))


class Commitment(Checked, frozen=True, kw_only=True):
    """An ``amount`` (or a ``quantity`` at its price) that is always paid.

    What is used above it costs ``overage_factor`` times its price. What is missing
    is a true-up line, unless ``true_up`` is false.
    """

    amount: ExactOrNone = default(None)
    quantity: ExactOrNone = default(None)
    """Only for the commitment of a price: what this quantity costs under it."""
    overage_factor: Exact = default(Decimal(1))
    true_up: bool = True
    per: Literal["period", "group"] = "period"
    """``group``: each group of a ``per_group`` price (a time window) by itself."""
    groups: int = 0
    """With ``per = "group"``, how many groups a period has: groups without usage are
    trued up too. 0 trues up only those that the usage names."""

    def __post_init__(self) -> None:
        """Check that one thing is committed to."""
        super().__post_init__()
        if (self.amount is None) == (self.quantity is None):
            raise PricingError(Problem("expected an amount or a quantity", "amount"))
        check_range(self, "groups", 0, 1_000_000)


Every = Literal["once", "period"]


class Credit(Checked, frozen=True, kw_only=True):
    """Prepaid money, which pays for invoices first."""

    name: str = "credit"
    amount: Exact
    """What is left of it before this invoice."""
    on: tuple[str, ...] = ()
    """The names of the prices that it may pay for; empty for all, and for tax where
    credits come after tax."""
    every: Every = "once"
    """``once``: an amount that is used up. ``period``: so much in each period."""
    starts: date | None = None
    """The first day on which it pays; ``None``: from the beginning."""
    expires: date | None = None
    """The last day on which it pays; ``None``: never."""
    priority: int = 100
    """Which pays first: the lower one; of equal ones, the one that expires first."""

    def __post_init__(self) -> None:
        """Check the priority."""
        super().__post_init__()
        check_range(self, "priority", 0, 1_000)

    def pays_on(self, first: date, last: date) -> bool:
        """Say whether it pays for a period of these days."""
        begun = self.starts is None or self.starts <= last
        return begun and (self.expires is None or self.expires >= first)


class Tax(Checked, frozen=True, kw_only=True):
    """A tax rate on an invoice, or on some of its lines."""

    name: str = "tax"
    percent: Exact
    on: tuple[str, ...] = ()
    """The names of the prices that are taxed; empty for all lines."""
    per: Literal["invoice", "line"] = "invoice"
    """Whether the tax is rounded once for all lines together, or line by line."""


Named = TypeVar("Named", Discount, Coupon, Credit)


def numbered(terms: Iterable[Named]) -> Iterator[tuple[Named, int]]:
    """Yield terms of one kind, each with how many of its name come before it."""
    seen: Counter[str] = Counter()
    for term in terms:
        yield term, seen[term.name]
        seen[term.name] += 1


def _check_off(struct: Discount | Coupon, fields: tuple[str, ...]) -> None:
    """Refuse all but one of ``fields``, and more than 100 percent."""
    given = [field for field in fields if getattr(struct, field) is not None]
    if len(given) != 1:
        expected = ", ".join(fields)
        message = f"expected exactly one of {expected}, not {len(given)}"
        raise PricingError(Problem(message, given[-1] if given else fields[-1]))
    if (struct.percent or ZERO) > 100:
        message = f"expected at most 100, not {struct.percent}"
        raise PricingError(Problem(message, "percent"))
