"""Two things go wrong at once, with real processes: a leader and a count, a server and an edge.

What each of them alone does is shown elsewhere. One oracle: what was recorded, and is on
any disk, stands on the invoice of the month once, and each month is closed once.
"""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final

import httpx
import pytest

from meterline.spool.scan import FORGOTTEN
from tests.centres import Centres, leads
from tests.fault.host import IS_SOAK
from tests.fault.test_centres import CUSTOMERS, METER, NOON, customers, use
from tests.fault.test_failover import primary, standby, take_over
from tests.fault.test_fleet import MILLION
from tests.fault.test_whole_fleets import (
    METERLINE,
    PRICES,
    USAGE,
    Uses,
    numbers_of,
    revive,
    until_closed,
    until_counted,
    usage_of,
    verify,
)
from tests.plans import STARTER
from tests.postgres_server import PostgresServer
from tests.sidecar_process import SidecarProcess, until

pytestmark = pytest.mark.skipif(not IS_SOAK, reason="takes minutes: make soak")

__all__ = ["primary", "standby"]  # fixtures

MANY: Final = (
    METER
    + '\n[billing]\nclose = "auto"\ngrace_hours = 0\n'
    + customers('plan = "starter"')
)


def leader_of(centres: Centres) -> SidecarProcess:
    """Wait until one leads, and return it."""
    found: list[SidecarProcess] = []

    def is_led() -> bool:
        revive(centres)
        for one in (centres.one, centres.two):
            # It may end again, at its start or as it is asked.
            with contextlib.suppress(AssertionError, httpx.TransportError):
                one.until_ready()
                found.extend([one] if leads(one) else [])
        return bool(found)

    until(is_led)
    return found[0]


def test_two_counts_that_reach_back_end_although_each_leader_is_killed(
    tmp_path: Path, chance: random.Random, server: PostgresServer
) -> None:
    with Centres(
        tmp_path, server, meterline=METERLINE, pricing=PRICES, clock="+0"
    ) as centres:
        edges = [
            centres.edge("a", more=USAGE),
            centres.edge("b", more=USAGE),
            centres.edge("c"),
        ]
        loads = [Uses(edge, i * MILLION) for i, edge in enumerate(edges)]
        until(lambda: usage_of(centres)[0] > 300)
        served = "SELECT max(id) FROM generations WHERE is_complete = 1"
        for meter in ("n", "api_calls"):
            before = centres.sql(served)
            leader = leader_of(centres)
            with leader.client() as client:
                begun = client.post(f"/v1/meters/{meter}/recount")
            assert begun.status_code == 200, begun.text
            time.sleep(chance.random() * 3)  # the moment is what is tried
            leader.kill()
            edge = chance.choice(edges)
            edge.kill()
            leader_of(centres)
            edge.start()
            centres.until_sql(served, lambda rows: rows != before)  # noqa: B023 - at once
        for load in loads:
            load.finish()
        wanted = numbers_of(loads)
        (generation,) = centres.sql(served)
        centres.until_sql(
            "SELECT coalesce(sum((totals::json ->> 'api_calls')::bigint), 0) FROM usage"
            f" WHERE generation = {generation}",
            lambda rows: int(rows[0]) >= len(wanted),
        )
        until_closed(centres, wanted)
        assert [edge.stop() for edge in edges] == [0, 0, 0]
        verify(centres)


@contextlib.contextmanager
def closes_wait(centres: Centres) -> Generator[None]:
    """Have each COMMIT of an invoice wait for a standby that there is not."""
    server = centres.server
    for change in (
        "CREATE FUNCTION wait_for_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM set_config('synchronous_commit', 'on', true); RETURN NEW; END $$",
        "CREATE TRIGGER waits AFTER INSERT ON invoices EXECUTE FUNCTION wait_for_it()",
        "ALTER SYSTEM SET synchronous_commit = 'local'",
        "ALTER SYSTEM SET synchronous_standby_names = 'nobody'",
        "SELECT pg_reload_conf()",
    ):
        centres.sql(change)
    try:
        yield
    finally:
        (server.data / "postgresql.auto.conf").write_text("")
        centres.sql("SELECT pg_reload_conf()")
        centres.sql("DROP TRIGGER waits ON invoices")


def test_a_server_that_is_killed_in_the_commit_of_a_close_closes_each_month_once(
    tmp_path: Path, server: PostgresServer
) -> None:
    with Centres(
        tmp_path, server, meterline=MANY, pricing=STARTER, clock=NOON
    ) as centres:
        names = [f"s{i}" for i in range(CUSTOMERS)]
        both = (centres.one, centres.two)
        use(both, names, at="2026-11-06T11:00:00Z", key="first")
        centres.one.until_counted(CUSTOMERS)
        with closes_wait(centres):
            centres.set_clock("2026-12-02T00:00:00Z")
            for _ in range(3):
                in_commit = (
                    "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
                )
                (pid, *_) = until(lambda: centres.sql(in_commit))  # noqa: B023 - at once
                os.kill(int(pid), signal.SIGKILL)  # all others are ended with it
                until(lambda: any(not one.is_running for one in both))
                leader_of(centres)
        closed = "SELECT count(*), count(DISTINCT customer) FROM invoices"

        def is_closed() -> bool:
            revive(centres)
            return centres.sql(closed) == [f"{CUSTOMERS}|{CUSTOMERS}"]

        until(is_closed)
        numbers = centres.sql("SELECT number FROM documents ORDER BY number")
        assert [int(number) for number in numbers] == list(range(1, CUSTOMERS + 1))
        for one in both:
            one.until_ready()
        use(both, names, at="2026-11-06T11:00:00Z", key="first")  # again: nothing new
        assert centres.sql("SELECT count(*) FROM external_events") == [str(CUSTOMERS)]
        verify(centres)


