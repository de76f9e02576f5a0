"""What docs/guarantees.md promises, and whether the tests that it names really ran."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[1] / "docs" / "guarantees.md"
NAMED: Final = re.compile(r"`(tests/[\w/]+\.py::test_\w+)`")
NEEDS: Final = re.compile(r"^\| `(tests/[\w/]+\.py::test_\w+)` \| \S", re.MULTILINE)


def named(page: str) -> set[str]:
    """Return every test that stands on the page."""
    return set(NAMED.findall(page))


def may_be_skipped(page: str) -> set[str]:
    """Return the tests of which the page says what they need."""
    return set(NEEDS.findall(page))


def test_of(node_id: str) -> str:
    """Return a test without the parameters of one run of it."""
    return node_id.partition("[")[0]


def not_shown(
    page: str, *, passed: Collection[str], skipped: Collection[str]
) -> list[str]:
    """Return, in words, which tests of the page showed nothing in a whole run.

    Args:
        passed: node ids of tests that ran.
        skipped: node ids of tests that did not; one run of several is enough.
    """
    ran = {test_of(node_id) for node_id in passed}
    left_out = {test_of(node_id) for node_id in skipped}
    return [
        f"{name} is named in docs/guarantees.md and was skipped"
        if name in left_out
        else f"{name} is named in docs/guarantees.md and did not run"
        for name in sorted(named(page) - may_be_skipped(page))
        if name in left_out or name not in ran
    ]
