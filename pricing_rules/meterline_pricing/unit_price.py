"""The price models that charge for units; see ``price.py`` for all of them."""

from decimal import Decimal
from typing import Final, Literal

from meterline_pricing.errors import PricingError, Problem
from meterline_pricing.fields import Exact, check_positive, default
from meterline_pricing.money import ZERO, exact
from meterline_pricing.price_model import PriceModel
from meterline_pricing.tiers import (
    BlockTier,
    Step,
    Tier,
    bounds_of,
    capped_at,
    check_bounds,
    free_up_to,
    repeated,
    tier_key,
)

_STEPS_SHOWN: Final = 8  # of a price that goes on in equal steps


class Flat(PriceModel, frozen=True, tag_field="model", tag="flat"):
    """An amount per period, whatever was used."""

    amount: Exact

    @property
    def is_fixed(self) -> bool:
        """It is."""
        return True


class PerUnit(PriceModel, frozen=True, tag_field="model", tag="per_unit"):
    """Every unit at the same price."""

    unit_amount: Exact


class UnitTiers(PriceModel, frozen=True):
    """What ``Graduated`` and ``Volume`` have in common; no price by itself."""

    tiers: tuple[Tier, ...]
    flat_at_zero: bool = False
    """Whether the first tier's flat amount is due when nothing was used."""

    def __post_init__(self) -> None:
        """Check the tiers."""
        super().__post_init__()
        check_bounds([tier.up_to for tier in self.tiers])

    @property
    def included_units(self) -> Decimal:
        """What the first tiers hold, as far as they cost nothing by the unit."""
        return free_up_to(self.tiers)

    @property
    def edges(self) -> tuple[Decimal, ...]:
        """Where the tiers end, and where one of them costs no more."""
        edges = set(bounds_of(self.tiers))
        lower = ZERO
        with exact():
            for tier in self.tiers:
                if (units := capped_at(tier)) is not None:
                    capped = self._capped_from(lower) + units
                    if capped > lower and (tier.up_to is None or capped < tier.up_to):
                        edges.add(capped)
                lower = tier.up_to or lower
        return tuple(sorted(edges))

    def _capped_from(self, lower: Decimal) -> Decimal:
        """Return from where on the units of a tier count towards its maximum."""
        return lower

    @property
    def unit_tiers(self) -> tuple[Tier, ...]:
        """The tiers as they are."""
        return self.tiers


class Graduated(UnitTiers, frozen=True, tag_field="model", tag="graduated"):
    """Each unit at the price of the tier that it falls into."""

    @property
    def repeated_tiers(self) -> tuple[int, ...]:
        """Those with the unit amount of the last one, and nothing due on entering."""
        return repeated(
            [
                (None if tier.maximum is not None else tier.unit_amount, ZERO, None)
                for tier in self.tiers
            ],
            [(tier.unit_amount, tier.flat_amount, tier.maximum) for tier in self.tiers],
        )


class Volume(UnitTiers, frozen=True, tag_field="model", tag="volume"):
    """All units at the price of the tier that their total falls into.

    More usage can cost less: the total steps down where a cheaper tier begins.
    """

    tier_by: str | None = None
    """The meter whose quantity finds the tier, where it is not the one that is charged:
    seats find it, and the days that they were there are paid. Only on an invoice,
    which knows the usage of all meters; by itself the price has its own quantity."""

    @property
    def repeated_tiers(self) -> tuple[int, ...]:
        """Those with both amounts of the last one."""
        costs = [
            (tier.unit_amount, tier.flat_amount, tier.maximum) for tier in self.tiers
        ]
        return repeated(costs, costs)

    @property
    def also_reads(self) -> str | None:
        """The meter that finds the tier."""
        return self.tier_by

    def _capped_from(self, lower: Decimal) -> Decimal:
        """All units are in one tier."""
        return ZERO


