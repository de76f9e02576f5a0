"""A centre on PostgreSQL: the centre and its server are killed, again and again."""

import json
import random
import time
from pathlib import Path

import msgspec

from meterline import Meter
from tests.balancer import Balancer
from tests.fault.test_fleet import METERLINE, MILLION, Load
from tests.fleet import Fleet
from tests.patience import PATIENCE_S
from tests.postgres_server import PostgresServer, by_port
from tests.sidecar_process import until


def numbers_in(server: PostgresServer, database: str) -> list[int]:
    """Return the numbers of all events in a ledger, as often as they are there."""
    rows = server.sql(database, "SELECT quantities FROM events").splitlines()
    return [msgspec.json.decode(row)["n"] for row in rows]


def has_more(server: PostgresServer, database: str, n_before: int) -> bool:
    (count,) = server.sql(database, "SELECT count(*) FROM events").split()
    return int(count) > n_before


def test_while_the_server_is_away_nothing_is_lost_and_everybody_is_told(
    tmp_path: Path, server: PostgresServer
) -> None:
    database = server.url(server.create())
    with Fleet(tmp_path, meterline=METERLINE, pricing="", database=database) as fleet:
        centre = fleet.centre
        meter = Meter(socket=centre.socket, spool_dir=centre.spool_dir)
        meter.record("n", 1)
        centre.until_counted(1)
        server.stop("immediate")
        meter.record("n", 2)

        with centre.client() as client:
            # What came may wait a second for its commit, which notices.
            until(lambda: client.get("/readyz").status_code != 200)
            answers = [client.get(path) for path in ("/v1/usage", "/readyz", "/status")]
        refused = centre.meterline("verify")
        server.start()
        centre.until_counted(2)
        meter.close(timeout_s=PATIENCE_S)
        assert centre.stop() == 0
        server.stop("immediate")
        centre.launch()

        assert [answer.status_code for answer in answers] == [503, 503, 503]
        assert all("cannot be reached" in answer.text for answer in answers)
        assert (refused.returncode, "cannot be reached" in refused.stderr) == (1, True)
        assert centre.wait() == 1


def test_kills_of_the_centre_and_its_server_lose_nothing_and_double_nothing(
    tmp_path: Path, chance: random.Random, server: PostgresServer
) -> None:
    database = server.create()
    with Fleet(
        tmp_path, meterline=METERLINE, pricing="", database=server.url(database)
    ) as fleet:
        one, two, centre = fleet.edge("one"), fleet.edge("two"), fleet.centre
        loads = [Load(one, 0), Load(two, MILLION)]
        for victim in ("server", "centre", "both"):
            n_before = len(numbers_in(server, database))
            until(lambda n=n_before: has_more(server, database, n))  # type: ignore[misc]
            time.sleep(chance.random() / 10)  # the moment is what is tried
            if victim != "server":
                centre.kill()
            if victim != "centre":
                server.stop("immediate")
                server.start()
            # Whoever lost its COMMIT ends, as it does not know; a supervisor starts it.
            if not centre.is_running:
                centre.start()
        for load in loads:
            load.finish()

        wanted = [n for load in loads for n in range(load.first, load.end)]

        def is_all() -> bool:
            if not centre.is_running:
                centre.start()
            return len(numbers_in(server, database)) >= len(wanted)

        until(is_all)
        until(lambda: centre.is_running)
        assert [host.stop() for host in (one, two, centre)] == [0, 0, 0]

        assert sorted(numbers_in(server, database)) == wanted
        verified = centre.meterline("verify", "--json")
        report = json.loads(verified.stdout)
        assert report["sound"], report


def test_a_centre_that_is_cut_off_from_its_server_stops_all_the_same(
    tmp_path: Path, server: PostgresServer
) -> None:
    database = server.create()
    with (
        Balancer(server.socket) as way,
        Fleet(
            tmp_path,
            meterline=METERLINE,
            pricing="",
            database=by_port(database, way.port),
        ) as fleet,
    ):
        edge, centre = fleet.edge("one"), fleet.centre
        load = Load(edge, 0)
        until(lambda: has_more(server, database, 100))

        way.hold()
        assert centre.stop() == 1
        said = centre.log.read_text()
        way.go_on()  # what was held gets there now, from one that is gone
        centre.start()
        load.finish()

        until(lambda: len(numbers_in(server, database)) >= load.end)
        assert "has not answered for 3 s" in said
        assert "Traceback" not in said
        assert [host.stop() for host in (edge, centre)] == [0, 0]
        assert sorted(numbers_in(server, database)) == list(range(load.end))
        assert json.loads(centre.meterline("verify", "--json").stdout)["sound"]
