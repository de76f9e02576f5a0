"""Whole fleets, for minutes: two centres, edges of usage, a server, a pooler, Stripe.

One oracle for all: what was recorded stands on the invoices of a month once. ``make
soak`` runs them; each can be run by hand, ``SOAK=1 python -m pytest PATH::NAME``.
"""

import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import pytest

from benchmarks.harness import cpu_s
from tests.centres import Centres, leads
from tests.fault.host import IS_SOAK
from tests.fault.test_disk import fill
from tests.fault.test_failover import primary, standby, take_over
from tests.fault.test_fleet import MILLION, Load
from tests.plans import starter_each
from tests.postgres_server import (
    PostgresServer,
    needed,
    pooled,
    pooler,
    started,
)
from tests.sidecar_process import SidecarProcess, until
from tests.stripe_server.account import Account
from tests.stripe_server.server import ServerThread, StripeServer

pytestmark = pytest.mark.skipif(not IS_SOAK, reason="takes minutes: make soak")

__all__ = ["primary", "standby"]  # fixtures

USAGE: Final = 'forward = "usage"\n'
METERLINE: Final = """
[[meter]]
name = "api_calls"
aggregation = "count"
where = { kind = "use" }

[[meter]]
name = "n"
aggregation = "sum"
value = "quantities.n"

[billing]
close = "auto"
grace_hours = 0

[[customer]]
id = "everybody"
subjects = ["*"]
plan = "starter"
"""
PRICES: Final = (
    starter_each("0.01")
    + '\n[[plan.price]]\nmeter = "n"\nmodel = "per_unit"\nunit_amount = "0.000001"\n'
)
DISK_BYTES: Final = 200 << 20
EDGES: Final = 20
NOW: Final = datetime.now(UTC)
MONTH_END: Final = (NOW.replace(day=1) + timedelta(days=32)).replace(
    day=1, hour=0, minute=0, second=0, microsecond=0
)
LASTS_S: Final = float(os.environ.get("METERLINE_SOAK_S") or 60)


class Uses(Load):
    """Records numbers of a subject, some tens a second."""

    def _record(self) -> None:
        while not self._is_over.wait(0.01):
            self._meter.record("n", self.end, subject=f"s{self.end % 7}")
            self.end += 1


def numbers_of(loads: Iterable[Load]) -> list[int]:
    """Return all numbers that were recorded."""
    return [n for load in loads for n in range(load.first, load.end)]


def revive(centres: Centres) -> None:
    """Start centres that lost their COMMIT, as a supervisor does."""
    for centre in (centres.one, centres.two):
        if not centre.is_running:
            centre.launch()


def usage_of(centres: Centres) -> tuple[int, int]:
    """Return how many calls are counted, and the sum of their numbers."""
    rows = centres.sql("SELECT totals FROM usage")
    totals = [json.loads(row) for row in rows]
    return (
        sum(one.get("api_calls", 0) for one in totals),
        sum(one.get("n", 0) for one in totals),
    )


def until_counted(centres: Centres, wanted: list[int]) -> None:
    """Wait until all of it is usage, and see that it is no more."""

    def is_all() -> bool:
        revive(centres)
        return usage_of(centres)[0] >= len(wanted)

    until(is_all)
    time.sleep(3)  # whatever would count again
    assert usage_of(centres) == (len(wanted), sum(wanted))


def until_closed(centres: Centres, wanted: list[int]) -> None:
    """Let the month end, and compare its invoice with that of one host."""
    for centre in (centres.one, centres.two):
        until(lambda one=centre: one.is_running)  # type: ignore[misc]
        centre.until_ready()
    centres.set_clock(f"{MONTH_END:%Y-%m}-02T00:00:00Z")  # where it stands still
    invoices = f"SELECT document FROM invoices WHERE period = '{NOW:%Y-%m}'"
    centres.until_sql(invoices, bool)
    time.sleep(3)  # no second one
    (document,) = centres.sql(invoices)
    lines = json.loads(document)["invoice"]["lines"]
    found = sum((Decimal(line["amount"]) for line in lines), Decimal(0))
    expected = (len(wanted) * Decimal("0.01")).quantize(Decimal("0.01"))
    expected += (sum(wanted) * Decimal("0.000001")).quantize(Decimal("0.01"))
    assert abs(found - expected) <= Decimal("0.01"), (found, expected)


