"""What every price model answers about itself, so that nobody asks which one it is.

Whoever prices, draws, checks or shows prices reads these properties. A model
overrides those that it answers otherwise, and everybody knows it. How to add a model:
``CONTRIBUTING.md``.
"""

from decimal import Decimal

from meterline_pricing.fields import Checked
from meterline_pricing.money import ZERO
from meterline_pricing.tiers import Tier


class PriceModel(Checked, frozen=True):
    """What all price models have in common: answers that hold for most of them."""

    @property
    def model(self) -> str:
        """Its name in ``pricing.toml`` and in JSON: ``per_unit``."""
        return str(self.__struct_config__.tag)

    @property
    def is_fixed(self) -> bool:
        """Whether it costs the same whatever was used, and so needs no meter."""
        return False

    @property
    def inner(self) -> "tuple[PriceModel, ...]":
        """The prices that it is made of."""
        return ()

    @property
    def takes_amounts(self) -> bool:
        """Whether it is a price of money that passed, not of units."""
        return any(price.takes_amounts for price in self.inner)

    @property
    def needs_events(self) -> bool:
        """Whether it needs the amount of every event, where a total is not enough.

        Without ``inner``: each of those answers for itself.
        """
        return False

    @property
    def also_reads(self) -> str | None:
        """The meter that it looks at beside the one that it charges for."""
        return None

    @property
    def grouped_by(self) -> tuple[str, ...] | None:
        """The dimensions by which it tells usage apart; empty for all there are.

        ``None`` where only the sum of all groups counts.
        """
        return None

    @property
    def told_apart_by(self) -> tuple[str, ...] | None:
        """``grouped_by`` with the dimensions of the prices that are in it."""
        own = self.grouped_by
        if not own:
            return own
        inner = [price.told_apart_by for price in self.inner]
        if () in inner:
            return ()
        return tuple(
            dict.fromkeys([*own, *(name for by in inner for name in by or ())])
        )

    @property
    def included_units(self) -> Decimal:
        """How many units cost nothing by the unit; 0 for none, or for all."""
        return ZERO

    @property
    def edges(self) -> tuple[Decimal, ...]:
        """The quantities after which the cost can jump or bend, rising."""
        return ()

    @property
    def end(self) -> Decimal | None:
        """The last quantity that it has an answer for, if there is one."""
        return None

    @property
    def unit_tiers(self) -> tuple[Tier, ...]:
        """The tiers of its units, where a list of them says what it costs."""
        return ()

    @property
    def repeated_tiers(self) -> tuple[int, ...]:
        """The tiers, from 0, that change nothing: they cost what the last one does."""
        return ()
