"""docs/guarantees.md names a test for each promise; each of them exists."""

import re
from pathlib import Path

from tests import guarantees

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_promise_names_a_test_and_every_named_test_exists() -> None:
    promises = TEXT[: TEXT.index("## What can still be lost")]
    rows = [
        line
        for line in promises.splitlines()
        if line.startswith("| ") and not line.startswith(("| promise", "| test |"))
    ]

    without = [row for row in rows if not NAMED.search(row)]
    missing = [
        f"{file}::{name}"
        for file, name in NAMED.findall(TEXT)
        if not (ROOT / file).exists()
        or not re.search(rf"def {name}\b", (ROOT / file).read_text(encoding="utf-8"))
    ]

    assert len(rows) > 25
    assert (without, missing) == ([], [])


SOME_PAGE = """
| A promise. | `tests/a.py::test_one` |
| Another. | `tests/a.py::test_two` |

| test | needs |
|---|---|
| `tests/a.py::test_two` | root |
"""


def test_what_can_still_be_lost_is_shown_as_it_is_reported() -> None:
    lost = TEXT[TEXT.index("## What can still be lost") :]
    rows = [line for line in lost.splitlines() if line.startswith("| ")][1:]

    assert len(rows) > 5
    assert [row for row in rows if not NAMED.search(row)] == []


def test_a_test_that_was_skipped_or_did_not_run_shows_nothing() -> None:
    def not_shown(passed: list[str], skipped: list[str]) -> int:
        return len(guarantees.not_shown(SOME_PAGE, passed=passed, skipped=skipped))

    assert not_shown(["tests/a.py::test_one[x]"], ["tests/a.py::test_two"]) == 0
    assert not_shown([], ["tests/a.py::test_one"]) == 1
    assert not_shown(["tests/a.py::test_one[x]"], ["tests/a.py::test_one[y]"]) == 1
    assert not_shown(["tests/a.py::test_two"], []) == 1


def test_the_page_says_what_tests_need_only_of_tests_that_it_names() -> None:
    needs = guarantees.may_be_skipped(TEXT)

    rows = [line for line in TEXT.splitlines() if not line.startswith("| `tests/")]
    assert needs
    assert needs <= guarantees.named("\n".join(rows))
