"""The spans that a chart can show."""

from typing import Final, Literal

from meterline_pricing import Period
from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.usage.series import aligned, step_for

Range = Literal["24h", "7d", "30d", "90d"]
RANGES: Final[dict[Range, int]] = {
    "24h": DAY_MS,
    "7d": 7 * DAY_MS,
    "30d": 30 * DAY_MS,
    "90d": 90 * DAY_MS,
}


def span_before(
    now_ms: int, name: Range, *, is_of_one: bool = False
) -> tuple[Period, int]:
    """Return the span of that length up to now, in whole steps, and the step.

    Args:
        is_of_one: it is about one customer, whose usage is added up by quarter of an
            hour and by day, and not in between.
    """
    span = Period(now_ms - RANGES[name], now_ms + 1, name)  # what is now, too
    step_ms = step_for(span)
    if is_of_one and step_ms == HOUR_MS:
        step_ms = DAY_MS
    return aligned(span, step_ms), step_ms
