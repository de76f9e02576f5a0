"""A PostgreSQL server fails over to a standby that lacks the last second.

The standby is asynchronous, and no longer connected when the last events are committed.
It takes the place of the primary, at the same address, while the centre goes on.
"""

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.fault.test_fleet import METERLINE, MILLION, Load
from tests.fault.test_postgres import has_more, numbers_in
from tests.fleet import Fleet
from tests.postgres_server import (
    PostgresServer,
    folder_of_server,
    programs,
    started,
)
from tests.sidecar_process import until


@pytest.fixture
def primary() -> Generator[PostgresServer]:
    """Run a server of the test's own."""
    if programs(15) is None:
        pytest.skip("PostgreSQL 15 is not installed: see .ci/run")
    with started(15) as one:
        yield one


@pytest.fixture
def standby(primary: PostgresServer) -> Generator[PostgresServer]:
    """Run a standby of it."""
    found = programs(15)
    assert found is not None
    with folder_of_server(primary.folder.parent) as folder:
        one = PostgresServer(folder, found)
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
