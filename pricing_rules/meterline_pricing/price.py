"""How one meter is charged: the price models, as plain data that checks itself.

Every number may be given as a ``Decimal``, an ``int`` or a text such as ``"0.001"``
and is a ``Decimal`` afterwards; a float is refused. Amounts are in major units
(dollars, not cents), rates in percent. A price that makes no sense cannot be built:
its constructor raises ``PricingError`` with every problem, each under its field.

Here are the models of amounts and of groups, those of units are in ``unit_price.py``.
What a price says about itself: ``price_model.py``. How to add a model: ``CONTRIBUTING.md``.
"""

from decimal import Decimal
from typing import Literal

from meterline_pricing.errors import PricingError, Problem
from meterline_pricing.fields import Checked, Exact, ExactOrNone, check_whole, default
from meterline_pricing.money import ZERO
from meterline_pricing.price_model import PriceModel
from meterline_pricing.tiers import PercentTier, bounds_of, check_bounds, repeated
from meterline_pricing.unit_price import (
    BlockTiers,
    Capacity,
    Flat,
    Graduated,
    Package,
    PerUnit,
    Stairstep,
    Volume,
)


class Percentage(
    PriceModel, frozen=True, kw_only=True, tag_field="model", tag="percentage"
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
    def takes_amounts(self) -> bool:
        """It does."""
        return True

    @property
    def edges(self) -> tuple[Decimal, ...]:
        """Where the free amount is used up."""
        return (self.free_amount,)

    @property
    def needs_events(self) -> bool:
        """Whether something is due, free or bounded by the event."""
        return bool(
            self.fixed
            or self.free_events
            or self.minimum is not None
            or self.maximum is not None
        )


class GraduatedPercentage(
    PriceModel, frozen=True, tag_field="model", tag="graduated_percentage"
):
    """Each part of an amount at the percentage of the tier that it falls into."""

    tiers: tuple[PercentTier, ...]
    flat_at_zero: bool = False
    """Whether the first tier's flat amount is due when the amount is zero."""

    def __post_init__(self) -> None:
        """Check the tiers."""
        super().__post_init__()
        check_bounds([tier.up_to for tier in self.tiers])

    @property
    def takes_amounts(self) -> bool:
        """It does."""
        return True

    @property
    def edges(self) -> tuple[Decimal, ...]:
        """Where the tiers end."""
        return bounds_of(self.tiers)

    @property
    def repeated_tiers(self) -> tuple[int, ...]:
        """Those with the rate of the last one, and nothing due on entering."""
        return repeated(
            [(tier.rate, ZERO) for tier in self.tiers],
            [(tier.rate, tier.flat_amount) for tier in self.tiers],
        )


class Dynamic(PriceModel, frozen=True, tag_field="model", tag="dynamic"):
    """The events carry the amount, which is multiplied, for a margin or a discount."""

    multiplier: Exact = default(Decimal(1))

    @property
    def takes_amounts(self) -> bool:
        """It does."""
        return True


class Cell(Checked, frozen=True, kw_only=True):
    """The price of some dimension values in a matrix."""

    values: dict[str, str]
    """Dimension to value; a dimension that is left out matches every value."""
    price: "Price"


class Matrix(PriceModel, frozen=True, tag_field="model", tag="matrix"):
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

    @property
    def inner(self) -> tuple[PriceModel, ...]:
        """The prices of the cells, and the default."""
        prices = (*(cell.price for cell in self.cells), self.default)
        return tuple(price for price in prices if price is not None)

    @property
    def grouped_by(self) -> tuple[str, ...]:
        """The dimensions of the cells."""
        return self.dimensions


class PerGroup(PriceModel, frozen=True, tag_field="model", tag="per_group"):
    """Another price, applied to each group of usage separately and then added up.

    A group is a combination of dimension values; a time bucket is a dimension like
    any other (``by = ["hour"]``).
    """

    price: "Price"
    by: tuple[str, ...] = ()
    """The dimensions that make a group; empty for all that the usage has."""

    @property
    def inner(self) -> tuple[PriceModel, ...]:
        """The price of a group."""
        return (self.price,)

    @property
    def grouped_by(self) -> tuple[str, ...]:
        """The dimensions that make a group."""
        return self.by

    @property
    def edges(self) -> tuple[Decimal, ...]:
        """Those of one group."""
        return self.price.edges

    @property
    def end(self) -> Decimal | None:
        """That of one group."""
        return self.price.end


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