def lost_at(edge: SidecarProcess) -> set[int]:
    """Return which numbers of its one worker an edge has forgotten."""
    with contextlib.closing(sqlite3.connect(edge.database)) as ledger:
        rows = ledger.execute(
            "SELECT first_seq, last_seq FROM losses WHERE reason = ?", (FORGOTTEN,)
        ).fetchall()
    return {seq for first, last in rows for seq in range(first, last + 1)}


@pytest.mark.parametrize("kind", ["", USAGE])
def test_a_failover_that_lost_commits_and_an_edge_that_was_put_back(
    tmp_path: Path, primary: PostgresServer, standby: PostgresServer, kind: str
) -> None:
    with Centres(
        tmp_path, primary, meterline=METERLINE, pricing=PRICES, clock="+0"
    ) as centres:
        edges = [centres.edge("a", more=kind), centres.edge("b", more=USAGE)]
        a, _ = edges
        loads = [Uses(edge, i * MILLION) for i, edge in enumerate(edges)]
        until(lambda: usage_of(centres)[0] > 300)
        count = "SELECT count(*) FROM events"
        n_there = int(centres.sql(count)[0])
        until(lambda: int(standby.sql(centres.database, count)) >= n_there)
        standby.stop("fast")
        kept = tmp_path / "kept.db"
        assert a.meterline("backup", str(kept)).returncode == 0
        n_before = int(centres.sql(count)[0])
        n_recorded = len(numbers_of(loads))
        until(lambda: len(numbers_of(loads)) > n_recorded + 600)
        centres.until_sql(count, lambda rows: int(rows[0]) > n_before + 20)

        a.kill()
        take_over(standby, primary)
        until(lambda: not (centres.one.is_running and centres.two.is_running))
        leader_of(centres)
        for suffix in ("", "-wal", "-shm", ".head", ".newest"):
            a.database.with_name(a.database.name + suffix).unlink(missing_ok=True)
        shutil.copyfile(kept, a.database)
        a.start()
        until_adopted(centres, a)
        for load in loads:
            load.finish()
        until(lambda: not behind(centres))
        lost = lost_at(a)  # unless the worker had all of it still
        wanted = [n for n in numbers_of(loads) if n >= MILLION or n + 1 not in lost]
        until_counted(centres, wanted)
        accept(centres)
        until_closed(centres, wanted)
        assert [edge.stop() for edge in edges] == [0, 0]
        verify(centres)


def accept(centres: Centres) -> None:
    """Accept what is gone of the ledger, at each centre that had seen it."""
    leader_of(centres)
    for one in (centres.two, centres.one):
        one.until_ready()
        assert one.stop() == 0
    for one in (centres.one, centres.two):
        accepted = one.meterline("verify", "--accept")
        assert accepted.returncode == 0, accepted.stdout + accepted.stderr
        one.start()


def until_adopted(centres: Centres, edge: SidecarProcess) -> None:
    """Adopt an edge that is refused, if it is, and wait until it is connected."""

    def is_there() -> bool:
        centre = leader_of(centres)
        found = {one["name"]: one for one in centre.get("/v1/edges")["edges"]}
        if found["a"]["state"] == "refused":
            done = centre.meterline("edges", "adopt", "a", "--reason", "restored")
            assert done.returncode == 0, done.stderr
        problems = [one["code"] for one in edge.get("/status")["problems"]]
        return "not_forwarded" not in problems and found["a"]["state"] == "connected"

    until(is_there)


def behind(centres: Centres) -> list[str]:
    """Return which edges have something that the centre has not."""
    edges = leader_of(centres).get("/v1/edges")["edges"]
    return [one["name"] for one in edges if one["behind"]]


def test_an_edge_an_hour_off_and_a_server_that_was_put_back(
    tmp_path: Path, primary: PostgresServer
) -> None:
    with Centres(
        tmp_path, primary, meterline=METERLINE, pricing=PRICES, clock="+0"
    ) as centres:
        edges = [
            centres.edge(name, more=kind)
            for name, kind in (("a", USAGE), ("b", ""), ("c", USAGE))
        ]
        edges[0].set_clock("+3600")  # whose own clock holds nothing back
        edges[1].set_clock("-3600")
        loads = [Uses(edge, i * MILLION) for i, edge in enumerate(edges)]
        until(lambda: usage_of(centres)[0] > 300)
        primary.stop("fast")
        backup = primary.folder / "kept"
        primary_data = primary.data
        shutil.copytree(primary_data, backup, copy_function=shutil.copy2)
        for path in (backup, *backup.rglob("*")):
            shutil.chown(path, primary.folder.owner(), primary.folder.group())
        primary.start()
        n_before = usage_of(centres)[0]

        def has_more() -> bool:
            revive(centres)
            return usage_of(centres)[0] > n_before + 300

        until(has_more)
        primary.stop("immediate")
        shutil.rmtree(primary_data)
        backup.rename(primary_data)
        primary.start()
        until(lambda: not (centres.one.is_running and centres.two.is_running))
        leader_of(centres)
        told = {one["code"] for one in leader_of(centres).get("/status")["problems"]}
        assert "edge_clock" in told
        for load in loads:
            load.finish()
        wanted = numbers_of(loads)
        until_counted(centres, wanted)
        accept(centres)
        until_closed(centres, wanted)
        assert [edge.stop() for edge in edges] == [0, 0, 0]
        verify(centres)
