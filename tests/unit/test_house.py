"""The rules of the house that no linter knows."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import meterline
import meterline.llm
import meterline_pricing
import meterline_pricing.models
import meterline_pricing.tools
import meterline_sidecar
from tests.together import TOGETHER

ROOT = Path(__file__).parents[2]
LINES_MAX = 400
FUNCTION_LINES_MAX = 60
PLAIN_NAMES_MAX = 30
PRICING_FACES = (meterline_pricing, meterline_pricing.models, meterline_pricing.tools)
FACES = (meterline, meterline.llm, *PRICING_FACES)
SQL = re.compile(
    r"\b(SELECT\s.+FROM|INSERT INTO|DELETE FROM|UPDATE \w+ SET)\b", re.DOTALL
)
SOURCES = sorted(
    path
    for root in ("middleware", "pricing_rules", "sidecar")
    for path in (ROOT / root).rglob("*.py")
)
PAGES = sorted(
    path
    for where in ("docs/**/*.md", "README.md", "sidecar/**/templates/*.html")
    for path in ROOT.glob(where)
)
EVENTS = re.compile(r"\b(?:FROM|JOIN) events\b")
PACKED_APART = {
    "alike.py": 1,  # where nothing is packed
    "erase.py": 1,  # and then the packed ones
    "event_log.py": 3,  # the newest event, which is never packed
    "events.py": 1,  # likewise
    "external.py": 2,  # events with a name: never packed
    "held.py": 2,  # held ones, and those that stand for one: never packed
    "integrity.py": 4,  # held ones; and flags, with the packed ones beside
    "by_column.py": 2,
    "packed.py": 8,  # three for what is to be packed, where each id has a row
    "roll_ups.py": 1,  # what an edge has counted: never packed
    "usage.py": 2,  # where nothing is packed
}
"""How often each file of ``store/edge`` reads rows of events alone, and why it may."""
EITHER = re.compile(r"\w\((?:s|es|ies)\)")
"""How somebody writes who does not know whether it is one or more."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache  # not as soon as it is imported: every worker imports every module
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in SOURCES}


def functions(tree: ast.AST) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield every text of a module but its documentation."""
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in documentation:
            continue
        if isinstance(node.value, str):
            yield node.value


def test_what_starts_something_for_all_its_tests_is_on_one_worker() -> None:
    own = re.compile(r'@pytest\.fixture\(scope="module"\)')
    modules = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if own.search(path.read_text())
    ]

    assert [module for module in modules if module not in TOGETHER] == []
    assert [module for module in TOGETHER if not (ROOT / module).is_file()] == []


def test_the_three_packages_carry_one_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", meterline.__version__)
    assert not hasattr(meterline_pricing, "__version__")
    assert not hasattr(meterline_sidecar, "__version__")


def test_modules_are_short() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCES}

    assert {path: n for path, n in lengths.items() if n > LINES_MAX} == {}


def test_functions_fit_on_a_screen() -> None:
    lengths = {
        (path, function.name): (function.end_lineno or 0) - function.lineno + 1
        for path, tree in trees().items()
        for function in functions(tree)
    }

    assert {key: n for key, n in lengths.items() if n > FUNCTION_LINES_MAX} == {}


def test_imports_stand_at_the_top_but_for_the_one_that_says_what_is_missing() -> None:
    inside = [
        (path.name, function.name)
        for path, tree in trees().items()
        for function in functions(tree)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]

    assert inside == [("__main__.py", "_run")]


def test_sql_lives_in_the_store() -> None:
    elsewhere = [
        (path, text)
        for path, tree in trees().items()
        if "store" not in path.parts
        for text in texts(tree)
        if SQL.search(text)
    ]

    assert elsewhere == []


def test_a_count_is_of_one_thing_or_of_several() -> None:
    found = [
        (path.name, text)
        for path, tree in trees().items()
        for text in texts(tree)
        if EITHER.search(text)
    ]
    found += [
        (path.name, line)
        for path in PAGES
        for line in path.read_text().splitlines()
        if EITHER.search(line)
    ]

    assert found == [], "`n_of` counts things as people write it"


def test_every_public_name_is_used_where_types_are_checked() -> None:
    used = {
        (node.module, alias.name)
        for node in ast.walk(ast.parse((ROOT / "tests/typing/api.py").read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    public = {(face.__name__, name) for face in FACES for name in face.__all__}
    assert public - {("meterline", "__version__")} <= used


def test_every_public_name_of_pricing_has_one_home_and_few_are_in_the_first() -> None:
    names = Counter(name for face in PRICING_FACES for name in face.__all__)

    assert {name for name, times in names.items() if times > 1} == set()
    assert len(meterline_pricing.__all__) <= PLAIN_NAMES_MAX


def test_what_a_face_exports_is_there() -> None:
    missing = [
        (face.__name__, name)
        for face in FACES
        for name in face.__all__
        if not hasattr(face, name)
    ]

    assert missing == []


def test_whoever_reads_events_reads_packed_ones_as_well() -> None:
    found = {
        path.name: n
        for path in SOURCES
        if path.parent.name in ("edge", "store", "sqlite", "postgres")
        and (n := sum(len(EVENTS.findall(text)) for text in texts(trees()[path])))
    }

    assert found == PACKED_APART
