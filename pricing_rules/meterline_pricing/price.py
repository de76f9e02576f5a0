"""How one meter is charged: the price models, as plain data that checks itself.

Every number may be given as a ``Decimal``, an ``int`` or a text such as ``"0.001"``
and is a ``Decimal`` afterwards; a float is refused. Amounts are in major units
(dollars, not cents), rates in percent. A price that makes no sense can not be built:
its constructor raises ``PricingError`` with every problem, each under its field.
"""

from decimal import Decimal
from typing import Literal

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
from meterline_pricing.tiers import (
    BlockTier,
    PercentTier,
    Step,
    Tier,
    check_bounds,
    tier_key,
)


class Flat(Checked, frozen=True, tag_field="model", tag="flat"):
    """An amount per period, whatever was used."""

    amount: Exact


class PerUnit(Checked, frozen=True, tag_field="model", tag="per_unit"):
    """Every unit at the same price."""

    unit_amount: Exact


class Graduated(Checked, frozen=True, tag_field="model", tag="graduated"):
    """Each unit at the price of the tier that it falls into."""

    tiers: tuple[Tier, ...]
    flat_at_zero: bool = False
    """Whether the first tier's flat amount is due when nothing was used."""

    def __post_init__(self) -> None:
        """Check the tiers."""
        super().__post_init__()
        check_bounds([tier.up_to for tier in self.tiers])


class Volume(Checked, frozen=True, tag_field="model", tag="volume"):
    """All units at the price of the tier that their total falls into.

    More usage can cost less: the total steps down where a cheaper tier begins.
    """

    tiers: tuple[Tier, ...]
    flat_at_zero: bool = False
    """Whether the first tier's flat amount is due when nothing was used."""

    def __post_init__(self) -> None:
        """Check the tiers."""
        super().__post_init__()
        check_bounds([tier.up_to for tier in self.tiers])


class Package(Checked, frozen=True, tag_field="model", tag="package"):
    """Units in packages of ``size``; a package that was begun is charged whole."""

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


class Stairstep(Checked, frozen=True, tag_field="model", tag="stairstep"):
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


class BlockTiers(Checked, frozen=True, tag_field="model", tag="block_tiers"):
    """Blocks of units, in tiers that each hold a number of blocks of their own size.

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


class Capacity(Checked, frozen=True, tag_field="model", tag="capacity"):
    """A quantity that is included in an amount, and a price for each unit above it."""

    included: Exact
    amount: Exact
    """Due in any case, as a flat price is."""
    overage_unit_amount: Exact


class Percentage(
    Checked, frozen=True, kw_only=True, tag_field="model", tag="percentage"
):
    """A percentage of an amount, and a fixed amount for each event.

    With ``rate`` alone, or with ``free_amount`` beside it, the total is enough.
    Everything else needs the amount of every event, in order.
    """

    rate: Exact
    """Percent: ``"2.9"`` is 2.9 %."""
    fixed: Exact = default(ZERO)
    """For each event that is not free."""
    free_events: Exact = default(ZERO)
    """How many events are free, from the first on; 0 is no such limit."""
    free_amount: Exact = default(ZERO)
    """How much of the amount is free, from the first event on; 0 is no such limit."""
    free_rule: Literal["smaller", "first_limit"] = "smaller"
    """What is free when there are two limits. In both rules it ends with the limit
    that is reached first; they differ for the event that reaches ``free_amount`` to
    the cent: ``smaller`` charges its fixed amount, ``first_limit`` does not."""
    minimum: ExactOrNone = default(None)
    """The least that an event costs, unless all of it is free."""
    maximum: ExactOrNone = default(None)
    """The most that an event costs."""

    def __post_init__(self) -> None:
        """Check that the free events can be counted, and that the bounds have room."""
        super().__post_init__()
        check_whole(self, "free_events")
        if (
            self.minimum is not None
            and self.maximum is not None
            and self.minimum > self.maximum
        ):
            raise PricingError(
                Problem(f"{self.maximum} is below minimum {self.minimum}", "maximum")
            )

    @property
    def needs_events(self) -> bool:
        """Whether a total is not enough to rate this price."""
        return bool(
            self.fixed
            or self.free_events
            or self.minimum is not None
            or self.maximum is not None
        )


class GraduatedPercentage(
    Checked, frozen=True, tag_field="model", tag="graduated_percentage"
):
    """Each part of an amount at the percentage of the tier that it falls into."""

    tiers: tuple[PercentTier, ...]
    flat_at_zero: bool = False
    """Whether the first tier's flat amount is due when the amount is zero."""

    def __post_init__(self) -> None:
        """Check the tiers."""
        super().__post_init__()
        check_bounds([tier.up_to for tier in self.tiers])


class Dynamic(Checked, frozen=True, tag_field="model", tag="dynamic"):
    """The events carry the amount; it is multiplied, for a margin or a discount."""

    multiplier: Exact = default(Decimal(1))


class Cell(Checked, frozen=True, kw_only=True):
    """The price of some dimension values in a matrix."""

    values: dict[str, str]
    """Dimension to value; a dimension that is left out matches every value."""
    price: "Price"


class Matrix(Checked, frozen=True, tag_field="model", tag="matrix"):
    """A price per combination of dimension values; the most specific cell wins.

    Most specific is the cell that names the most dimensions; of two that name as
    many, the one that names the earlier dimension. Usage that falls into one cell is
    added up before it is rated.
    """

    dimensions: tuple[str, ...]
    cells: tuple[Cell, ...]
    default: "Price | None" = None
    """For what no cell matches; without it, that is an error."""

    def __post_init__(self) -> None:
        """Check that every cell is a combination of these dimensions, and the only one.

        Raises:
            PricingError: otherwise, with every problem as ``cells[i].values``.
        """
        super().__post_init__()
        problems: list[Problem] = []
        if not self.dimensions or len(set(self.dimensions)) < len(self.dimensions):
            problems.append(Problem("expected names, each once", "dimensions"))
        seen: set[frozenset[tuple[str, str]]] = set()
        for i, cell in enumerate(self.cells):
            values = frozenset(cell.values.items())
            if strange := sorted(cell.values.keys() - set(self.dimensions)):
                names = ", ".join(strange)
                problems.append(
                    Problem(f"not a dimension: {names}", f"cells[{i}].values")
                )
            if values in seen:
                problems.append(
                    Problem("a second cell for these values", f"cells[{i}].values")
                )
            seen.add(values)
        if problems:
            raise PricingError(problems)


class PerGroup(Checked, frozen=True, tag_field="model", tag="per_group"):
    """Another price, applied to each group of usage by itself, then added up.

    A group is a combination of dimension values; a time bucket is a dimension like
    any other (``by = ["hour"]``).
    """

    price: "Price"
    by: tuple[str, ...] = ()
    """The dimensions that make a group; empty for all that the usage has."""


Price = (
    Flat
    | PerUnit
    | Graduated
    | Volume
    | Package
    | Stairstep
    | BlockTiers
    | Capacity
    | Percentage
    | GraduatedPercentage
    | Dynamic
    | Matrix
    | PerGroup
)
"""Any of the models. Told apart in JSON by the key ``model``."""