def verify(centres: Centres) -> None:
    """Stop both centres, and verify their ledger."""
    assert [centre.stop() for centre in (centres.two, centres.one)] == [0, 0]
    verified = centres.one.meterline("verify", "--json")
    assert json.loads(verified.stdout)["sound"], verified.stdout


def test_a_failover_that_lost_commits_costs_two_centres_and_edges_of_usage_nothing(
    tmp_path: Path, primary: PostgresServer, standby: PostgresServer
) -> None:
    with Centres(
        tmp_path, primary, meterline=METERLINE, pricing=PRICES, clock="+0"
    ) as centres:
        edges = [centres.edge("a", more=USAGE), centres.edge("b", more=USAGE)]
        loads = [Uses(edge, i * MILLION) for i, edge in enumerate(edges)]
        until(lambda: usage_of(centres)[0] > 300)
        count = "SELECT count(*) FROM events"
        n_there = int(centres.sql(count)[0])
        until(lambda: int(standby.sql(centres.database, count)) >= n_there)
        standby.stop("fast")
        n_before = int(centres.sql(count)[0])
        centres.until_sql(count, lambda rows: int(rows[0]) > n_before + 20)
        n_acked = int(centres.sql(count)[0])

        take_over(standby, primary)
        assert int(centres.sql(count)[0]) < n_acked
        # Who took in what is lost ends. The other one, which has not seen it, leads.
        until(lambda: not centres.one.is_running)
        assert "did the server fail over" in centres.one.log.read_text()
        until(lambda: leads(centres.two))
        centres.one.start()
        problems = [one["code"] for one in centres.one.get("/status")["problems"]]
        assert "ledger_not_trusted" in problems
        for load in loads:
            load.finish()
        wanted = numbers_of(loads)
        until_counted(centres, wanted)
        until_closed(centres, wanted)
        assert [edge.stop() for edge in edges] == [0, 0]
        assert [centres.two.stop(), centres.one.stop()] == [0, 0]
        accepted = centres.one.meterline("verify", "--accept")
        assert accepted.returncode == 0, accepted.stdout + accepted.stderr


def test_a_month_ends_behind_a_pooler_while_its_leader_is_killed(
    tmp_path: Path, server: PostgresServer
) -> None:
    if pooler() is None:
        pytest.skip("PgBouncer is not installed: see .ci/run")
    account = Account(now_s=time.time)
    account.add_meter("api_calls")
    with (
        ServerThread(StripeServer(account)) as stripe,
        pooled(server, size=14) as port,
    ):
        stripe.server.keys = {"rk_test_of_both"}
        config = METERLINE.replace(
            'plan = "starter"', 'plan = "starter"\nstripe_customer = "cus_1"'
        )
        config += f"""
[stripe]
mode = "send"
api_base = "{stripe.base}"
meter_events_base = "{stripe.base}"
report_every_s = 1
"""
        centres = Centres(
            tmp_path, server, meterline=config, pricing=PRICES, clock="+0", pooler=port
        )
        for centre in (centres.one, centres.two):
            centre.environment["METERLINE_STRIPE_API_KEY"] = "rk_test_of_both"
        with centres:
            edges = [centres.edge("a", more=USAGE), centres.edge("b")]
            loads = [Uses(edge, i * MILLION) for i, edge in enumerate(edges)]
            for _ in range(3):
                before = usage_of(centres)[0]
                until(lambda: usage_of(centres)[0] > before + 100)  # noqa: B023 - at once
                both = (centres.one, centres.two)
                (leader, *_) = until(lambda: [one for one in both if leads(one)])  # noqa: B023 - at once
                leader.kill()
                until(lambda: leads(centres.other(leader)))  # noqa: B023 - at once
                leader.start()
            for load in loads:
                load.finish()
            wanted = numbers_of(loads)
            until_counted(centres, wanted)
            account.now_s = MONTH_END.timestamp
            until_closed(centres, wanted)
            assert [edge.stop() for edge in edges] == [0, 0]
            verify(centres)


