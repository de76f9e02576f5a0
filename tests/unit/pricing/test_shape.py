"""Keys that a table may have besides its fixed ones, and values that may be one or many."""

from typing import Any

import pytest

from meterline_pricing.toml import source as source_module
from meterline_pricing.toml.lines import KeyPath
from meterline_pricing.toml.shape import Key, One, OneOrMany, Others, Plain
from meterline_pricing.toml.source import TEXT, Kind, Source, Unfit


def small_letters(value: object) -> str:
    text = str(value)
    if not text.islower():
        raise Unfit("must be small letters")
    return text


OWN = Others(
    Key("NAME", OneOrMany(TEXT), field="own"), Kind("a name", small_letters, "")
)
FILTER = Plain("filter", (Key("size", One(TEXT)),), dict, others=OWN)


def read(text: str) -> tuple[Any, list[str]]:
    source = Source(text, file="f.toml")
    return FILTER.read(source.root), [str(problem) for problem in source.problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('color = "red"', {"own": {"color": ("red",)}}),
        (
            'size = "s"\ncolor = ["red", "blue"]\nshape = "round"',
            {"size": "s", "own": {"color": ("red", "blue"), "shape": ("round",)}},
        ),
        ('size = "s"', {"size": "s"}),
    ],
)
def test_a_table_has_keys_besides_its_own(text: str, expected: object) -> None:
    assert read(text) == (expected, [])


def test_a_key_besides_its_own_that_cannot_be_called_so_is_told_by_its_line() -> None:
    found, problems = read('color = "red"\nCOLOR = "red"')

    assert found == {"own": {"color": ("red",)}}
    assert problems == ["f.toml:2: COLOR: must be small letters"]


def test_an_editor_is_told_of_keys_besides_the_fixed_ones() -> None:
    one = dict(TEXT.schema)

    schema = FILTER.schema()

    assert schema["additionalProperties"] == {
        "anyOf": [one, {"type": "array", "items": one}]
    }


def test_a_text_that_is_just_not_too_deep_has_no_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def too_deep(_text: str) -> dict[KeyPath, int]:
        raise RecursionError

    monkeypatch.setattr(source_module, "line_index", too_deep)

    assert Source("a = 1", file="f.toml").line(("a",)) is None
