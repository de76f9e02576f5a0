"""Prices of language models by the catalogue: each as the catalogue itself has it."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices
import pytest

from meterline.llm import tokens
from meterline_pricing import Groups, Plan, rate
from meterline_pricing.models import Matrix, PerUnit
from meterline_pricing.usage import Group
from meterline_sidecar.config import llm_prices
from meterline_sidecar.config.prices import read_prices
from meterline_sidecar.config.read import read_config
from meterline_sidecar.errors import ConfigError

MODELS = (
    "openai/gpt-5-mini-2025-08-07",
    "openai/gpt-5.4-2026-03-05",
    "openai/gpt-4o-mini-realtime-preview",
    "openai/text-embedding-3-small",
    "anthropic/claude-sonnet-5",
    "anthropic/claude-sonnet-4-5-20250929",
    "anthropic/claude-opus-4-6",
    "google/gemini-2.5-pro",
    "x-ai/grok-3-mini",
)


def written(folder: Path, plan: str) -> Path:
    path = folder / "pricing.toml"
    path.write_text(f'[[plan]]\nname = "ai"\ncurrency = "usd"\n{plan}')
    return path


def by_catalogue(
    folder: Path,
    *models: str,
    meters: tuple[str, ...] = tuple(llm_prices.PRICED_BY),
    more: str = "",
) -> Plan:
    said = f"[plan.llm]\nmodels = {[*models]}\nmeters = {[*meters]}\n{more}"
    return read_prices(written(folder, said)).plans[0]


def priced(plan: Plan, model: str, counts: dict[str, int]) -> Decimal:
    """Return what the plan makes of the tokens of one call."""
    provider, _, name = model.partition("/")
    n_in = sum(n for kind, n in counts.items() if kind not in OUTPUT)
    labels = {
        "provider": provider,
        "model": name,
        "context": tokens.context_of(n_in) or "(none)",
    }
    total = Decimal(0)
    for kind, n in counts.items():
        card = plan.price_of(kind)
        assert isinstance(card.price, Matrix)
        values = {name: labels[name] for name in card.price.dimensions}
        total += rate(card.price, Groups((Group(values, Decimal(n)),))).amount
    return total


OUTPUT = (tokens.OUT, tokens.REASONING, tokens.AUDIO_OUT)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("n_in", [1_000, 200_000, 272_001, 900_000])
def test_a_call_costs_what_the_catalogue_makes_of_it(
    tmp_path: Path, model: str, n_in: int
) -> None:
    provider, _, name = model.partition("/")
    plan = by_catalogue(tmp_path, model)
    counts = {tokens.IN: n_in - 700, tokens.CACHED: 500, tokens.CACHE_WRITE: 200}
    usage: dict[str, int] = {
        "input_tokens": n_in,
        "cache_read_tokens": 500,
        "cache_write_tokens": 200,
    }
    if "embedding" not in model:
        counts |= {tokens.OUT: 300, tokens.REASONING: 50}
        usage["output_tokens"] = 350

    theirs = genai_prices.calc_price(
        genai_prices.Usage(**usage), model_ref=name, provider_id=provider
    )

    assert priced(plan, model, counts) == theirs.total_price


def test_the_markup_and_the_catalogues_version_are_kept_with_the_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = by_catalogue(tmp_path, MODELS[0], meters=("tokens_in",))
    plan = by_catalogue(
        tmp_path, MODELS[0], meters=("tokens_in",), more='markup = "12.5%"'
    )

    def another(package: str) -> str:
        return "0.2.99"

    monkeypatch.setattr(llm_prices, "version", another)
    later = by_catalogue(
        tmp_path, MODELS[0], meters=("tokens_in",), more='markup = "12.5%"'
    )

    (card,) = plan.prices
    assert isinstance(card.price, Matrix)
    (cell,) = card.price.cells
    assert cell.price == PerUnit(Decimal("0.00000025") * Decimal("1.125"))
    assert card.source.startswith("genai-prices 0.2.")
    assert card.source.endswith(" + 12.5%")
    assert bare.prices[0].source == card.source.removesuffix(" + 12.5%")
    assert later.prices[0].source == "genai-prices 0.2.99 + 12.5%"
    assert later != plan, "another catalogue is a change of what is agreed"


def test_prices_by_hand_stand_beside_those_of_the_catalogue(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '[[plan.price]]\nmeter = "calls"\nmodel = "per_unit"\nunit_amount = "0.01"\n'
        f'[plan.llm]\nmodels = ["{MODELS[0]}"]\nmeters = ["tokens_in"]\n'
        '[[plan.test]]\nusage.calls = 5\ntotal = "0.05"\n',
    )

    plan = read_prices(path).plans[0]

    assert [card.meter for card in plan.prices] == ["calls", "tokens_in"]


def test_a_meter_that_no_model_has_a_price_for_has_none(tmp_path: Path) -> None:
    plan = by_catalogue(
        tmp_path, "openai/text-embedding-3-small", meters=("tokens_in", "tokens_out")
    )

    assert [card.meter for card in plan.prices] == ["tokens_in"]


WRONG = [
    ('models = ["openai/gpt-5-mini"]', "meters: missing: expected at least one"),
    ('meters = ["tokens_in"]', "models: missing"),
    ('models = ["gpt-5"]\nmeters = ["tokens_in"]', "a provider and a model such as"),
    (
        'models = ["openai/no-such-model"]\nmeters = ["tokens_in"]',
        "has no such model; write its price by hand",
    ),
    (
        'models = ["nobody/gpt-5"]\nmeters = ["tokens_in"]',
        "has no such model; write its price by hand",
    ),
    (
        'models = ["openai/gpt-5"]\nmeters = ["tokens"]',
        "not one of tokens_in, tokens_cached",
    ),
    (
        'models = ["openai/gpt-5"]\nmeters = ["tokens_in"]\nmarkup = "0.2"',
        'expected a percentage such as "20%"',
    ),
    ('models = ["openai/gpt-5"]\nmeters = ["tokens_in"]\nmarkup = 20', "percentage"),
    ('models = ["openai/gpt-5"]\nmeters = ["tokens_in"]\nmargin = "1%"', "unknown key"),
]


@pytest.mark.parametrize(("said", "message"), WRONG)
def test_what_cannot_be_priced_is_told_with_its_line(
    tmp_path: Path, said: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_prices(written(tmp_path, f"[plan.llm]\n{said}\n"))

    (problem,) = caught.value.problems
    assert message in str(problem)
    assert problem.line is not None
    assert problem.line >= 4


ODD = [
    ('[[plan]]\nname = "a"\ncurrency = "usd"\nllm = 5', 1),
    ('[[plan]]\nname = "a"\ncurrency = "usd"\nllm = [{}]', 1),
    ("plan = 5", 1),
    ("plan = [5]", 1),
    ("plan = { llm = {} }", 1),
    ('[[plan]]\nname = "a"\ncurrency = "usd"\nprice = 5\n[plan.llm]\nx = 1', 4),
    ('[[plan]]\nname = "a"\ncurrency = 5\n[plan.llm]\n', 3),
]


@pytest.mark.parametrize(("text", "n_problems"), ODD)
def test_what_is_no_table_is_told_once(
    tmp_path: Path, text: str, n_problems: int
) -> None:
    path = tmp_path / "pricing.toml"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        read_prices(path)

    said = [str(problem) for problem in caught.value.problems]
    assert (len(said), len(set(said))) == (n_problems, n_problems), said


def test_only_plans_in_the_catalogues_currency_are_priced_by_it(tmp_path: Path) -> None:
    path = written(
        tmp_path, f'[plan.llm]\nmodels = ["{MODELS[0]}"]\nmeters = ["tokens_in"]\n'
    )
    path.write_text(path.read_text().replace('"usd"', '"eur"'))

    with pytest.raises(ConfigError, match="the catalogue is in usd"):
        read_prices(path)


def test_models_whose_price_depends_on_the_hour_are_not_guessed(tmp_path: Path) -> None:
    hourly = [
        f"{provider.id}/{model.id}"
        for provider in genai_prices.data_snapshot.get_snapshot().providers
        for model in provider.models
        if "TimeOfDate" in repr(model.prices)
    ]

    assert hourly
    with pytest.raises(ConfigError, match="depends on the time of day"):
        by_catalogue(tmp_path, hourly[0])


def test_without_the_catalogue_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(llm_prices, "import_module", missing)

    with pytest.raises(ConfigError, match=r"pip install 'meterline\[sidecar,llm\]'"):
        by_catalogue(tmp_path, MODELS[0])


def test_meters_must_be_there_and_tell_apart_what_prices_ask_for(
    tmp_path: Path,
) -> None:
    by_catalogue(tmp_path, "openai/gpt-5.4", meters=("tokens_in", "tokens_out"))
    config = tmp_path / "meterline.toml"
    config.write_text(
        '[sidecar]\npricing = "pricing.toml"\n[[meter]]\nname = "tokens_in"\n'
        'aggregation = "sum"\nvalue = "quantities.tokens_in"\n'
        'group_by = ["provider", "model"]\n'
    )

    with pytest.raises(ConfigError) as caught:
        read_config(config, environment={})

    first, second = map(str, caught.value.problems)
    assert "no meter" in first or "tokens_out" in first
    assert "`context` is not in the group_by of meter `tokens_in`" in second
