"""What lines of invoices are called."""

import pytest

from meterline_sidecar.config.names import Name, Names

NAMES = Names({"gb": Name(title="Storage", unit="GB")})


@pytest.mark.parametrize(
    ("description", "meter", "expected"),
    [
        ("gb", "gb", "Storage"),
        ("gb (2026-09-16 to 2026-09-20)", "gb", "Storage (2026-09-16 to 2026-09-20)"),
        ("gb (cold)", "gb", "gb (cold)"),
        ("Cold (2026-09-16 to 2026-09-20)", "gb", "Cold (2026-09-16 to 2026-09-20)"),
        ("fee", None, "fee"),
        (
            "calls (2026-09-16 to 2026-09-20)",
            "calls",
            "calls (2026-09-16 to 2026-09-20)",
        ),
    ],
)
def test_a_line_is_called_as_its_price_or_else_its_meter(
    description: str, meter: str | None, expected: str
) -> None:
    assert NAMES.line(description, meter) == expected
