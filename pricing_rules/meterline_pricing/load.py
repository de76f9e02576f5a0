"""Read ``pricing.toml``: every plan in it, or every problem with it."""

from collections.abc import Callable
from datetime import date
from typing import Final, Literal

from meterline_pricing.errors import PricingError
from meterline_pricing.money import ROUNDINGS, ZERO, Rounding, currency_of
from meterline_pricing.plan import Catalogue, Plan, PlanTest, RateCard
from meterline_pricing.price import (
    Flat,
    Graduated,
    Package,
    PerUnit,
    Price,
    Tier,
    Volume,
)
from meterline_pricing.toml_source import (
    BOOLEAN,
    DATE,
    DECIMAL,
    TEXT,
    Kind,
    Source,
    Table,
    Unfit,
    integer,
    one_of,
)

ALWAYS: Final = date(1970, 1, 1)
"""The effective date of a plan that names none."""
PLACEHOLDER: Final = Flat(ZERO)
"""Stands where a price could not be read; ``check`` raises before anybody sees it."""


def _check_currency(value: object) -> str:
    if not isinstance(value, str):
        raise Unfit
    return currency_of(value).code


ROUNDING: Final[Kind[Rounding]] = one_of("rounding", ROUNDINGS)
CURRENCY: Final = Kind('a currency such as "usd"', _check_currency, "usd")
UP_OR_DOWN: Final[Kind[Literal["up", "down"]]] = one_of("rounding", ("up", "down"))


def load(text: str, *, file: str = "pricing.toml") -> Catalogue:
    """Return the plans that ``text`` describes.

    Args:
        text: the contents of a ``pricing.toml``.
        file: how errors call it.

    Raises:
        PricingError: with every problem in the text, each with its line and key.
    """
    source = Source(text, file=file)
    plans: list[Plan] = []
    seen: dict[tuple[str, object], str] = {}
    for table in source.root.tables("plan"):
        plan = _plan(table)
        _refuse_twice(table, plan, seen)
        plans.append(plan)
    source.root.close()
    source.check()
    return Catalogue(tuple(plans))


def _plan(table: Table) -> Plan:
    name = table.need("name", TEXT)
    plan = Plan(
        name=name,
        version=table.take("version", integer(minimum=1, maximum=1_000_000), 1),
        effective=table.take("effective", DATE, ALWAYS),
        currency=table.need("currency", CURRENCY),
        rounding=table.take("rounding", ROUNDING, "half_up"),
        prices=_prices(table),
        tests=tuple(_test(test) for test in table.tables("test")),
    )
    table.close()
    return plan


def _refuse_twice(
    table: Table, plan: Plan, seen: dict[tuple[str, object], str]
) -> None:
    """Note a version or an effective date that another plan of this name has."""
    for key, value in (("version", plan.version), ("effective", plan.effective)):
        place = f"line {table.source.line(table.path)}"
        first = seen.setdefault((plan.name, value), place)
        if plan.name and first != place:
            table.report(
                key, f"plan `{plan.name}` has {key} {value} already, on {first}"
            )


def _prices(plan: Table) -> tuple[RateCard, ...]:
    cards: list[RateCard] = []
    names: set[str] = set()
    meters: set[str] = set()
    for table in plan.tables("price"):
        card = _rate_card(table)
        if card.meter is not None and card.meter in meters:
            table.report("meter", f"two prices for one meter `{card.meter}`")
        elif card.name in names:
            table.report("name", f"two prices of one name `{card.name}`")
        names.add(card.name)
        meters.add(card.meter or "")
        cards.append(card)
    return tuple(cards)


def _rate_card(table: Table) -> RateCard:
    meter = table.take("meter", TEXT, None)
    name = table.take("name", TEXT, meter)
    description = table.take("description", TEXT, "")
    price = _price(table)
    if name is None:
        table.report("meter", "missing: expected a meter, or a name for a fee")
    elif meter is None and not isinstance(price, Flat):
        table.report("meter", "missing: only a flat price needs none")
    return RateCard(name=name or "", meter=meter, price=price, description=description)


def _price(table: Table) -> Price:
    """Return the price that a table describes, and close the table.

    A table without a known model is not read on: which keys it may have is unknown.
    """
    model = table.need("model", one_of("model", MODELS))
    if not table.is_sound("model"):
        return PLACEHOLDER
    price = _built(table, MODELS[model])
    table.close()
    return price


def _built(table: Table, build: Callable[[Table], Price]) -> Price:
    """Return what ``build`` makes of ``table``, and note what its numbers get wrong."""
    try:
        return build(table)
    except PricingError as error:
        table.report_all(error)
        return PLACEHOLDER


def _tiers(table: Table) -> tuple[Tier, ...]:
    if "tiers" not in table:
        table.report("tiers", "missing: expected an array of tiers")
    tiers: list[Tier] = []
    for row in table.tables("tiers"):
        tiers.append(
            Tier(
                up_to=row.take("up_to", DECIMAL, None),
                unit_amount=row.take("unit_amount", DECIMAL, ZERO),
                flat_amount=row.take("flat_amount", DECIMAL, ZERO),
            )
        )
        row.close()
    return tuple(tiers)


def _flat(table: Table) -> Price:
    return Flat(table.need("amount", DECIMAL))


def _per_unit(table: Table) -> Price:
    return PerUnit(table.need("unit_amount", DECIMAL))


def _graduated(table: Table) -> Price:
    return Graduated(_tiers(table), table.take("flat_at_zero", BOOLEAN, False))


def _volume(table: Table) -> Price:
    return Volume(_tiers(table), table.take("flat_at_zero", BOOLEAN, False))


def _package(table: Table) -> Price:
    return Package(
        size=table.need("size", DECIMAL),
        amount=table.need("amount", DECIMAL),
        round=table.take("round", UP_OR_DOWN, "up"),
        free_units=table.take("free_units", DECIMAL, ZERO),
    )


def _test(table: Table) -> PlanTest:
    line = table.source.line(table.path)
    test = PlanTest(
        name=table.take("name", TEXT, f"the test on line {line}"),
        usage=table.mapping("usage", DECIMAL),
        total=table.need("total", DECIMAL),
        line=line,
    )
    table.close()
    return test


MODELS: Final[dict[str, Callable[[Table], Price]]] = {
    "flat": _flat,
    "per_unit": _per_unit,
    "graduated": _graduated,
    "volume": _volume,
    "package": _package,
}
