"""Whoever packs days that are over is killed at every step of its writing."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.meters import Meter, Totals
from meterline_sidecar.store import usage
from meterline_sidecar.store.edge.usage import Key
from meterline_sidecar.store.packed_days import NO_PACKS
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.usage.definition import encode, first_definition
from meterline_sidecar.usage.summed import ByGroup, by_group
from tests.agreed import terms_of
from tests.fault import days_killed
from tests.fault.host import ROOT
from tests.fault.test_kill_points import moments
from tests.patience import PATIENCE_S
from tests.store.drivers import DRIVERS, place_of
from tests.store.rows import DAY
from tests.store.test_day_parts import OTHER, WHOLE, Case, fill
from tests.store.test_packed_days import ADDING

METERS = [
    Meter(name, aggregation, value=None if aggregation == "count" else "bytes_out")
    for name, aggregation in ADDING.items()
]
USED: dict[Key, Totals] = {
    Key(subject_id, DAY + day * DAY_MS + hour * HOUR_MS, group_id): {
        "calls": subject_id + hour,
        "bytes": 7 * hour + group_id,
        "top": hour * group_id % 5,
        "seats": [hour, hour, group_id],
    }
    for subject_id in (WHOLE, OTHER)
    for day in range(2)
    for hour in (1, 12, 18, 19, 23)
    for group_id in (1, 2, 3)
}
SPANS = [
    (
        DAY - 6 * HOUR_MS + HOUR_MS // 4 + day * DAY_MS,
        DAY - 6 * HOUR_MS + HOUR_MS // 4 + (day + 1) * DAY_MS,
    )
    for day in range(3)
]
"""Days in Kathmandu."""


async def refill(ledger: Database) -> None:
    """Put the same usage in place of all that is there."""
    async with ledger.transaction() as tx:
        for table in ("day_parts", "packed_days", "usage_days", "usage"):
            await tx.execute(f"DELETE FROM {table}")
        for table in ("generations", "groups", "owners", "subjects"):
            await tx.execute(f"DELETE FROM {table}")
        await fill(tx, Case(DAY, [(0, "UTC")], "UTC", USED, {}, set(), set()))
        definition = encode(first_definition(terms_of(*METERS)))
        await tx.execute("UPDATE generations SET definition = ?", (definition,))


async def totals(ledger: Database) -> object:
    """Return all that is read of days: by day UTC and of the zone, and in all."""
    async with ledger.reading() as tx:
        months = await usage.read_sums_of(
            tx, 1, customers=["acme"], start=SPANS[0][0], end=SPANS[-1][1]
        )
        found: list[dict[str, ByGroup]] = [by_group(ADDING, months["acme"])]
        for start, end in SPANS:
            days = await usage.read_usage(tx, 1, customer="acme", start=start, end=end)
            found.append(summed(days))
            parts = await usage.read_spans(tx, 1, customer="acme", spans=[(start, end)])
            rows = parts.rows + [
                usage.UsageRow(subject_id, at_ms, parts.labels[group_id], of)
                for subject_id, at_ms, block in parts.packs
                for group_id, of in block.rows()
            ]
            assert summed(rows) == summed(days)
    return found


def summed(rows: list[usage.UsageRow]) -> dict[str, ByGroup]:
    sums = [(row.labels, [row.totals]) for row in rows]
    return by_group(ADDING, usage.Sums(sums, NO_PACKS))


async def counts(tx: Tx) -> list[int]:
    found: list[int] = []
    for table in ("usage_days", "packed_days", "day_parts", "usage"):
        row = await tx.fetch_one(f"SELECT count(*) FROM {table}")
        assert row is not None
        found.append(int(row[0]))
    return found


def packed_until(step: int, place: str) -> subprocess.CompletedProcess[str]:
    """Pack the ledger in a process that dies at a step; 0: at none."""
    return subprocess.run(
        [sys.executable, "-m", "tests.fault.days_killed", place, str(step)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.parametrize("driver", ["sqlite", "postgres-15"])
async def test_whoever_is_killed_while_it_packs_days_changes_nothing_that_is_read(
    driver: str,
    tmp_path: Path,
    chance: random.Random,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    days_killed.pack_small(monkeypatch)
    async with DRIVERS[driver](tmp_path) as ledger:
        place = place_of(driver, tmp_path)
        await refill(ledger)
        before = await totals(ledger)
        whole = packed_until(0, place)
        assert whole.returncode == 0, whole.stderr
        last = int(whole.stdout)
        async with ledger.reading() as tx:
            done = await counts(tx)
        assert done == [0, 4, 8, len(USED)]

        for step in moments(last, chance):
            await refill(ledger)
            died = packed_until(step, place)
            assert died.returncode == -signal.SIGKILL, died.stderr
            assert await totals(ledger) == before
            await days_killed.pack(ledger)
            assert await totals(ledger) == before
            async with ledger.reading() as tx:
                assert await counts(tx) == done
