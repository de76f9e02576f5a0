"""SQL for usage at a coarser grain: what many windows add up to."""

from typing import Final, NamedTuple

import msgspec

from meterline_sidecar.clock import DAY_MS, HOUR_MS, MINUTE_MS
from meterline_sidecar.meters import Totals
from meterline_sidecar.store.port import Tx

RollupKey = tuple[int, ...]

WINDOW_MS: Final = 15 * MINUTE_MS
"""Fine enough that a month in any IANA time zone (+05:45 too) starts on a window."""
STEPS_MS: Final = (WINDOW_MS, HOUR_MS, DAY_MS)
"""The spans over which everybody's usage is added up."""

_totals: Final = msgspec.json.Decoder(Totals)


class Rollup(NamedTuple):
    """A table of totals by generation and some more columns."""

    table: str
    columns: tuple[str, ...]


WINDOWS: Final = Rollup("usage", ("subject_id", "window_ms", "group_id"))
DAYS: Final = Rollup("usage_days", ("subject_id", "day_ms", "group_id"))
ALL: Final = Rollup("usage_totals", ("step_ms", "start_ms", "group_id"))


async def read_all(
    tx: Tx, generation: int, *, step_ms: int, start: int, end: int
) -> list[tuple[int, str, Totals]]:
    """Return ``(start_ms, labels, totals)`` of everybody in ``[start, end)``.

    Args:
        step_ms: how long each span is: one of ``STEPS_MS``.
    """
    rows = await tx.fetch_all(
        "SELECT u.start_ms, g.labels, u.totals FROM usage_totals u"
        " JOIN groups g ON g.id = u.group_id"
        " WHERE u.generation = ? AND u.step_ms = ?"
        " AND u.start_ms >= ? AND u.start_ms < ? ORDER BY u.start_ms",
        (generation, step_ms, start, end),
    )
    return [(at_ms, labels, _totals.decode(totals)) for at_ms, labels, totals in rows]
