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
                f"\\U{ord(c):08x}" if c in '"\\\x7f' or c < " " else c for c in value
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


def place_of(tree: Any, path: Path) -> Any:
    for part in path:
        tree = tree[part]
    return tree


PATHS = list(paths(TREE))
TABLES = [(), *(path for path in PATHS if isinstance(place_of(TREE, path), dict))]
NAMED = {"usage", "values"}
"""Tables whose keys are the names of meters and dimensions."""
FREE = [path for path in TABLES if NAMED & set(path)]
FIXED = [path for path in TABLES if not NAMED & set(path)]


def changed(path: Path, value: Any) -> dict[str, Any]:
    tree = deepcopy(TREE)
    place_of(tree, path[:-1])[path[-1]] = value
    return tree


def complaints(text: str) -> tuple[Problem, ...]:
    """Return what is wrong with a price list; nothing if it was read.

    Whatever is told is told with a place that is in the file.
    """
    problems: tuple[Problem, ...] | None = None
    try:
        load(text, file="p.toml")
    except PricingError as error:
        problems = error.problems
    if problems is None:
        return ()
    assert problems, "refused, and nobody is told why"
    n_lines = text.count("\n") + 1
    for problem in problems:
        assert (bool(problem.message), problem.file) == (True, "p.toml")
        assert problem.line is not None
        assert 1 <= problem.line <= n_lines
    return problems


def test_the_file_itself_can_be_written_and_read() -> None:
    rewritten, original = load(document(TREE)), load(EVERYTHING)

    assert rewritten.overrides == original.overrides
    assert rewritten.plans[0].prices == original.plans[0].prices


@given(st.sampled_from(PATHS), st.sampled_from(ANYTHING))
def test_any_value_in_any_place_is_read_or_told(path: Path, value: Any) -> None:
    complaints(document(changed(path, value)))


@given(st.sampled_from(FIXED), st.text(max_size=12), st.sampled_from(ANYTHING))
def test_any_other_key_in_any_table_is_told(path: Path, text: str, value: Any) -> None:
    key = f"zz{text}"  # no key begins so

    problems = complaints(document(changed((*path, key), value)))

    assert [
        problem.message.startswith(f"unknown key `{key}`")
        for problem in problems
        if problem.key.endswith(key)
    ] == [True]


@given(st.sampled_from(TABLES), st.text(max_size=12), st.sampled_from(ANYTHING))
def test_any_key_of_any_table_is_read_or_told(path: Path, key: str, value: Any) -> None:
    complaints(document(changed((*path, key), value)))


@given(st.sampled_from(FREE), st.text(max_size=12))
def test_what_is_neither_usage_nor_a_value_is_told_under_any_name(
    path: Path, key: str
) -> None:
    assert complaints(document(changed((*path, key), [[]])))


@given(st.text(max_size=200))
def test_any_text_is_read_or_told(text: str) -> None:
    complaints(text)


@given(st.integers(0, len(EVERYTHING)), st.integers(0, 40))
def test_a_file_with_a_hole_is_read_or_told(at: int, length: int) -> None:
    complaints(EVERYTHING[:at] + EVERYTHING[at + length :])
