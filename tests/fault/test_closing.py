"""Closing is killed at any moment: every period is closed once, for the same amount."""

import asyncio
import os
import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.plans import starter_each
from tests.producer import NOON_MS, Connection, batch, event
from tests.sidecar_process import METERLINE, SidecarProcess, until

N: int = 200
KILLS: int = 2
IN_NOVEMBER = "2026-11-06T12:01:00Z"
IN_DECEMBER = "2026-12-03T00:00:00Z"
CUSTOMERS = METERLINE + "".join(
    f'[[customer]]\nid = "c{i}"\nsubjects = ["s{i}"]\nplan = "starter"\n'
    for i in range(N)
)


def closed(sidecar: SidecarProcess) -> dict[tuple[str, str], str]:
    """Return what each final invoice comes to; each is there once."""
    with closing(sqlite3.connect(sidecar.database)) as ledger:
        rows = ledger.execute(
            "SELECT i.customer, i.period, i.document ->> '$.due', s.state"
            " FROM invoices i LEFT JOIN invoice_states s"
            " ON s.invoice_id = i.id AND s.state <> 'paid'"  # what is due by none is
        ).fetchall()
    assert max(Counter((row[0], row[1]) for row in rows).values(), default=1) == 1
    assert {row[3] for row in rows} <= {"final"}
    return {(row[0], row[1]): row[2] for row in rows}


@pytest.mark.slow
def test_a_kill_at_any_moment_of_closing_closes_each_period_once(
    tmp_path: Path,
) -> None:
    chance = random.Random(int(os.environ.get("SEED", "0")) or None)
    sidecar = SidecarProcess(
        tmp_path, meterline=CUSTOMERS, pricing=starter_each("0.50"), clock=IN_NOVEMBER
    )

    async def ship() -> None:
        async with Connection(sidecar.socket) as app:
            await app.hello()
            await app.ship(
                batch(*(event(subject=f"s{i}", time_ms=NOON_MS) for i in range(N)))
            )

    with sidecar:
        asyncio.run(ship())
        sidecar.until_counted(N)
        sidecar.set_clock(IN_DECEMBER)
        for _ in range(KILLS):
            before = len(closed(sidecar))
            more = chance.randrange(1, N // KILLS)
            until(lambda: len(closed(sidecar)) >= min(before + more, N))  # noqa: B023
            sidecar.kill()
            sidecar.start()
        until(lambda: len(closed(sidecar)) >= N + 1)

        assert closed(sidecar) == {
            ("acme", "2026-11"): "0.00",
            **{(f"c{i}", "2026-11"): "0.50" for i in range(N)},
        }
        assert sidecar.stop() == 0
    verified = sidecar.meterline("verify")
    assert verified.returncode == 0, verified.stdout
