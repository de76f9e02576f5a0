"""Sums over all producers, whose rows stay for ever: kept, and true."""

import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import pytest

from meterline.wire import SEQ_MAX
from meterline_sidecar.store.edge import event_log, gaps, integrity
from meterline_sidecar.store.edge import events as store
from meterline_sidecar.store.edge.events import ProducerRow
from meterline_sidecar.store.port import Row, Tx, Value
from meterline_sidecar.store.sums import SUM_MAX
from tests.clock import FakeClock
from tests.integration.conftest import Sidecar

NOW_MS: Final = FakeClock().now_ms()
STEPS: Final = 60
BY_INDEX: Final = ("producers_seen", "producers_with_gap", "sqlite_autoindex_producers")


def producer(name: str, **more: Any) -> ProducerRow:
    row: dict[str, Any] = dict.fromkeys(ProducerRow._fields, 0)
    row |= {"producer": name, "app": "tests", "host": "localhost", "spool": "file"}
    row |= {"seen_ms": NOW_MS, **more}
    return ProducerRow(**row)


def some_counts(chance: random.Random) -> dict[str, Any]:
    names = ("ingested", "refused", "lost", "duplicates", "unattributed")
    return {
        **{name: chance.randrange(1_000) for name in (*names, "bad_quantities")},
        "recorded_seq": chance.choice([0, 5_000, SEQ_MAX]),
        "is_closed": chance.randrange(2),
        "spool": chance.choice(["file", "memory"]),
    }


async def test_sums_over_producers_are_those_of_their_rows_whatever_happens(
    sidecar: Sidecar,
) -> None:
    chance = random.Random(20261126)
    for step in range(STEPS):
        async with sidecar.database.transaction() as tx:
            row = producer(f"{step:032x}", **some_counts(chance))
            added = row._replace(id=await store.add_producer(tx, row))
            if chance.random() < 0.7:
                await store.update_producer(tx, added._replace(**some_counts(chance)))
            if chance.random() < 0.3:
                await tx.execute("DELETE FROM producers WHERE id = ?", (added.id,))

    async with sidecar.database.reading() as tx:
        assert not await integrity.has_wrong_sums(tx)
        rows = [ProducerRow(*row) for row in await tx.fetch_all(store.SELECT_PRODUCER)]
        counts = await event_log.counts(tx)
    for name in ("ingested", "refused", "lost", "duplicates", "bad_quantities"):
        assert getattr(counts, name) == sum(getattr(row, name) for row in rows)
    recorded = sum(row.recorded_seq for row in rows)
    assert counts.recorded == min(recorded, SUM_MAX)
    is_open = [row for row in rows if not row.is_closed]
    assert (counts.open, counts.closed) == (len(is_open), len(rows) - len(is_open))
    assert counts.memory == sum(row.spool == "memory" for row in is_open)


class Plans:
    """Reads as a transaction does, and notes how SQLite finds producers."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self.lines: list[str] = []

    async def _plan(self, sql: str, values: Sequence[Value]) -> None:
        plan = await self._tx.fetch_all(f"EXPLAIN QUERY PLAN {sql}", values)
        self.lines += [row[3] for row in plan]

    async def fetch_one(self, sql: str, values: Sequence[Value] = ()) -> Row | None:
        await self._plan(sql, values)
        return await self._tx.fetch_one(sql, values)

    async def fetch_all(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        await self._plan(sql, values)
        return await self._tx.fetch_all(sql, values)


@pytest.mark.parametrize(
    "ask",
    [
        event_log.counts,
        partial(store.list_producers, limit=100),
        partial(gaps.silent_gaps, seen_before_ms=NOW_MS + 1),
        partial(gaps.open_gaps, start_ms=0, end_ms=NOW_MS + 1),
    ],
    ids=["counts", "list", "silent", "open"],
)
async def test_no_answer_reads_the_row_of_every_producer(
    sidecar: Sidecar, ask: Callable[[Any], Awaitable[object]]
) -> None:
    async with sidecar.database.transaction() as tx:
        await store.add_producer(tx, producer("0" * 32, recorded_seq=10))

    async with sidecar.database.reading() as tx:
        plans = Plans(tx)
        await ask(plans)

    of_producers = [
        line for line in plans.lines if line.split()[1] in ("producers", "p")
    ]
    assert of_producers
    assert not any("RIGHT PART" in line for line in plans.lines), "all are sorted"
    for line in of_producers:
        assert any(index in line for index in BY_INDEX), line
