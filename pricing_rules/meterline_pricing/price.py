"""How one meter is charged: the price models, as plain data that checks itself.

Every number may be given as a ``Decimal``, an ``int`` or a text such as ``"0.001"``
and is a ``Decimal`` afterwards; a float is refused. Amounts are in major units
(dollars, not cents). A price that makes no sense can not be built: its constructor
raises ``PricingError`` with every problem, each under the field that it is in.
"""

from decimal import Decimal
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import force_setattr

from meterline_pricing.errors import PricingError, Problem
from meterline_pricing.money import ZERO
from meterline_pricing.numbers import set_decimal

TIERS_MAX: Final = 10_000


class Tier(Struct, frozen=True, kw_only=True):
    """One step of a graduated or volume price."""

    up_to: Decimal | None = None
    """The last quantity that is still in this tier; ``None`` for the last tier."""
    unit_amount: Decimal = ZERO
    flat_amount: Decimal = ZERO
    """Due once, when the tier is entered."""

    def __post_init__(self) -> None:
        """Make decimals of the numbers, and refuse what is none."""
        set_decimal(self, "up_to", is_optional=True)
        set_decimal(self, "unit_amount")
        set_decimal(self, "flat_amount")


class Flat(Struct, frozen=True, tag_field="model", tag="flat"):
    """An amount per period, whatever was used."""

    amount: Decimal

    def __post_init__(self) -> None:
        """Make decimals of the numbers, and refuse what is none."""
        set_decimal(self, "amount")


class PerUnit(Struct, frozen=True, tag_field="model", tag="per_unit"):
    """Every unit at the same price."""

    unit_amount: Decimal

    def __post_init__(self) -> None:
        """Make decimals of the numbers, and refuse what is none."""
        set_decimal(self, "unit_amount")


class Graduated(Struct, frozen=True, tag_field="model", tag="graduated"):
    """Each unit at the price of the tier that it falls into."""

    tiers: tuple[Tier, ...]
    flat_at_zero: bool = False
    """Whether the first tier's flat amount is due when nothing was used."""

    def __post_init__(self) -> None:
        """Check the tiers."""
        _set_tuple(self, "tiers")
        _check_bounds([tier.up_to for tier in self.tiers])


class Volume(Struct, frozen=True, tag_field="model", tag="volume"):
    """All units at the price of the tier that their total falls into.

    More usage can cost less: the total steps down where a cheaper tier begins.
    """

    tiers: tuple[Tier, ...]
    flat_at_zero: bool = False
    """Whether the first tier's flat amount is due when nothing was used."""

    def __post_init__(self) -> None:
        """Check the tiers."""
        _set_tuple(self, "tiers")
        _check_bounds([tier.up_to for tier in self.tiers])


class Package(Struct, frozen=True, tag_field="model", tag="package"):
    """Units in packages of ``size``; a package that was begun is charged whole."""

    size: Decimal
    amount: Decimal
    round: Literal["up", "down"] = "up"
    """``down`` charges full packages only."""
    free_units: Decimal = ZERO
    """Taken off the quantity before the packages are counted."""

    def __post_init__(self) -> None:
        """Make decimals of the numbers, and refuse what is none."""
        set_decimal(self, "size")
        set_decimal(self, "amount")
        set_decimal(self, "free_units")
        _check_positive(self.size, "size")


Price = Flat | PerUnit | Graduated | Volume | Package


def _set_tuple(struct: Struct, field: str) -> None:
    """Let lists be given where the struct keeps a tuple, so that it can be hashed."""
    force_setattr(struct, field, tuple(getattr(struct, field)))


def _check_positive(number: Decimal, key: str) -> None:
    if number <= 0:
        raise PricingError(Problem(f"expected more than 0, not {number}", key))


def _check_bounds(bounds: list[Decimal | None]) -> None:
    """Refuse tiers that do not rise, or whose last one ends.

    Raises:
        PricingError: with every problem, as ``tiers[i].up_to``.
    """
    problems: list[Problem] = []
    if not bounds:
        problems.append(Problem("expected at least one tier", "tiers"))
    if len(bounds) > TIERS_MAX:
        problems.append(Problem(f"at most {TIERS_MAX} tiers", "tiers"))
    lower = ZERO
    for i, bound in enumerate(bounds):
        key = f"tiers[{i}].up_to"
        is_last = i == len(bounds) - 1
        if bound is None:
            if not is_last:
                problems.append(Problem("only the last tier is without up_to", key))
        elif bound <= lower:
            problems.append(
                Problem(f"tiers overlap: {bound} is not above {lower}", key)
            )
        elif is_last:
            problems.append(
                Problem(
                    "the last tier is missing: add one without up_to, for all usage "
                    f"above {bound}",
                    key,
                )
            )
        lower = max(lower, bound or ZERO)
    if problems:
        raise PricingError(problems)
