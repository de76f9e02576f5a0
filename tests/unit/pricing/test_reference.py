from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from msgspec import Struct

from meterline_pricing import NotFound, PricingError, Problem
from meterline_pricing.errors import unknown
from meterline_pricing.money import currency_of
from meterline_pricing.toml.plan_shapes import ROOT
from meterline_pricing.toml.reference import (
    default_text,
    markdown,
    sections,
    value_text,
)
from meterline_pricing.toml.shape import Key, Nested, One, Plain
from meterline_pricing.toml.source import TEXT, Source, integer

TABLES = {section.header: section for section in sections(ROOT)}


class Shop(Struct):
    """Where ``things`` are sold.

    Not told.
    """

    size: int = 3


def check_size(shop: Shop) -> list[Problem]:
    return [Problem("too large", "size")] if shop.size > 5 else []


SHOP = Plain(
    "shop",
    (Key("size", One(integer(minimum=1, maximum=9)), "How large; as in `[shop]`."),),
    Shop,
    check=check_size,
    refused={"owner": "who owns a shop is nobody's business"},
)
FILE = Plain(
    "file",
    (
        Key("shop", Nested(lambda: SHOP), "A shop."),
        Key("shop_again", Nested(lambda: SHOP), "As in `[shop]`."),
        Key("top", One(TEXT)),
    ),
    dict,
)


def read(text: str) -> tuple[Any, list[str]]:
    source = Source(text, file="f.toml")
    return FILE.read(source.root), [str(problem) for problem in source.problems]


def test_every_table_of_a_price_list_is_told_once() -> None:
    headers = [section.header for section in sections(ROOT)]

    assert len(headers) == len(set(headers))
    assert headers[0] == "[[plan]]"
    assert {"[[plan.price]]", 'model = "graduated"', "[[override]]"} < set(headers)


def test_a_default_is_that_of_the_struct() -> None:
    plan = {row.name: row for row in TABLES["[[plan]]"].keys}

    assert plan["name"].default == "required"
    assert plan["rounding"].default == '`"half_up"`'
    assert plan["version"].default == "`1`"


def test_a_model_has_the_keys_of_its_tables_too() -> None:
    rows = {row.name: row for row in TABLES['model = "graduated"'].keys}

    assert list(rows) == [
        "tiers",
        "tiers[].up_to",
        "tiers[].unit_amount",
        "tiers[].flat_amount",
        "tiers[].maximum",
        "flat_at_zero",
    ]
    assert rows["tiers"].value == "array of tables"
    assert rows["tiers[].unit_amount"].default == "`0`"


def test_a_price_in_a_price_is_told_by_its_model() -> None:
    matrix = {row.name: row for row in TABLES['model = "matrix"'].keys}
    group = {row.name: row for row in TABLES['model = "per_group"'].keys}

    assert "`model` (`per_unit` without one)" in matrix["default"].meaning
    assert "With a `model` and its keys" in group["price"].meaning


def test_the_page_shows_each_table_with_its_meaning() -> None:
    page = markdown("# Shops\n", sections(FILE))

    assert page == (
        "# Shops\n\n## `[shop]`\n\nWhere `things` are sold.\n\n"
        "| key | value | default | meaning |\n|---|---|---|---|\n"
        "| `size` | integer, 1 to 9 | `3` | How large; as in `[shop]`. |\n"
    )


def test_a_table_without_a_struct_is_told_by_its_key() -> None:
    bare = Plain("bare", (), dict)
    root = Plain("root", (Key("bare", Nested(lambda: bare), "Nothing."),), dict)

    assert markdown("", sections(root)) == "\n## `[bare]`\n\nNothing.\n\n"


def test_a_table_that_nobody_explains_has_a_heading_alone() -> None:
    bare = Plain("bare", (), dict)
    root = Plain("root", (Key("bare", Nested(lambda: bare)),), dict)

    assert markdown("", sections(root)) == "\n## `[bare]`\n\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "`true`"),
        (5, "`5`"),
        (Decimal("0.5"), "`0.5`"),
        ("a", '`"a"`'),
        (date(2026, 1, 31), "`2026-01-31`"),
        ((80, 100), "`[80, 100]`"),
        (("a",), '`["a"]`'),
        ("", ""),
        ((), ""),
        (None, ""),
        (date.min, ""),
    ],
)
def test_a_default_is_shown_as_it_is_written(value: object, text: str) -> None:
    assert default_text(value) == text


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"enum": ["a", "b"]}, "`a`, `b`"),
        (
            {"oneOf": [{"type": "string"}, {"type": "boolean"}]},
            "text, or true or false",
        ),
        ({"anyOf": [{"type": "string"}, {"$ref": "x"}]}, "text, or table"),
        ({"type": "array", "items": {"type": "string"}}, "array of text"),
        ({"type": "array", "items": {"$ref": "x"}}, "array of tables"),
        (
            {"type": "object", "additionalProperties": {"type": "string"}},
            "table of text",
        ),
        ({"type": "object"}, "table"),
        ({"type": ["integer", "string"]}, "number"),
        ({"type": "string", "format": "date"}, "date"),
    ],
)
def test_a_value_is_told_in_words(schema: dict[str, Any], text: str) -> None:
    assert value_text(schema) == text


def test_a_key_that_must_not_be_there_is_told_with_the_reason() -> None:
    _, told = read("[shop]\nowner = 1\nsizee = 1\n")

    assert told == [
        "f.toml:2: shop.owner: who owns a shop is nobody's business",
        "f.toml:3: shop.sizee: unknown key `sizee`; did you mean `size`?",
    ]


def test_what_the_values_are_wrong_for_is_told_with_the_key() -> None:
    values, told = read("[shop]\nsize = 7\n")

    assert values == {"shop": Shop(7)}
    assert told == ["f.toml:2: shop.size: too large"]
    assert read("[shop]\nsize = 5\n")[1] == []


def test_the_last_part_of_a_name_finds_it_where_it_is_of_one() -> None:
    zones = ["America/New_York", "Europe/Berlin", "Asia/Cairo", "Africa/Cairo"]

    assert unknown("zone", "berlin", zones).endswith("did you mean `Europe/Berlin`?")
    assert "known are" in unknown("zone", "Cairo", zones)


def test_of_many_names_only_the_least_unlike_are_told() -> None:
    known = [f"meter_{i:02}" for i in range(31)]

    assert unknown("meter", "calls", known[:30]).count("meter_") == 30
    message = unknown("meter", "calls", known)
    assert "the nearest of 31 are: " in message
    assert message.count("meter_") == 5


def test_an_unknown_currency_is_told_in_one_line() -> None:
    with pytest.raises(NotFound, match="did you mean `eur`"):
        currency_of("eurr")
    with pytest.raises(PricingError) as caught:
        currency_of("gold coins")
    assert len(str(caught.value)) < 100
