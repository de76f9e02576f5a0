"""``[plan.llm]``: read here, and priced by whoever has a catalogue."""

from decimal import Decimal

import pytest

from meterline_pricing import PricingError, load
from meterline_pricing.toml.llm_shapes import BY_CATALOGUE, ByCatalogue, Model
from meterline_pricing.toml.source import Source

PLAN = '[[plan]]\nname = "ai"\ncurrency = "usd"\n'
SAID = 'models = ["a/b/c"]\nmeters = ["tokens_in"]\n'


def read(text: str) -> ByCatalogue:
    source = Source(text, file="x")
    found: ByCatalogue = BY_CATALOGUE.read(source.root)
    source.check()
    return found


def test_models_and_markup_are_read() -> None:
    assert read(SAID) == ByCatalogue(models=(Model("a", "b/c"),), meters=("tokens_in",))
    assert read(f'{SAID}markup = "12.5 %"').markup == Decimal("12.5")


@pytest.mark.parametrize("markup", ["20", '"20"', '"-1%"', '"%"', '"1e3%"', "true"])
def test_a_markup_is_a_percentage_and_nothing_else(markup: str) -> None:
    with pytest.raises(PricingError, match='expected a percentage such as "20%"'):
        read(f"{SAID}markup = {markup}")


@pytest.mark.parametrize("model", ['"b"', '"/b"', '"a/"', "1", '"a b/c"'])
def test_a_model_has_a_provider(model: str) -> None:
    with pytest.raises(PricingError, match="expected a provider and a model"):
        read(f'models = [{model}]\nmeters = ["tokens_in"]')


def test_without_a_catalogue_nothing_is_priced() -> None:
    with pytest.raises(PricingError) as caught:
        load(f"{PLAN}[plan.llm]\n{SAID}")

    assert str(caught.value) == (
        "pricing.toml:4: plan[0].llm: no price catalogue is available here"
    )


def test_whoever_loads_may_prepare_what_was_written() -> None:
    def prepare(source: Source) -> None:
        plan = source.root.data["plan"][0]
        del plan["llm"]
        plan["price"] = [{"name": "a fee", "model": "flat", "amount": 5}]

    (plan,) = load(f"{PLAN}[plan.llm]\n{SAID}", prepare=prepare).plans

    assert [card.name for card in plan.prices] == ["a fee"]


def test_a_price_keeps_where_its_numbers_are_from() -> None:
    text = f'{PLAN}[[plan.price]]\nname = "fee"\nmodel = "flat"\namount = 1\n'

    bare = load(text).plans[0].prices[0]
    noted = load(f'{text}source = "list of May"').plans[0].prices[0]

    assert (bare.source, noted.source) == ("", "list of May")
