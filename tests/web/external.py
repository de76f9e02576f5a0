"""Events as they come over HTTP, for tests."""

from typing import Any, Final

NOON: Final = "2026-11-06T12:00:00Z"


def plain(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Return an event of five tokens in plain JSON."""
    fields = {
        "id": f"e-{number}",
        "source": "jobs",
        "time": NOON,
        "subject": "acct_1",
        "quantities": {"tokens": 5},
    }
    return {**fields, **changes}


def cloud(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Return the same as a CloudEvent."""
    fields = {
        "specversion": "1.0",
        "id": f"e-{number}",
        "source": "jobs",
        "type": "com.example.job",
        "time": NOON,
        "subject": "acct_1",
        "data": {"quantities": {"tokens": 5}},
    }
    return {**fields, **changes}
