"""Plans: what a customer agreed to, in which version, from when."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Final, Literal

from msgspec.structs import force_setattr, replace

from meterline_pricing.errors import NotFound, PricingError, Problem, unknown
from meterline_pricing.fields import (
    Checked,
    Exact,
    ExactOrNone,
    Field,
    check_range,
    default,
)
from meterline_pricing.grid import Length
from meterline_pricing.money import ZERO, Rounding, currency_of
from meterline_pricing.numbers import Number
from meterline_pricing.order import Order, preset
from meterline_pricing.price import PerGroup, Price
from meterline_pricing.price_model import PriceModel
from meterline_pricing.rating import rate
from meterline_pricing.terms import (
    Commitment,
    Conversion,
    Coupon,
    Credit,
    Discount,
    Tax,
)
from meterline_pricing.usage import Amounts, Groups

ALWAYS: Final = date(1970, 1, 1)
"""The effective date of a plan that names none."""


class RateCard(Checked, frozen=True, kw_only=True):
    """What one meter costs under a plan, with what is agreed for this meter alone."""

    price: Price
    meter: str | None = None
    """The meter whose usage is charged; ``None`` for a fee that needs none."""
    name: str = ""
    """Unique in its plan; the meter's name unless the plan says otherwise."""
    description: str = ""
    """What the invoice line says; the name where it is empty."""
    source: str = ""
    """Where its numbers are from, as whoever wrote them down notes it."""
    convert: Conversion = Conversion()
    """Applied to the quantity before anything else."""
    free_units: Exact = default(ZERO)
    """Not charged for, from the first unit of the period on; counted after
    ``convert``."""
    discounts: tuple[Discount, ...] = ()
    minimum_spend: ExactOrNone = default(None)
    """What is missing from it is a line of its own."""
    maximum_spend: ExactOrNone = default(None)
    commitment: Commitment | None = None

    def __post_init__(self) -> None:
        """Fill in the names, and check that the parts fit each other.

        Raises:
            PricingError: they do not; with every problem under its field.
        """
        super().__post_init__()
        _check_limits(self)
        name = self.name or self.meter or ""
        force_setattr(self, "name", name)
        force_setattr(self, "description", self.description or name)
        problems: list[Problem] = []
        if not name:
            message = "missing: expected a meter, or a name for a fee"
            problems.append(Problem(message, "meter"))
        elif self.meter is None and not self.price.is_fixed:
            problems.append(Problem("missing: only a flat price needs none", "meter"))
        for i, discount in enumerate(self.discounts):
            if discount.on:
                message = "a discount of a price applies to that price alone"
                problems.append(Problem(message, f"discounts[{i}].on"))
        if any(_reads_another(price) for price in self.price.inner):
            message = "only a price that is in no other one can look at another meter"
            problems.append(Problem(message, "price.tier_by"))
        if self.commitment:
            problems += _commitment_problems(self.commitment, self.price)
        if problems:
            raise PricingError(problems)


def _reads_another(price: PriceModel) -> bool:
    return price.also_reads is not None or any(map(_reads_another, price.inner))


def committed_amount(commitment: Commitment, price: Price) -> Decimal:
    """Return the amount that the commitment of a price stands for, in each group.

    Raises:
        PricingError: the price cannot tell what a bare quantity costs.
    """
    if commitment.quantity is None:
        return commitment.amount or ZERO
    each = price.price if isinstance(price, PerGroup) else price
    return rate(each, commitment.quantity).amount


def _commitment_problems(commitment: Commitment, price: Price) -> list[Problem]:
    problems: list[Problem] = []
    if commitment.per == "group" and not isinstance(price, PerGroup):
        message = "a commitment per group needs a per_group price"
        problems.append(Problem(message, "commitment.per"))
    try:
        committed_amount(commitment, price)
    except PricingError as error:
        problems.extend(error.within("commitment.quantity").problems)
    return problems


class PlanTest(Checked, frozen=True, kw_only=True):
    """An example that ``meterline check`` runs: this usage costs this total."""

    usage: Field[
        dict[str, Decimal | Amounts | Groups], Mapping[str, Number | Amounts | Groups]
    ]
    total: Exact
    name: str = "test"
    line: int | None = None
    """Where it stands in the file."""


