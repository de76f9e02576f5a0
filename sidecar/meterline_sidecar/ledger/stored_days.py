"""What is stored of days, in order of the key: of rows and packs, to be compared."""

from collections.abc import Mapping
from typing import Final

from meterline_sidecar.errors import DatabaseCorrupt
from meterline_sidecar.ledger.beside import Beside
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.ledger.runs import Item, Key
from meterline_sidecar.meters import Aggregation, Totals, merge
from meterline_sidecar.store.edge import integrity
from meterline_sidecar.store.edge import packed_days as store
from meterline_sidecar.store.edge.packed_days import Day
from meterline_sidecar.store.packed_days import pack, unpack
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.rollups import DAYS

ROWS_PER_READ: Final = 2_000
PACKS_PER_READ: Final = 20  # each is hundreds of rows, or thousands
FIRST: Final = Day(-(1 << 63), -(1 << 63))
HIGHEST: Final = (1 << 63) - 1


def days_beside(
    tx: Tx,
    generation: int,
    aggregations: Mapping[str, Aggregation],
    report: Report,
    *,
    beyond_ms: int,
) -> Beside:
    """Return what compares days with what they must hold; see ``Beside``."""

    told: set[Day] = set()

    async def read(key: Key | None) -> list[Item]:
        """Return the next days: of a group in a pack and in a row, what both come to."""
        rows = await integrity.totals_after(
            tx, DAYS, generation, key, limit=ROWS_PER_READ
        )
        last: Key = (HIGHEST,) * 3 if len(rows) < ROWS_PER_READ else rows[-1][0]
        first = FIRST if key is None else _day_of(key)
        packs = await store.packs_between(
            tx, generation, first=first, last=_day_of(last), limit=PACKS_PER_READ
        )
        if len(packs) == PACKS_PER_READ:
            last = min(last, (*packs[-1][0], HIGHEST))
        found: dict[Key, Totals] = {at: totals for at, totals in rows if at <= last}
        empty = {at for at, totals in found.items() if not totals}
        for day, body in packs:
            for group_id, totals in _read(day, body, report, told):
                at = (*day, group_id)
                if (key is None or at > key) and at <= last:
                    known = found.setdefault(at, {})
                    if at in empty:
                        report.add(
                            f"usage_days: a row without a total stands beside the pack of"
                            f" subject_id {day.subject_id}, day_ms {day.day_ms}, which"
                            f" has its group_id {group_id}"
                        )
                    merge(known, more=totals, aggregations=aggregations)
        return sorted(found.items())

    return Beside(DAYS.table, DAYS.columns, read, report, beyond_ms=beyond_ms)


def _day_of(key: Key) -> Day:
    subject_id, day_ms = key[:2]
    assert isinstance(subject_id, int)
    assert isinstance(day_ms, int)
    return Day(subject_id, day_ms)


def _read(
    day: Day, body: str, report: Report, told: set[Day]
) -> list[tuple[int, Totals]]:
    """Return what a pack says, group by group; what is wrong with it is told once."""
    wrong: str | None = None
    rows: list[tuple[int, Totals]] = []
    try:
        rows = [row for block in unpack(body) for row in block.rows()]
    except DatabaseCorrupt:
        wrong = "cannot be read: it is damaged"
    else:
        if not rows:
            wrong = "is empty"
        elif pack(dict(rows)) != body:
            wrong = "is not as Meterline writes it: a group is in it twice, or empty"
    if wrong is not None and day not in told:
        told.add(day)
        report.add(
            f"packed_days: the pack of subject_id {day.subject_id}, day_ms {day.day_ms}"
            f" {wrong}"
        )
    return rows
