"""Whatever stands where in a price list: it is read, or every problem is told."""

import tomllib
from collections.abc import Iterator
from copy import deepcopy
from datetime import date, datetime
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from meterline_pricing import PricingError, Problem, load
from tests.unit.pricing.test_load import EVERYTHING

Path = tuple[str | int, ...]
TREE = tomllib.loads(EVERYTHING)
ANYTHING: tuple[Any, ...] = (
    0,
    5,
    -1,
    2**70,
    0.5,
    float("nan"),
    "",
    "x",
    "-1",
    "1e400",
    "9" * 200,
    "é\u0000\ud7ff",
    True,
    date(2026, 1, 1),
    datetime(2026, 1, 1),  # noqa: DTZ001 - TOML has such times
    [],
    {},
    [[]],
    [{}],
    [1, "x"],
    {"x": {"y": []}},
    {"": "", "a.b": 1},
)


def written(value: Any) -> str:
    """Return a value as inline TOML."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            escaped = "".join(
                f"\\U{ord(c):08x}" if c in '"\\' or c < " " else c for c in value
            )
            return f'"{escaped}"'
        case dict():
            items = cast("dict[str, Any]", value).items()
            return (
                "{" + ", ".join(f"{written(k)} = {written(v)}" for k, v in items) + "}"
            )
        case list():
            return "[" + ", ".join(map(written, cast("list[object]", value))) + "]"
        case date():
            return value.isoformat()
        case _:
            return str(value)


def document(tree: dict[str, Any]) -> str:
    return "\n".join(
        f"{written(key)} = {written(value)}" for key, value in tree.items()
    )


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in cast("dict[str, Any]", value).items():
            yield from paths(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(cast("list[object]", value)):
            yield from paths(inner, (*path, i))


PATHS = list(paths(TREE))


def changed(path: Path, value: Any) -> dict[str, Any]:
    tree = deepcopy(TREE)
    place: Any = tree
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return tree


def complaints(text: str) -> tuple[Problem, ...] | None:
    try:
        load(text, file="p.toml")
    except PricingError as error:
        return error.problems
    return None


def read(text: str) -> None:
    problems = complaints(text)

    assert problems is None or problems
    assert all(problem.message and problem.file for problem in problems or ())


def test_the_file_itself_can_be_written_and_read() -> None:
    rewritten, original = load(document(TREE)), load(EVERYTHING)

    assert rewritten.overrides == original.overrides
    assert rewritten.plans[0].prices == original.plans[0].prices


@given(st.sampled_from(PATHS), st.sampled_from(ANYTHING))
def test_any_value_in_any_place_is_read_or_told(path: Path, value: Any) -> None:
    read(document(changed(path, value)))


@given(st.sampled_from(PATHS), st.text(max_size=12), st.sampled_from(ANYTHING))
def test_any_other_key_in_any_table_is_told(path: Path, key: str, value: Any) -> None:
    tree = deepcopy(TREE)
    place: Any = tree
    for part in path[:-1]:
        place = place[part]
    if isinstance(place, dict):
        cast("dict[str, Any]", place)[key] = value

    read(document(tree))


@given(st.text(max_size=200))
def test_any_text_is_read_or_told(text: str) -> None:
    read(text)


@given(st.integers(0, len(EVERYTHING)), st.integers(0, 40))
def test_a_file_with_a_hole_is_read_or_told(at: int, length: int) -> None:
    read(EVERYTHING[:at] + EVERYTHING[at + length :])