class Plan(Checked, frozen=True, kw_only=True):
    """One version of a plan: what everything costs from its effective date on."""

    name: str
    currency: str
    """A code of ISO 4217; lower case afterwards."""
    version: int = 1
    effective: date = ALWAYS
    """The first day on which this version holds."""
    period: Length = "month"
    """How long a period is: what its fees are for, and how far its tiers reach."""
    trial_days: int | None = None
    """For how many days from the first one on a customer has it for nothing."""
    prices: tuple[RateCard, ...] = ()
    rounding: Rounding = "half_up"
    order: Field[Order, Order | str] = default(Order())
    """The steps of an invoice; may be given by the name of a preset: ``"lago"``."""
    prorate: Literal["day", "second", "none"] = "day"
    """How fees, limits and commitments are cut when a plan holds for a part of a
    period: by its share of the days, of the seconds, or not at all."""
    discounts: tuple[Discount, ...] = ()
    minimum_spend: ExactOrNone = default(None)
    """For all prices together, before coupons."""
    maximum_spend: ExactOrNone = default(None)
    commitment: Commitment | None = None
    coupons: tuple[Coupon, ...] = ()
    credits: tuple[Credit, ...] = ()
    taxes: tuple[Tax, ...] = ()
    tests: tuple[PlanTest, ...] = ()

    def __post_init__(self) -> None:
        """Check that the parts fit each other.

        Raises:
            PricingError: they do not; with every problem under its field.
        """
        if isinstance(self.order, str):
            force_setattr(self, "order", preset(self.order))
        super().__post_init__()
        try:
            force_setattr(self, "currency", currency_of(self.currency).code)
        except NotFound as error:
            raise error.within("currency") from error
        _check_limits(self)
        _check_trial(self)
        problems = _repeated(self.prices)
        names = {card.name for card in self.prices}
        for field in _SCOPED:
            terms: tuple[Discount | Coupon | Credit | Tax, ...] = getattr(self, field)
            for i, term in enumerate(terms):
                for j, name in enumerate(term.on):
                    if name not in names:
                        key = f"{field}[{i}].on[{j}]"
                        problems.append(Problem(unknown("price", name, names), key))
        for i, discount in enumerate(self.discounts):
            if discount.units is not None:
                message = "units can be taken off a price only: write this there"
                problems.append(Problem(message, f"discounts[{i}].units"))
        if self.commitment and (self.commitment.amount is None):
            message = "missing: a plan commits to an amount, not to a quantity"
            problems.append(Problem(message, "commitment.amount"))
        if self.commitment and self.commitment.per == "group":
            message = "only the commitment of a price can be per group"
            problems.append(Problem(message, "commitment.per"))
        if problems:
            raise PricingError(problems)

    @property
    def on_trial(self) -> "Plan":
        """This plan in a free trial: everything has a price, and costs nothing.

        Nothing is to be reached either: minimums and commitments begin behind it, and
        so do coupons.
        """
        cards = tuple(
            replace(
                card,
                discounts=(*card.discounts, FREE_TRIAL),
                minimum_spend=None,
                commitment=None,
            )
            for card in self.prices
        )
        return replace(
            self, prices=cards, minimum_spend=None, commitment=None, coupons=()
        )

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


FREE_TRIAL: Final = Discount(name="free trial", percent=100)
TRIAL_DAYS_MAX: Final = 3_650
_SCOPED: Final = ("discounts", "coupons", "credits", "taxes")


class Override(Checked, frozen=True, kw_only=True):
    """What one customer pays otherwise than the plan says, in all its versions.

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
        _check_limits(self)
        _check_trial(self)
        if problems := _repeated(self.prices):
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
    *_SCOPED,
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


def _repeated(cards: Iterable[RateCard]) -> list[Problem]:
    """Return a problem for every price whose meter or name another one has."""
    problems: list[Problem] = []
    meters: Counter[str] = Counter()
    names: Counter[str] = Counter()
    for i, card in enumerate(cards):
        meters[card.meter or ""] += 1
        names[card.name] += 1
        if card.meter and meters[card.meter] > 1:
            message = f"two prices for one meter `{card.meter}`"
            problems.append(Problem(message, f"prices[{i}].meter"))
        elif names[card.name] > 1:
            message = f"two prices of one name `{card.name}`"
            problems.append(Problem(message, f"prices[{i}].name"))
    return problems


def _check_trial(struct: Plan | Override) -> None:
    if struct.trial_days is not None:
        check_range(struct, "trial_days", 0, TRIAL_DAYS_MAX)


def _check_limits(struct: RateCard | Plan | Override) -> None:
    """Refuse a minimum above the maximum."""
    low, high = struct.minimum_spend, struct.maximum_spend
    if low is not None and high is not None and low > high:
        message = f"{high} is below minimum_spend {low}"
        raise PricingError(Problem(message, "maximum_spend"))
