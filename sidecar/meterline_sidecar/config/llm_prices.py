"""Prices of language models by a catalogue, made into prices like all others.

The catalogue is ``genai-prices``, of the extra ``llm``: pinned like any package, and
never asked over the network. What is made of it is part of the plan. So what was agreed
stays as it was agreed when the catalogue is another one, and that is a change of the
plan like any that is made by hand.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from importlib import import_module
from importlib.metadata import version
from typing import Any, Final, NamedTuple, cast

from meterline.llm import tokens
from meterline_pricing.toml.llm_shapes import BY_CATALOGUE, ByCatalogue, Model
from meterline_pricing.toml.source import Source, Table
from meterline_sidecar.errors import installing

PACKAGE: Final = "genai-prices"
CURRENCY: Final = "usd"
DIMENSIONS: Final = ("provider", "model")
CONTEXT: Final = "context"
_INPUT: Final = "input_mtok"
_OUTPUT: Final = "output_mtok"

PRICED_BY: Final[Mapping[str, tuple[str, ...]]] = {
    tokens.IN: (_INPUT,),
    tokens.CACHED: ("cache_read_mtok", _INPUT),
    tokens.CACHE_WRITE: ("cache_write_mtok", _INPUT),
    tokens.CACHE_WRITE_1H: ("cache_write_1h_mtok", "cache_write_mtok", _INPUT),
    tokens.AUDIO_IN: ("input_audio_mtok", _INPUT),
    tokens.OUT: (_OUTPUT,),
    tokens.REASONING: ("output_reasoning_mtok", _OUTPUT),
    tokens.AUDIO_OUT: ("output_audio_mtok", _OUTPUT),
}
"""What of the catalogue a kind of tokens costs: the first that a model has."""


class Rate(NamedTuple):
    """What a token costs, and from which length of input on; 0 is from the first."""

    above: int
    unit_amount: Decimal


class NotPriced(Exception):
    """A model that the catalogue cannot price; the text says why."""


def fill_in(source: Source) -> None:
    """Make prices of every ``[plan.llm]``, or note why that cannot be.

    What is no table stays, so that whoever reads it says so.
    """
    plans: object = source.root.data.get("plan")
    for i, plan in enumerate(cast("list[object]", plans) if _is_list(plans) else ()):
        if isinstance(plan, dict):
            data = cast("dict[str, Any]", plan)
            if isinstance(data.get("llm"), dict):
                table = Table(source, ("plan", i, "llm"), data.pop("llm"))
                said: ByCatalogue = BY_CATALOGUE.read(table)
                made = list(_prices(table, said, data.get("currency")))
                if _is_list(prices := data.get("price", [])):
                    data["price"] = [*prices, *made]


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _prices(
    table: Table, said: ByCatalogue, currency: object
) -> Iterator[dict[str, object]]:
    """Yield a price for each meter, as it would be written by hand."""
    for key in ("models", "meters"):
        if not table.data.get(key):
            table.report(key, "missing: expected at least one")
    if isinstance(currency, str) and currency.lower() != CURRENCY:
        table.report(None, f"the catalogue is in {CURRENCY}, and the plan is not")
    try:
        catalogue = import_module("genai_prices.data_snapshot").get_snapshot()
    except ImportError:
        table.report(None, f"needs {PACKAGE}: {installing('llm')}")
        return
    costs: list[tuple[Model, Any]] = []
    for i, model in enumerate(said.models):
        if not model.name:
            continue  # that it cannot be read was told
        try:
            costs.append((model, _cost(catalogue, model)))
        except NotPriced as problem:
            table.source.report((*table.path, "models", i), str(problem))
    for i, meter in enumerate(said.meters):
        if meter not in PRICED_BY:
            known = ", ".join(PRICED_BY)
            table.source.report((*table.path, "meters", i), f"not one of {known}")
        elif price := _price(meter, costs, said.markup):
            yield price


def _price(
    meter: str, costs: list[tuple[Model, Any]], markup: Decimal
) -> dict[str, object]:
    """Return the price of a meter; empty where no model has one for it."""
    cells: list[dict[str, object]] = []
    dimensions: tuple[str, ...] = DIMENSIONS
    for model, cost in costs:
        values = {"provider": model.provider, "model": model.name}
        for rate in _rates(meter, cost):
            if rate.above:
                dimensions = (*DIMENSIONS, CONTEXT)
                values = {**values, CONTEXT: f"over_{rate.above}"}
            amount = rate.unit_amount * (100 + markup) / 100
            cells.append({"values": values, "unit_amount": f"{amount:f}"})
    if not cells:
        return {}
    more = f" + {markup}%" if markup else ""
    return {
        "meter": meter,
        "model": "matrix",
        "dimensions": list(dimensions),
        "cells": cells,
        "source": f"{PACKAGE} {version(PACKAGE)}{more}",
    }


def _cost(catalogue: Any, model: Model) -> Any:
    """Return what a model costs by the newest prices that the catalogue has of it.

    Raises:
        NotPriced: it is not there, or costs what cannot be told by its tokens.
    """
    try:
        _, found = catalogue.find_provider_model(model.name, None, model.provider, None)
    except LookupError:
        raise NotPriced(
            f"{PACKAGE} {version(PACKAGE)} has no such model; write its price by hand"
        ) from None
    cost: Any = found.prices
    if not hasattr(cost, _INPUT):  # one after the other, each from a day on
        if any(hasattr(price.constraint, "start_time") for price in cost):
            raise NotPriced("its price depends on the time of day: write it by hand")
        cost = cost[-1].prices if cost else None
    if getattr(cost, _INPUT, None) is None:
        raise NotPriced("it is not sold by tokens: write its price by hand")
    for names in PRICED_BY.values():
        for above in _above(_first(cost, names)):
            if _context(above) is None:
                raise NotPriced(
                    f"it costs more above {above} tokens, which events do not tell:"
                    " write its price by hand"
                )
    return cost


def _rates(meter: str, cost: Any) -> Iterator[Rate]:
    """Yield what a token of a kind costs, by the length of the input."""
    price = _first(cost, PRICED_BY[meter])
    if price is None:
        return
    yield Rate(0, _of_one(getattr(price, "base", price)))
    tiers = {_context(tier.start): tier.price for tier in getattr(price, "tiers", ())}
    now: Decimal | None = None
    for above in tokens.CONTEXTS:
        now = tiers.get(above, now)
        if now is not None:
            yield Rate(above, _of_one(now))


def _of_one(amount: Decimal) -> Decimal:
    """Return the price of a token, given that of a million."""
    return amount.scaleb(-6)


def _first(cost: Any, names: tuple[str, ...]) -> Any:
    found = (getattr(cost, name, None) for name in names)
    return next((price for price in found if price is not None), None)


def _above(price: Any) -> list[int]:
    return [tier.start for tier in getattr(price, "tiers", ())]


def _context(above: int) -> int | None:
    """Return that length of the input which events tell; ``None``: they tell none.

    Some of the catalogue begin at 200,000 where others are above 199,999.
    """
    return next((n for n in (above, above + 1) if n in tokens.CONTEXTS), None)
