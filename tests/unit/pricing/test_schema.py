import json
import re
from typing import Any

import pytest

from meterline_pricing import PricingError, json_schema, load
from meterline_pricing.toml.plan_shapes import ROOT
from meterline_pricing.toml.shape import Plain, Shape, Tagged

SCHEMA = json_schema()


def all_shapes() -> dict[str, Shape]:
    found: dict[str, Shape] = {ROOT.name: ROOT}
    waiting: list[Shape] = [ROOT]
    while waiting:
        for shape in waiting.pop().inner():
            if shape.name not in found:
                found[shape.name] = shape
                waiting.append(shape)
    return found


def test_the_schema_is_json_and_every_reference_is_defined() -> None:
    text = json.dumps(SCHEMA)

    references = set(re.findall(r"#/\$defs/(\w+)", text))
    assert references == set(SCHEMA["$defs"])
    assert references | {"pricing"} == set(all_shapes())


def known_keys(lines: list[str], key: str) -> set[str]:
    """Return the keys that the loader says it knows, from its complaint."""
    (line,) = (line for line in lines if f"unknown key `{key}`" in line)
    return set(line.partition("known are: ")[2].split(", "))


STRANGE = "qqqqqqqqqqqqqqqqqqqq"


def complaints(text: str) -> list[str]:
    with pytest.raises(PricingError) as caught:
        load(text)
    return str(caught.value).splitlines()


def properties(definition: dict[str, Any], model: str | None = None) -> set[str]:
    if model is None:
        return set(definition["properties"])
    for choice in definition["oneOf"]:
        if choice["properties"]["model"]["const"] == model:
            return set(choice["properties"])
    raise AssertionError(model)


PRICE_SHAPE = all_shapes()["plan_price"]
assert isinstance(PRICE_SHAPE, Tagged)
MODELS = sorted(PRICE_SHAPE.variants)


@pytest.mark.parametrize("model", MODELS)
def test_the_loader_knows_the_keys_of_a_price_that_the_schema_has(model: str) -> None:
    lines = complaints(f"[[plan]]\n[[plan.price]]\nmodel = '{model}'\n{STRANGE} = 1\n")

    expected = properties(SCHEMA["$defs"]["plan_price"], model)
    assert known_keys(lines, STRANGE) == expected


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("", "pricing"),
        ("[[plan]]", "plan"),
        ("[[override]]", "override"),
        ("[[plan]]\n[[plan.test]]", "test"),
        ("[[plan]]\n[[plan.coupon]]", "coupon"),
        ("[[plan]]\n[[plan.credit]]", "credit"),
        ("[[plan]]\n[[plan.tax]]", "tax"),
        ("[[plan]]\n[[plan.discount]]", "discount"),
        ("[[plan]]\n[plan.commitment]", "commitment"),
        (
            "[[plan]]\n[[plan.price]]\nmodel='flat'\n[plan.price.commitment]",
            "price_commitment",
        ),
        ("[[plan]]\n[[plan.price]]\nmodel='flat'\n[plan.price.convert]", "conversion"),
        (
            "[[plan]]\n[[plan.price]]\nmodel='flat'\n[[plan.price.discounts]]",
            "price_discount",
        ),
        ("[[plan]]\n[[plan.price]]\nmodel='volume'\n[[plan.price.tiers]]", "tier"),
        ("[[plan]]\n[[plan.price]]\nmodel='stairstep'\n[[plan.price.tiers]]", "step"),
    ],
)
def test_the_loader_knows_the_keys_of_a_table_that_the_schema_has(
    header: str, name: str
) -> None:
    lines = complaints(f"{header}\n{STRANGE} = 1\n")

    definition = SCHEMA if name == "pricing" else SCHEMA["$defs"][name]
    assert known_keys(lines, STRANGE) == properties(definition)


def test_the_schema_requires_what_the_loader_requires() -> None:
    for name, shape in all_shapes().items():
        if isinstance(shape, Plain):
            definition = SCHEMA if name == "pricing" else SCHEMA["$defs"][name]
            required = {key.name for key in shape.keys if key.is_required}
            assert set(definition["required"]) == required


def test_a_cell_of_a_matrix_needs_no_model_and_a_price_does() -> None:
    cell = SCHEMA["$defs"]["cell"]["oneOf"]
    per_unit = next(c for c in cell if c["properties"]["model"]["const"] == "per_unit")
    price = SCHEMA["$defs"]["price"]["oneOf"]

    assert "model" not in per_unit["required"]
    assert all("model" in choice["required"] for choice in price)
