"""A PostgreSQL server fails over to a standby that lacks the last second.

The standby is asynchronous, and no longer connected when the last events are committed.
It takes the place of the primary, at the same address, while the centre goes on.
"""

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.balancer import Balancer
from tests.fault.test_fleet import METERLINE, MILLION, Load
from tests.fault.test_postgres import has_more, numbers_in
from tests.fleet import Fleet
from tests.postgres_server import (
    PostgresServer,
    by_port,
    folder_of_server,
    needed,
    started,
)
from tests.sidecar_process import until


@pytest.fixture
def primary() -> Generator[PostgresServer]:
    """Run a server of the test's own."""
    with started(15) as one:
        yield one


@pytest.fixture
def standby(primary: PostgresServer) -> Generator[PostgresServer]:
    """Run a standby of it."""
    with folder_of_server(primary.folder.parent) as folder:
        one = PostgresServer(folder, needed(15))
        primary.run(
            "pg_basebackup", *("--pgdata", str(one.data), "--write-recovery-conf"),
            *("--host", str(primary.folder), "--username", "meterline", "--no-sync"),
            *("--checkpoint", "fast"),
        )  # fmt: skip
        with (one.data / "postgresql.conf").open("a") as file:
            file.write(f"unix_socket_directories = '{folder}'\n")
        one.start()
        yield one


def take_over(standby: PostgresServer, primary: PostgresServer) -> None:
    """Have a standby that is stopped be the server from now on, at the same address."""
    primary.stop("immediate")
    with (standby.data / "postgresql.conf").open("a") as file:
        file.write(f"unix_socket_directories = '{primary.folder}'\n")
    standby.start()
    standby.run("pg_ctl", "promote", "-w", "-s", "-D", str(standby.data))


def test_a_failover_that_lost_the_last_second_is_noticed_and_sent_again(
    tmp_path: Path, primary: PostgresServer, standby: PostgresServer
) -> None:
    database = primary.create()
    with Fleet(
        tmp_path, meterline=METERLINE, pricing="", database=primary.url(database)
    ) as fleet:
        one, two, centre = fleet.edge("one"), fleet.edge("two"), fleet.centre
        loads = [Load(one, 0), Load(two, MILLION)]
        until(lambda: has_more(primary, database, 0))
        n_there = len(numbers_in(primary, database))
        until(lambda: has_more(standby, database, n_there - 1))
        standby.stop("fast")
        n_before = len(numbers_in(primary, database))
        until(lambda: has_more(primary, database, n_before + 50))
        n_acked = len(numbers_in(primary, database))

        take_over(standby, primary)
        assert len(numbers_in(primary, database)) < n_acked
        until(lambda: not centre.is_running)
        assert "did the server fail over" in centre.log.read_text()
        centre.start()
        problems = [one["code"] for one in centre.get("/status")["problems"]]
        for load in loads:
            load.finish()
        wanted = [n for load in loads for n in range(load.first, load.end)]
        until(lambda: len(numbers_in(primary, database)) >= len(wanted))

        assert "ledger_not_trusted" in problems
        assert [host.stop() for host in (one, two, centre)] == [0, 0, 0]
        assert sorted(numbers_in(primary, database)) == wanted
        accepted = centre.meterline("verify", "--accept")
        assert accepted.returncode == 0, accepted.stdout + accepted.stderr
        assert json.loads(centre.meterline("verify", "--json").stdout)["sound"]


def test_a_standby_is_no_place_to_store_until_it_is_promoted(
    tmp_path: Path, primary: PostgresServer, standby: PostgresServer
) -> None:
    database = primary.create()
    primary.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.sql("postgres", "SELECT pg_reload_conf()")
    with (
        Balancer(primary.socket, standby.socket) as way,
        Fleet(
            tmp_path,
            meterline=METERLINE,
            pricing="",
            database=by_port(database, way.port),
        ) as fleet,
    ):
        centre, edges = fleet.centre, [fleet.edge(name) for name in ("a", "b", "c")]
        loads = [Load(edge, i * MILLION) for i, edge in enumerate(edges)]
        until(lambda: has_more(primary, database, 300))

        with primary.without_writers(database):
            primary.stop("immediate")
        way.cut()
        with centre.client() as client:

            def is_told() -> bool:
                ready = client.get("/readyz")
                return ready.status_code == 503 and "is a standby" in ready.text

            until(is_told)
            shown = client.get("/").text
        status = centre.meterline("status").stdout
        standby.run("pg_ctl", "promote", "-w", "-s", "-D", str(standby.data))
        until(lambda: centre.get("/status")["ready"])
        for load in loads:
            load.finish()
        wanted = [n for load in loads for n in range(load.first, load.end)]
        until(lambda: len(numbers_in(standby, database)) >= len(wanted))

        assert "is a standby" in shown
        assert "NOT READY" in status
        assert "is a standby: name the primary" in status
        assert [host.stop() for host in (*edges, centre)] == [0] * 4
        assert sorted(numbers_in(standby, database)) == wanted
        assert json.loads(centre.meterline("verify", "--json").stdout)["sound"]
