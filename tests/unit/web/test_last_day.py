"""How the last day of a period is said."""

import pytest

from meterline_sidecar.web.view.render import last_day

MIDNIGHT_MS = 1_796_601_600_000  # 7 December 2026, 00:00 UTC


@pytest.mark.parametrize(
    ("end_ms", "zone"),
    [
        (MIDNIGHT_MS, "UTC"),
        (MIDNIGHT_MS - 3_600_000, "Europe/Berlin"),
        (MIDNIGHT_MS + 5 * 3_600_000, "America/New_York"),
    ],
)
def test_it_is_the_day_before_the_end_in_the_zone(end_ms: int, zone: str) -> None:
    assert last_day(end_ms, zone) == "6 December"
