"""The shape of ``pricing.toml``: plans, what is agreed beside prices, overrides."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, cast, get_args

from msgspec.structs import replace

from meterline_pricing.catalogue import Catalogue, Override, catalogue_problems
from meterline_pricing.errors import PricingError, Problem
from meterline_pricing.grid import Length
from meterline_pricing.money import ROUNDINGS, ZERO, currency_of
from meterline_pricing.order import ORDERS, STEPS, Order, StepName
from meterline_pricing.plan import (
    TRIAL_DAYS_MAX,
    Plan,
    PlanTest,
    RateCard,
)
from meterline_pricing.terms import (
    Commitment,
    Conversion,
    Coupon,
    Credit,
    Discount,
    Tax,
)
from meterline_pricing.toml.llm_shapes import BY_CATALOGUE, ByCatalogue
from meterline_pricing.toml.plan_checks import never_pays, of_one_name, second_tables
from meterline_pricing.toml.price_shapes import (
    FLAG,
    NAMES,
    NUMBER,
    WORD,
    needed,
    priced,
)
from meterline_pricing.toml.shape import Key, Named, Nested, NestedMany, One, Plain
from meterline_pricing.toml.source import (
    DATE,
    DECIMAL,
    TEXT,
    Kind,
    Table,
    Unfit,
    integer,
    one_of,
)
from meterline_pricing.unit_price import Flat
from meterline_pricing.usage import Amounts, Group, Groups


def _check_currency(value: object) -> str:
    if not isinstance(value, str):
        raise Unfit
    return currency_of(value).code


def _check_order(value: object) -> Order:
    if isinstance(value, str):
        return ORDERS[one_of("order", ORDERS).check(value)]
    if isinstance(value, list):
        value = cast("list[object]", value)
        return Order(cast("tuple[StepName, ...]", tuple(value)))
    raise Unfit


def _check_usage(value: object) -> Decimal | Amounts | Groups:
    if not isinstance(value, list):
        return DECIMAL.check(value)
    items = cast("list[object]", value)
    if items and all(isinstance(item, dict) for item in items):
        rows = cast("list[dict[str, object]]", items)
        return Groups(tuple(_group(dict(row)) for row in rows))
    return Amounts(tuple(DECIMAL.check(item) for item in items))


def _group(row: dict[str, object]) -> Group:
    """Return the group that an inline table describes."""
    amounts = row.pop("amounts", None)
    quantity = row.pop("quantity", None)
    if (amounts is None) == (quantity is None):
        raise Unfit("expected a quantity or amounts beside the dimension values")
    usage = _check_usage(quantity if amounts is None else amounts)
    if isinstance(usage, Groups):
        raise Unfit("groups cannot be nested")
    return Group({name: TEXT.check(text) for name, text in row.items()}, usage)


CURRENCY: Final = Kind(
    'a currency such as "usd"', _check_currency, "usd", {"type": "string"}
)
ORDER: Final = Kind(
    "the name of an order, or its steps",
    _check_order,
    Order(),
    {
        "oneOf": [
            {"enum": list(ORDERS)},
            {"type": "array", "items": {"enum": list(STEPS)}},
        ]
    },
)
USAGE: Final[Kind[Decimal | Amounts | Groups]] = Kind(
    "a quantity, an array of the events' amounts, or an array of groups",
    _check_usage,
    ZERO,
    {
        "anyOf": [
            dict(DECIMAL.schema),
            {"type": "array", "items": dict(DECIMAL.schema)},
            {"type": "array", "items": {"type": "object"}},
        ]
    },
)

ON: Final = Key("on", NAMES, "The names of the prices it applies to; all without it.")


def _as_counted(table: Table, values: Mapping[str, Any]) -> Conversion:
    return Conversion()


CONVERSION: Final = Plain(
    "conversion",
    (
        Key("per", NUMBER, "Divides the quantity."),
        Key("times", NUMBER, "Multiplies the quantity."),
        Key(
            "round",
            One(one_of("rounding", ("none", "up", "down", "half_up"))),
            "How the priced quantity is rounded.",
        ),
        Key("precision", One(integer(minimum=-12, maximum=12)), "Decimals to keep."),
    ),
    Conversion,
    _as_counted,
)
OFF: Final = (
    Key("name", WORD, "The text on the invoice."),
    Key("amount", NUMBER, "Money off; or `percent`."),
    Key("percent", NUMBER, "Percent off; or `amount`."),
)
CARD_DISCOUNT: Final = Plain(
    "price_discount",
    (*OFF, Key("units", NUMBER, "Off the quantity.")),
    Discount,
    lambda table, values: Discount(percent=ZERO),
)
DISCOUNT: Final = Plain(
    "discount", (*OFF, ON), Discount, lambda table, values: Discount(percent=ZERO)
)
COUPON: Final = Plain(
    "coupon",
    (
        *OFF,
        ON,
        Key(
            "periods",
            One(integer(minimum=1, maximum=1_200)),
            "For how many periods; all without it.",
        ),
    ),
    Coupon,
    lambda table, values: Coupon(percent=ZERO),
)
CREDIT: Final = Plain(
    "credit",
    (
        Key(
            "name",
            WORD,
            "Its name on the invoice, and its identity, so do not change it.",
        ),
        needed("amount", "What was paid in advance."),
        ON,
        Key(
            "every",
            One(one_of("every", ("once", "period"))),
            "`once`: used up over time. `period`: this much in each period.",
        ),
        Key("starts", One(DATE), "The first day on which it pays."),
        Key("expires", One(DATE), "The last day on which it pays."),
    ),
    Credit,
    lambda table, values: Credit(amount=ZERO),
    never_pays,
)
TAX: Final = Plain(
    "tax",
    (
        Key("name", WORD, "The text on the invoice."),
        needed("percent", "The rate."),
        ON,
        Key("per", One(one_of("per", ("invoice", "line"))), "Where it is rounded."),
    ),
    Tax,
    lambda table, values: Tax(percent=ZERO),
)
COMMITMENT_KEYS: Final = (
    Key("amount", NUMBER, "The amount that is always paid."),
    Key(
        "overage_factor",
        NUMBER,
        "A factor for the price of usage above the commitment.",
    ),
    Key("true_up", FLAG, "Whether a shortfall is charged."),
)
CARD_COMMITMENT: Final = Plain(
    "price_commitment",
    (
        *COMMITMENT_KEYS,
        Key("quantity", NUMBER, "At its price, instead of an amount."),
        Key(
            "per",
            One(one_of("per", ("period", "group"))),
            "What it is paid for: the period, or each group of usage.",
        ),
        Key(
            "groups",
            One(integer(minimum=0, maximum=1_000_000)),
            "How many groups a period has, used or not; 0 means only those that were"
            " used.",
        ),
    ),
    Commitment,
    lambda table, values: Commitment(amount=ZERO),
)
COMMITMENT: Final = Plain(
    "commitment",
    COMMITMENT_KEYS,
    Commitment,
    lambda table, values: Commitment(amount=ZERO),
)
LIMITS: Final = (
    Key("minimum_spend", NUMBER, "A shortfall is charged."),
    Key("maximum_spend", NUMBER, "Anything above it is not charged."),
)
TERMS: Final = (
    *LIMITS,
    Key("commitment", Nested(lambda: COMMITMENT)),
    Key("discount", NestedMany(lambda: DISCOUNT), field="discounts"),
    Key("coupon", NestedMany(lambda: COUPON), field="coupons"),
    Key("credit", NestedMany(lambda: CREDIT), field="credits"),
    Key("tax", NestedMany(lambda: TAX), field="taxes"),
)

TRIAL: Final = Key(
    "trial_days",
    One(integer(minimum=0, maximum=TRIAL_DAYS_MAX)),
    "For how many days from the first one everything is free.",
)


def _unpriced(table: Table, values: Mapping[str, Any]) -> RateCard:
    """Stand in for a price that makes no sense, under the name that others use."""
    line = table.source.line(table.path)
    name = values.get("name") or values.get("meter") or f"the price on line {line}"
    return RateCard(name=name, price=Flat(ZERO))


CARD: Final = priced(
    "plan_price",
    RateCard,
    Key("meter", WORD, "Whose usage is charged."),
    Key("name", WORD, "Unique in the plan; by default the meter."),
    Key("description", WORD, "The text on the invoice."),
    Key(
        "source",
        WORD,
        "The source of its numbers; kept with it, but not shown to customers.",
    ),
    Key("convert", Nested(lambda: CONVERSION), "From counted to priced units."),
    Key("free_units", NUMBER, "Units that are free, from the first one of a period."),
    Key("discounts", NestedMany(lambda: CARD_DISCOUNT)),
    *LIMITS,
    Key("commitment", Nested(lambda: CARD_COMMITMENT)),
    stand_in=_unpriced,
)
TEST: Final = Plain(
    "test",
    (
        Key("name", WORD, "Its name in a failure message."),
        needed("usage", "Meter to what was used.", Named(USAGE)),
        needed("total", "The total of the invoice."),
    ),
    PlanTest,
    lambda table, values: PlanTest(usage={}, total=ZERO),
    line_field="line",
)


def _plan(
    *,
    credits_lower_tax: bool | None = None,
    order: Order | None = None,
    llm: ByCatalogue | None = None,
    **rest: Any,
) -> Plan:
    if llm is not None:
        raise PricingError(Problem("no price catalogue is available here", "llm"))
    order = order or Order()
    if credits_lower_tax is not None:
        order = replace(order, credits_lower_tax=credits_lower_tax)
    return Plan(order=order, **rest)


def _bare_plan(table: Table, values: Mapping[str, Any]) -> Plan:
    """Stand in for a plan that makes no sense, so that its version still counts."""
    kept = ("name", "version", "effective", "currency", "period")
    return Plan(**{key: values[key] for key in kept if key in values})


PLAN: Final = Plain(
    "plan",
    (
        needed("name", "Customers name it.", WORD),
        Key(
            "version",
            One(integer(minimum=1, maximum=1_000_000)),
            "Which version of the plan this is.",
        ),
        Key("effective", One(DATE), "The first day on which this version holds."),
        needed("currency", "A code of ISO 4217.", One(CURRENCY)),
        Key(
            "period",
            One(one_of("period", get_args(Length))),
            "The length of a billing period. Fees are charged once per period, and"
            " tiers and free units start again with each.",
        ),
        TRIAL,
        Key(
            "tiers_on_change",
            One(one_of("tiers_on_change", ("restart", "continue"))),
            "If a price is new in the middle of a period: whether its tiers and free"
            " units start again, or carry on from earlier usage in the period.",
        ),
        Key(
            "rounding", One(one_of("rounding", ROUNDINGS)), "How every line is rounded."
        ),
        Key("order", One(ORDER), "The order of the steps of an invoice."),
        Key("credits_lower_tax", FLAG, "Whether credits before tax lower it."),
        Key(
            "prorate",
            One(one_of("prorate", ("day", "second", "none"))),
            "How amounts are reduced for part of a period: by days, by seconds, or not"
            " at all.",
        ),
        *TERMS,
        Key("price", NestedMany(lambda: CARD), field="prices"),
        Key("llm", Nested(lambda: BY_CATALOGUE)),
        Key("test", NestedMany(lambda: TEST), field="tests"),
    ),
    _plan,
    _bare_plan,
    of_one_name,
    struct=Plan,
)
OVERRIDE: Final = Plain(
    "override",
    (
        needed("customer", "The customer's id in meterline.toml.", WORD),
        needed("plan", "The plan that it changes.", WORD),
        TRIAL,
        *TERMS,
        Key("price", NestedMany(lambda: CARD), field="prices"),
    ),
    Override,
    check=of_one_name,
)


def _catalogue(
    plan: tuple[Plan, ...] = (), override: tuple[Override | None, ...] = ()
) -> Catalogue:
    """Return the catalogue of what could be read.

    Raises:
        PricingError: plans or overrides that do not fit each other.
    """
    problems = catalogue_problems(plan, override, names=("plan", "override"))
    problems += second_tables(override)
    if problems:
        raise PricingError(problems)
    return Catalogue(plan, tuple(item for item in override if item))


ROOT: Final = Plain(
    "pricing",
    (
        Key("plan", NestedMany(lambda: PLAN), "One version of a plan."),
        Key(
            "override", NestedMany(lambda: OVERRIDE), "What one customer has otherwise."
        ),
    ),
    _catalogue,
)
"""All of ``pricing.toml``."""
