"""``meterline close`` of a sidecar that runs: as finance closes a month."""

import asyncio
from pathlib import Path

import pytest

from meterline_sidecar.cli.exits import EXIT_FOUND
from tests.plans import HEAD, starter_each
from tests.producer import Connection, batch, event
from tests.sidecar_process import METERLINE, SidecarProcess

IN_NOVEMBER = "2026-11-06T12:01:00Z"
DECEMBER_1 = "2026-12-01T09:00:00Z"
CUSTOMERS = (
    METERLINE
    + '[[customer]]\nid = "beta"\nsubjects = ["beta_*"]\nplan = "starter"\n'
    + '[[customer]]\nid = "gamma"\nsubjects = ["gamma_*"]\nplan = "later"\n'
)
PRICING = starter_each("0.50") + HEAD.replace("starter", "later").replace(
    "2026-01-01", "2026-12-01"
)


async def ship(sidecar: SidecarProcess) -> None:
    async with Connection(sidecar.socket) as app:
        await app.hello()
        await app.ship(batch(event(), event(subject="beta_1"), event(subject="beta_2")))


@pytest.mark.slow
def test_a_month_is_closed_by_three_commands(tmp_path: Path) -> None:
    made = SidecarProcess(
        tmp_path, meterline=CUSTOMERS, pricing=PRICING, clock=IN_NOVEMBER
    )
    with made as sidecar:
        asyncio.run(ship(sidecar))
        sidecar.until_counted(3)
        sidecar.set_clock(DECEMBER_1)

        dry = sidecar.meterline("close", "--skip-grace", "--dry-run")
        assert dry.returncode == EXIT_FOUND
        assert "2 invoices would become final: $1.50" in dry.stdout
        assert "held up: gamma (2026-11)" in dry.stdout

        done = sidecar.meterline("close", "--skip-grace", "--period", "2026-11")
        assert done.returncode == EXIT_FOUND, done.stderr
        assert "2 invoices are final now: $1.50" in done.stdout
        invoice = sidecar.meterline("invoice", "beta", "--period", "2026-11")
        assert "final invoice for 2026-11" in invoice.stdout

        again = sidecar.meterline("close", "--customer", "beta", "--skip-grace")
        assert again.returncode == 0
        assert "0 invoices are final now" in again.stdout
        assert "nothing is due" in again.stdout
        waiting = sidecar.meterline("close", "--list", "grace")
        assert "gamma" in waiting.stdout
        assert "2026-12-02T00:00:00" in waiting.stdout
