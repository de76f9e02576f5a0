"""A price list: all plans in all their versions, and what single customers have otherwise."""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import date
from typing import Final

from msgspec.structs import replace

from meterline_pricing.errors import NotFound, PricingError, Problem, unknown
from meterline_pricing.fields import Checked, ExactOrNone, check_range, default
from meterline_pricing.plan import (
    SCOPED,
    TRIAL_DAYS_MAX,
    Plan,
    RateCard,
    check_limits,
    repeated,
)
from meterline_pricing.terms import Commitment, Coupon, Credit, Discount, Tax


class Override(Checked, frozen=True, kw_only=True):
    """What one customer pays instead, in all versions of a plan.

    What is not given here stays as the plan has it.
    """

    customer: str
    plan: str
    prices: tuple[RateCard, ...] = ()
    """Each takes the place of the plan's price of that name, or comes after all."""
    minimum_spend: ExactOrNone = default(None)
    maximum_spend: ExactOrNone = default(None)
    commitment: Commitment | None = None
    discounts: tuple[Discount, ...] | None = None
    coupons: tuple[Coupon, ...] | None = None
    credits: tuple[Credit, ...] | None = None
    taxes: tuple[Tax, ...] | None = None
    trial_days: int | None = None

    def __post_init__(self) -> None:
        """Check the limits, and that no price is there twice."""
        super().__post_init__()
        check_limits(self.minimum_spend, self.maximum_spend)
        if self.trial_days is not None:
            check_range(self, "trial_days", 0, TRIAL_DAYS_MAX)
        if problems := repeated(self.prices):
            raise PricingError(problems)

    def applied_to(self, plan: Plan) -> Plan:
        """Return ``plan`` as this customer has it.

        Raises:
            PricingError: together they make no sense.
        """
        mine = {card.name: card for card in self.prices}
        cards = [mine.pop(card.name, card) for card in plan.prices]
        given = {
            name: getattr(self, name)
            for name in _OVERRIDDEN
            if getattr(self, name) is not None
        }
        return replace(plan, prices=(*cards, *mine.values()), **given)


_OVERRIDDEN: Final = (
    *SCOPED,
    *("minimum_spend", "maximum_spend", "commitment", "trial_days"),
)


def catalogue_problems(
    plans: Iterable[Plan],
    overrides: Iterable[Override | None],
    names: tuple[str, str] = ("plans", "overrides"),
) -> list[Problem]:
    """Return what is wrong with plans and overrides beside each other.

    ``None`` stands for an override that could not be read. ``names`` starts the keys.
    """
    problems: list[Problem] = []
    first, second = names
    seen: set[tuple[str, str, object]] = set()
    known: set[str] = set()
    for i, plan in enumerate(plans):
        known.add(plan.name)
        for key, value in (("version", plan.version), ("effective", plan.effective)):
            if (plan.name, key, value) in seen:
                message = f"plan `{plan.name}` has {key} {value} already"
                problems.append(Problem(message, f"{first}[{i}].{key}"))
            seen.add((plan.name, key, value))
    for i, override in enumerate(overrides):
        if override is not None and override.plan not in known:
            message = unknown("plan", override.plan, known)
            problems.append(Problem(message, f"{second}[{i}].plan"))
    return problems


class Catalogue(Checked, frozen=True):
    """All plans of a price list, in all their versions."""

    plans: tuple[Plan, ...] = ()
    overrides: tuple[Override, ...] = ()

    def __post_init__(self) -> None:
        """Check that no version is there twice, and that overrides have a plan.

        Raises:
            PricingError: otherwise, with every problem.
        """
        super().__post_init__()
        if problems := catalogue_problems(self.plans, self.overrides):
            raise PricingError(problems)

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

    def plan(
        self, name: str, *, at: date | None = None, customer: str | None = None
    ) -> Plan:
        """Return the version of a plan that holds on the day ``at``.

        Without a day the newest version, be it effective yet or not. With a customer
        the plan as this customer has it.

        Raises:
            NotFound: no plan has this name, or none of its versions holds yet.
        """
        versions = self.versions(name)
        held = bisect_right(versions, at, key=lambda plan: plan.effective) if at else -1
        if not held:
            raise NotFound(
                f"plan `{name}` is not effective on {at}: its first version starts on "
                f"{versions[0].effective}"
            )
        plan = versions[held - 1] if at else versions[-1]
        for override in self.overrides:
            if (override.customer, override.plan) == (customer, name):
                plan = override.applied_to(plan)
        return plan
