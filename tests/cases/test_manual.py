"""Runs every example of docs/pricing.md."""

import doctest
import json
import re
import tomllib
from pathlib import Path
from typing import get_args

import jsonschema_rs
import pytest

from meterline_pricing import Price, json_schema, load, run_tests
from meterline_pricing.models import PriceModel

MANUAL = Path(__file__).parents[2] / "docs" / "pricing.md"
TEXT = MANUAL.read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
PRICE_LISTS = [text for language, text in BLOCKS if language == "toml"]


@pytest.mark.parametrize("text", PRICE_LISTS, ids=range(len(PRICE_LISTS)))
def test_a_price_list_of_the_manual_keeps_its_examples(text: str) -> None:
    catalogue = load(text, file="docs/pricing.md")

    assert run_tests(catalogue.plans) == ()
    assert all(plan.tests for plan in catalogue.plans)


def test_the_price_lists_of_the_manual_and_the_examples_fit_the_json_schema() -> None:
    schema = jsonschema_rs.validator_for(json_schema())
    files = sorted(Path(__file__).parent.glob("*.toml"))

    for text in (*PRICE_LISTS, *(file.read_text() for file in files)):
        # A date of TOML is a text to an editor.
        content = json.loads(json.dumps(tomllib.loads(text), default=str))
        assert [error.message for error in schema.iter_errors(content)] == []
    wrong = PRICE_LISTS[0].replace('"0.001"', "0.001")
    assert not schema.is_valid(
        json.loads(json.dumps(tomllib.loads(wrong), default=str))
    )


def test_the_python_of_the_manual_answers_what_it_says() -> None:
    source = "".join(text for language, text in BLOCKS if language == "python")
    example = doctest.DocTestParser().get_doctest(source, {}, "manual", str(MANUAL), 0)

    results = doctest.DocTestRunner(verbose=False).run(example)

    assert results.failed == 0
    assert results.attempted >= 15


@pytest.mark.parametrize("kind", get_args(Price), ids=lambda kind: kind.__name__)
def test_every_model_has_a_section_with_an_example(kind: type[PriceModel]) -> None:
    model = str(kind.__struct_config__.tag)

    assert f"[{model}](#{model})" in TEXT
    section = TEXT.partition(f"### {model}\n")[2].partition("\n#")[0]
    assert f'model = "{model}"' in section