@pytest.fixture
def small_server(tmp_path: Path) -> Generator[tuple[PostgresServer, Path]]:
    """Run a server whose data are on a small disk."""
    needed(15)
    folder = Path(tempfile.mkdtemp(prefix="pgd"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        folder.rmdir()
        pytest.skip("only root can mount a small disk")
    folder.chmod(0o755)
    try:
        with started(15, where=folder) as one:
            yield one, folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def test_a_full_disk_of_the_server_is_told_and_waited_out(
    tmp_path: Path, small_server: tuple[PostgresServer, Path]
) -> None:
    server, disk = small_server
    with Centres(
        tmp_path, server, meterline=METERLINE, pricing=PRICES, clock="+0"
    ) as centres:
        edges = [centres.edge("a", more=USAGE), centres.edge("b")]
        loads = [Uses(edge, i * MILLION) for i, edge in enumerate(edges)]
        until(lambda: usage_of(centres)[0] > 300)
        fill(disk / "ballast")

        def told() -> set[str]:
            with centres.one.client() as client:
                found = client.get("/status").json()["problems"]
            return {one["text"] for one in found if one["code"] == "events_not_stored"}

        assert all("No space left" in text for text in until(told))
        n_kept = len(numbers_of(loads))
        until(lambda: len(numbers_of(loads)) > n_kept + 200)  # apps and edges go on
        assert centres.one.is_running
        assert "No space left" in centres.one.log.read_text()
        (disk / "ballast").unlink()
        for load in loads:
            load.finish()
        wanted = numbers_of(loads)
        until_counted(centres, wanted)
        until_closed(centres, wanted)
        assert "events are stored again" in centres.one.log.read_text()
        assert [edge.stop() for edge in edges] == [0, 0]
        verify(centres)


def test_twenty_edges_and_two_centres_are_killed_and_the_month_ends_right(
    tmp_path: Path, chance: random.Random, server: PostgresServer
) -> None:
    with Centres(
        tmp_path, server, meterline=METERLINE, pricing=PRICES, clock="+0"
    ) as centres:
        edges = [
            centres.edge(f"e{i}", more=USAGE if i % 4 else "") for i in range(EDGES)
        ]
        loads = [Uses(edge, i * MILLION) for i, edge in enumerate(edges)]
        until(lambda: usage_of(centres)[0] > EDGES)
        began_s, before = time.monotonic(), worked_s(centres)
        while time.monotonic() - began_s < LASTS_S:
            for edge in chance.sample(edges, 3):
                edge.kill()
                edge.start()
            centre = chance.choice((centres.one, centres.two))
            if chance.random() < 0.5:
                centre.kill()
                centre.start()
                before = worked_s(centres)
        for load in loads:
            load.finish()
        ended_s = time.monotonic()
        wanted = numbers_of(loads)
        until(lambda: usage_of(centres)[0] >= len(wanted))
        print(  # noqa: T201 - for who runs it by hand
            f"{len(wanted)} events, all counted {time.monotonic() - ended_s:.1f} s after"
            f" the last; centres {worked_s(centres) - before:.1f} s of CPU,"
            f" {memory_mb(centres.one)} and {memory_mb(centres.two)} MB,"
            f" an edge {memory_mb(edges[0])} MB"
        )
        until_counted(centres, wanted)
        until_closed(centres, wanted)
        assert {edge.stop() for edge in edges} == {0}
        verify(centres)


def worked_s(centres: Centres) -> float:
    """Return the CPU time of both centres since they were started."""
    return cpu_s(centres.one.pid) + cpu_s(centres.two.pid)


def memory_mb(host: SidecarProcess) -> int:
    """Return what a host has in memory."""
    status = Path(f"/proc/{host.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) >> 10
