"""Plans: what a customer agreed to, in which version, from when."""

from bisect import bisect_right
from datetime import date
from decimal import Decimal

from msgspec import Struct

from meterline_pricing.errors import NotFound, unknown
from meterline_pricing.money import Rounding
from meterline_pricing.price import Price


class RateCard(Struct, frozen=True, kw_only=True):
    """What one meter costs under a plan."""

    name: str
    """Unique in its plan; the meter's name unless the plan says otherwise."""
    meter: str | None = None
    """The meter whose usage is charged; ``None`` for a fee that needs none."""
    price: Price
    description: str = ""
    """What the invoice line says; the name where it is empty."""


class PlanTest(Struct, frozen=True, kw_only=True):
    """An example that ``meterline check`` runs: this usage costs this total."""

    name: str
    usage: dict[str, Decimal]
    total: Decimal
    line: int | None = None
    """Where it stands in the file."""


class Plan(Struct, frozen=True, kw_only=True):
    """One version of a plan: what everything costs from its effective date on."""

    name: str
    version: int
    effective: date
    """The first day on which this version holds."""
    currency: str
    """A code of ISO 4217 in lower case."""
    prices: tuple[RateCard, ...] = ()
    rounding: Rounding = "half_up"
    tests: tuple[PlanTest, ...] = ()

    def price_of(self, meter: str) -> RateCard:
        """Return the rate card of a meter.

        Raises:
            NotFound: this plan does not charge for ``meter``; names the nearest.
        """
        for card in self.prices:
            if card.meter == meter:
                return card
        meters = [card.meter for card in self.prices if card.meter]
        raise NotFound(unknown("meter", meter, meters))


class Catalogue(Struct, frozen=True):
    """All plans of a price list, in all their versions."""

    plans: tuple[Plan, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the plans, sorted, each once."""
        return tuple(sorted({plan.name for plan in self.plans}))

    def versions(self, name: str) -> tuple[Plan, ...]:
        """Return every version of a plan, the earliest effective date first.

        Raises:
            NotFound: no plan has this name; names the nearest.
        """
        found = [plan for plan in self.plans if plan.name == name]
        if not found:
            raise NotFound(unknown("plan", name, self.names))
        return tuple(sorted(found, key=lambda plan: plan.effective))

    def plan(self, name: str, *, at: date | None = None) -> Plan:
        """Return the version of a plan that holds on the day ``at``.

        Without a day the newest version, be it effective yet or not.

        Raises:
            NotFound: no plan has this name, or none of its versions holds yet.
        """
        versions = self.versions(name)
        if at is None:
            return versions[-1]
        held = bisect_right(versions, at, key=lambda plan: plan.effective)
        if not held:
            raise NotFound(
                f"plan `{name}` is not effective on {at}: its first version starts on "
                f"{versions[0].effective}"
            )
        return versions[held - 1]
