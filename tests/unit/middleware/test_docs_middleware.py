"""docs/middleware.md names a test for every rule; each of them exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_every_test_that_the_rules_name_exists() -> None:
    page = (ROOT / "docs" / "middleware.md").read_text()
    tests = "".join(
        path.read_text() for path in (ROOT / "tests" / "integration").rglob("test_*.py")
    )

    named = re.findall(r"`(test_\w+)`", page)

    assert len(named) > 30
    assert [name for name in named if f"def {name}(" not in tests] == []
