"""The spans that a chart can show."""

from typing import Final, Literal

from meterline_pricing import Period
from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.series import aligned, step_for

Range = Literal["24h", "7d", "30d", "90d"]
RANGES: Final[dict[Range, int]] = {
    "24h": DAY_MS,
    "7d": 7 * DAY_MS,
    "30d": 30 * DAY_MS,
    "90d": 90 * DAY_MS,
}


def span_before(now_ms: int, name: Range) -> tuple[Period, int]:
    """Return the span of that length up to now, in whole steps, and the step."""
    span = Period(now_ms - RANGES[name], now_ms + 1, name)  # what is now, too
    step_ms = step_for(span)
    return aligned(span, step_ms), step_ms
