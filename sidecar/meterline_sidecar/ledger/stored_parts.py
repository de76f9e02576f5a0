"""Compares what is kept of parts of days with the windows that it follows from."""

from collections.abc import Mapping
from typing import Final

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.errors import DatabaseCorrupt
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.meters import Aggregation
from meterline_sidecar.store.day_parts import Part
from meterline_sidecar.store.edge import day_parts as store
from meterline_sidecar.store.packed_days import pack, unpacked
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.rollups import WINDOW_MS

PARTS_PER_READ: Final = 50


async def verify_parts(
    tx: Tx, generation: int, aggregations: Mapping[str, Aggregation], report: Report
) -> None:
    """Add the windows of each part of a day up again; they are compared with the events."""
    last: tuple[int, int] | None = None
    while parts := await store.parts_after(tx, generation, last, limit=PARTS_PER_READ):
        for part in parts:
            if wrong := await _wrong(tx, generation, aggregations, part):
                report.add(
                    f"day_parts: that of subject_id {part.subject_id}, start_ms"
                    f" {part.start_ms}, end_ms {part.end_ms} {wrong}"
                )
        last = parts[-1][:2]


async def _wrong(
    tx: Tx, generation: int, aggregations: Mapping[str, Aggregation], part: Part
) -> str | None:
    """Return what is wrong with a part, in words; ``None``: nothing."""
    start, end = part.start_ms, part.end_ms
    is_part = start < end <= (start // DAY_MS + 1) * DAY_MS
    if not is_part or start % WINDOW_MS or end % WINDOW_MS:
        return "is no part of a day"
    try:
        stored = unpacked(part.body)
    except DatabaseCorrupt:
        return "cannot be read: it is damaged"
    if pack(stored) != part.body:
        return "is not as Meterline writes it: a group is in it twice, or empty"
    windows = await store.parts_of(
        tx, generation, part.subject_id, [(start, end)], aggregations
    )
    come_to = unpacked(windows[0].body) if windows else {}
    for group_id in sorted({*stored, *come_to}):
        said, true = stored.get(group_id), come_to.get(group_id)
        if said != true:
            return (
                f"has {said or 'nothing'} for group_id {group_id}, its windows come to"
                f" {true or 'nothing'}"
            )
    return None if stored else "is empty"
