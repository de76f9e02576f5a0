"""Plans: what a customer agreed to, in which version, from when."""

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
    """What one meter costs under a plan, with terms for this meter alone."""

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
        check_limits(self.minimum_spend, self.maximum_spend)
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

    @property
    def identity(self) -> tuple[str | None, str]:
        """What it is known by in all plans: its meter, or the name of a fee."""
        return self.meter, "" if self.meter else self.name


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
    tiers_on_change: Literal["restart", "continue"] = "restart"
    """Where a price is new in the middle of a period: whether its tiers and free units
    begin anew, or behind what was used in the period before."""
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
        check_limits(self.minimum_spend, self.maximum_spend)
        if self.trial_days is not None:
            check_range(self, "trial_days", 0, TRIAL_DAYS_MAX)
        problems = repeated(self.prices)
        names = {card.name for card in self.prices}
        for field in SCOPED:
            terms: tuple[Discount | Coupon | Credit | Tax, ...] = getattr(self, field)
            for i, term in enumerate(terms):
                for j, name in enumerate(term.on):
                    if name not in names and name != OF_NO_PRICE:
                        key = f"{field}[{i}].on[{j}]"
                        problems.append(Problem(unknown("price", name, names), key))
        for i, discount in enumerate(self.discounts):
            if discount.units is not None:
                message = "only a price can have a discount in units: write it there"
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

        Nothing is to be reached either: limits and commitments of the whole plan begin
        behind it, with their share, and so do coupons. Nor does an amount off give
        anything here: it is there for what costs something.
        """
        cards = tuple(
            replace(
                card,
                discounts=(
                    *(one for one in card.discounts if one.amount is None),
                    FREE_TRIAL,
                ),
                minimum_spend=None,
                commitment=None,
            )
            for card in self.prices
        )
        return replace(
            self,
            prices=cards,
            minimum_spend=None,
            maximum_spend=None,
            commitment=None,
            discounts=(),
            coupons=(),
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
OF_NO_PRICE: Final = ""
"""Stands in ``on`` for what belongs to no price, such as a minimum of all together."""
SCOPED: Final = ("discounts", "coupons", "credits", "taxes")


def beside_prices(plan: Plan) -> tuple[str, ...]:
    """Return what stands for lines of no price in ``on``, where a plan may have some."""
    has_some = plan.minimum_spend is not None or plan.commitment is not None
    return (OF_NO_PRICE,) if has_some else ()


def repeated(cards: Iterable[RateCard]) -> list[Problem]:
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


def check_limits(low: Decimal | None, high: Decimal | None) -> None:
    """Refuse a minimum above the maximum."""
    if low is not None and high is not None and low > high:
        message = f"{high} is below minimum_spend {low}"
        raise PricingError(Problem(message, "maximum_spend"))
