"""docs/middleware.md and docs/recorded.md name a test for every rule; each exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_every_test_that_the_rules_name_exists() -> None:
    page = "\n\n".join(
        (ROOT / "docs" / name).read_text() for name in ("middleware.md", "recorded.md")
    )
    folders = ("integration", "unit/middleware")
    tests = "".join(
        path.read_text()
        for folder in folders
        for path in (ROOT / "tests" / folder).rglob("test_*.py")
    )

    named = re.findall(r"`(test_\w+)`", page)

    rules = [line for line in page.splitlines() if line.startswith("| ")]
    without = [
        rule
        for table in page.split("| test |")[1:]
        for rule in table.split("\n\n")[0].splitlines()[2:]
        if not re.search(r"`test_\w+` \|$", rule)
    ]

    assert len(rules) > len(named) > 50
    assert without == []
    assert [name for name in named if f"def {name}(" not in tests] == []
