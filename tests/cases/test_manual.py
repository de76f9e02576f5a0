"""Runs every example of docs/pricing.md."""

import doctest
import re
from pathlib import Path

import pytest

from meterline_pricing import load, run_tests

MANUAL = Path(__file__).parents[2] / "docs" / "pricing.md"
TEXT = MANUAL.read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
PRICE_LISTS = [text for language, text in BLOCKS if language == "toml"]


@pytest.mark.parametrize("text", PRICE_LISTS, ids=range(len(PRICE_LISTS)))
def test_a_price_list_of_the_manual_keeps_its_examples(text: str) -> None:
    catalogue = load(text, file="docs/pricing.md")

    assert run_tests(catalogue.plans) == ()
    assert all(plan.tests for plan in catalogue.plans)


def test_the_python_of_the_manual_answers_what_it_says() -> None:
    source = "".join(text for language, text in BLOCKS if language == "python")
    example = doctest.DocTestParser().get_doctest(source, {}, "manual", str(MANUAL), 0)

    results = doctest.DocTestRunner(verbose=False).run(example)

    assert results.failed == 0
    assert results.attempted >= 15


def test_every_model_has_a_section_with_an_example() -> None:
    for model in [
        "flat",
        "per_unit",
        "graduated",
        "volume",
        "package",
        "stairstep",
        "block_tiers",
        "capacity",
        "percentage",
        "graduated_percentage",
        "dynamic",
        "matrix",
        "per_group",
    ]:
        section = TEXT.partition(f"### {model}\n")[2].partition("\n#")[0]
        assert f'model = "{model}"' in section
