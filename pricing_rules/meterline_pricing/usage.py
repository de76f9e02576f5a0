"""What was used, in the shapes that price models take it in."""

from decimal import Decimal

from msgspec import Struct
from msgspec.structs import force_setattr

from meterline_pricing.errors import PricingError, Problem
from meterline_pricing.money import ZERO, exact
from meterline_pricing.numbers import to_decimal


class Amounts(Struct, frozen=True, tag_field="shape", tag="amounts"):
    """The amount that each event carried, in the order in which they happened."""

    values: tuple[Decimal, ...]

    def __post_init__(self) -> None:
        """Make decimals of the amounts.

        Raises:
            PricingError: one of them is no number, or below zero.
        """
        values = tuple(
            to_decimal(value, f"amounts[{i}]") for i, value in enumerate(self.values)
        )
        force_setattr(self, "values", values)


class Group(Struct, frozen=True):
    """What was used under one combination of dimension values."""

    values: dict[str, str]
    """Dimension to value: ``{"region": "eu", "tier": "gold"}``."""
    usage: Decimal | Amounts

    def __post_init__(self) -> None:
        """Make a decimal of a bare quantity.

        Raises:
            PricingError: it is no number, or below zero.
        """
        if not isinstance(self.usage, Amounts):
            force_setattr(self, "usage", to_decimal(self.usage, "usage"))


class Groups(Struct, frozen=True, tag_field="shape", tag="groups"):
    """Usage by dimension values, or by time bucket (the bucket being a dimension)."""

    groups: tuple[Group, ...]

    def __post_init__(self) -> None:
        """Let a list be given as well."""
        force_setattr(self, "groups", tuple(self.groups))


Usage = Decimal | int | str | Amounts | Groups
"""A bare quantity, the events' amounts in order, or either of them by group."""


def quantity_of(usage: Usage) -> Decimal:
    """Return the total quantity of ``usage``.

    Raises:
        PricingError: a bare quantity that is no number, or below zero.
    """
    match usage:
        case Amounts(values):
            with exact():
                return sum(values, ZERO)
        case Groups(groups):
            with exact():
                return sum((quantity_of(group.usage) for group in groups), ZERO)
        case _:
            return to_decimal(usage)


def amounts_of(usage: Usage) -> tuple[Decimal, ...]:
    """Return the events' amounts in order.

    Raises:
        PricingError: only their total is known, or only by group.
    """
    if isinstance(usage, Amounts):
        return usage.values
    raise PricingError(
        Problem("this price needs the amount of every event, in order: Amounts(...)")
    )
