"""docs/guarantees.md names a test for each promise; each of them exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_promise_names_a_test_and_every_named_test_exists() -> None:
    promises = TEXT[: TEXT.index("## What can still be lost")]
    rows = [
        line
        for line in promises.splitlines()
        if line.startswith("| ") and not line.startswith("| promise")
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