class Package(PriceModel, frozen=True, tag_field="model", tag="package"):
    """Units in packages of ``size``; a package that was started is charged in full."""

    size: Exact
    amount: Exact
    round: Literal["up", "down"] = "up"
    """``down`` charges full packages only."""
    free_units: Exact = default(ZERO)
    """Taken off the quantity before the packages are counted."""

    def __post_init__(self) -> None:
        """Check that there are units in a package."""
        super().__post_init__()
        check_positive(self, "size")

    @property
    def included_units(self) -> Decimal:
        """The free units."""
        return self.free_units

    @property
    def edges(self) -> tuple[Decimal, ...]:
        """Where the first packages are full."""
        with exact():
            return tuple(
                self.free_units + self.size * i for i in range(_STEPS_SHOWN + 1)
            )


class Stairstep(PriceModel, frozen=True, tag_field="model", tag="stairstep"):
    """The amount of the step that the quantity reaches."""

    tiers: tuple[Step, ...]
    on_exceed: Literal["last", "error"] = "last"
    """What a quantity above the last step costs: what the last step costs, or an
    error. Nothing can exceed a last step without ``up_to``."""
    flat_at_zero: bool = False
    """Whether the first step's amount is due when nothing was used."""

    def __post_init__(self) -> None:
        """Check the steps."""
        super().__post_init__()
        check_bounds([step.up_to for step in self.tiers], may_end=True)

    @property
    def edges(self) -> tuple[Decimal, ...]:
        """Where the steps end."""
        return bounds_of(self.tiers)

    @property
    def end(self) -> Decimal | None:
        """Where the last step ends, if what is above it is an error."""
        return self.tiers[-1].up_to if self.on_exceed == "error" else None


class BlockTiers(PriceModel, frozen=True, tag_field="model", tag="block_tiers"):
    """Blocks of units, in tiers with their own block size and number of blocks.

    ``all`` fills one tier after the other and rounds what remains up to whole blocks
    in each. ``top`` finds the tier that the quantity reaches in the same way, and
    charges all units in blocks of that tier.
    """

    tiers: tuple[BlockTier, ...]
    mode: Literal["all", "top"] = "all"
    on_exceed: Literal["last", "error", "free"] = "last"
    """What is above the last tier's ``max_blocks``: goes on in the last tier, is an
    error, or is free (``all`` only)."""

    def __post_init__(self) -> None:
        """Check the tiers."""
        super().__post_init__()
        problems = [
            Problem(
                "only the last tier is without max_blocks", tier_key(i, "max_blocks")
            )
            for i, tier in enumerate(self.tiers[:-1])
            if tier.max_blocks is None
        ]
        if not self.tiers:
            problems.append(Problem("expected at least one tier", "tiers"))
        if self.mode == "top" and self.on_exceed == "free":
            problems.append(Problem("free is for mode = all only", "on_exceed"))
        if problems:
            raise PricingError(problems)

    @property
    def edges(self) -> tuple[Decimal, ...]:
        """Where the tiers are full; some blocks into one that never is."""
        edges = [ZERO]
        with exact():
            for tier in self.tiers:
                blocks = tier.max_blocks or Decimal(_STEPS_SHOWN)
                edges.append(edges[-1] + blocks * tier.block_size)
        return tuple(edges)

    @property
    def end(self) -> Decimal | None:
        """Where the last tier is full, if what is above it is an error."""
        has_end = self.on_exceed == "error" and self.tiers[-1].max_blocks is not None
        return self.edges[-1] if has_end else None


class Capacity(PriceModel, frozen=True, tag_field="model", tag="capacity"):
    """An amount that includes a quantity, and a price for each unit above it."""

    included: Exact
    amount: Exact
    """Due in any case, as a flat price is."""
    overage_unit_amount: Exact

    @property
    def included_units(self) -> Decimal:
        """What is included in the amount."""
        return self.included

    @property
    def edges(self) -> tuple[Decimal, ...]:
        """Where units begin to be charged for."""
        return (self.included,)
