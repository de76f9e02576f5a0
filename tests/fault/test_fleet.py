"""Two edges and a centre as processes, killed and killed again while workers record."""

import json
import random
import sqlite3
import threading
import time
from pathlib import Path
from typing import Final

import msgspec

from meterline import Meter
from tests.all_events import ALL_EVENTS, with_packs
from tests.fault.oracle import verify_ledger
from tests.fleet import Fleet
from tests.patience import PATIENCE_S
from tests.sidecar_process import SidecarProcess, until

MILLION: Final = 1_000_000
METERLINE: Final = """
[[meter]]
name = "n"
aggregation = "sum"
value = "quantities.n"
"""


def numbers_in(database: Path) -> list[int]:
    """Return the numbers of all events in a ledger, as often as they are there."""
    connection = with_packs(sqlite3.connect(f"file:{database}?mode=ro", uri=True))
    try:
        rows = connection.execute(f"SELECT quantities FROM {ALL_EVENTS}").fetchall()
    finally:
        connection.close()
    return [msgspec.json.decode(row[0])["n"] for row in rows]


class Load:
    """Records numbers on one host, a few hundred a second, until it is ended."""

    def __init__(self, host: SidecarProcess, first: int) -> None:
        self._meter = Meter(socket=host.socket, spool_dir=host.spool_dir)
        self._is_over = threading.Event()
        self.first = self.end = first
        self._thread = threading.Thread(target=self._record, daemon=True)
        self._thread.start()

    def _record(self) -> None:
        while not self._is_over.wait(0.002):
            self._meter.record("n", self.end)
            self.end += 1

    def finish(self) -> None:
        """Stop, once the host has all of it."""
        self._is_over.set()
        self._thread.join()
        self._meter.close(timeout_s=PATIENCE_S)


def states_at(centre: SidecarProcess) -> list[str]:
    """Return the states of a centre's edges, as a person sees them."""
    listed = centre.meterline("edges", "list", "--json")
    return [one["state"] for one in json.loads(listed.stdout)["edges"]]


def until_more(host: SidecarProcess) -> None:
    """Wait until a host has stored more than now."""
    n_before = len(numbers_in(host.database))
    until(lambda: len(numbers_in(host.database)) > n_before)


def test_kills_of_edges_and_centre_lose_nothing_and_double_nothing(
    tmp_path: Path, chance: random.Random
) -> None:
    with Fleet(tmp_path, meterline=METERLINE, pricing="") as fleet:
        one, two, centre = fleet.edge("one"), fleet.edge("two"), fleet.centre
        loads = [Load(one, 0), Load(two, MILLION)]
        for hosts in ((one,), (centre,), (two, centre)):
            until_more(centre)
            time.sleep(chance.random() / 10)  # the moment is what is tried
            for host in hosts:
                host.kill()
            for host in hosts:
                host.start()
        for load in loads:
            load.finish()

        wanted = [n for load in loads for n in range(load.first, load.end)]
        until(lambda: len(numbers_in(centre.database)) >= len(wanted))
        # An edge whose events were all there already may still be connecting.
        until(lambda: states_at(centre) == ["connected", "connected"])
        assert [host.stop() for host in (one, two, centre)] == [0, 0, 0]

        assert sorted(numbers_in(centre.database)) == wanted
        for host in (one, two, centre):
            report = verify_ledger(host.database)
            assert report.is_sound, report.findings


COUNTED: Final = (
    METERLINE
    + """
[[meter]]
name = "uses"
aggregation = "count"
where = { kind = "use" }
"""
)


def usage_in(database: Path) -> tuple[int, int]:
    """Return how many uses a centre has counted, and the sum of their numbers."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT totals FROM usage").fetchall()
    finally:
        connection.close()
    totals = [msgspec.json.decode(row[0]) for row in rows]
    return sum(one["uses"] for one in totals), sum(one["n"] for one in totals)


def test_kills_lose_and_double_nothing_of_usage_that_edges_have_counted(
    tmp_path: Path, chance: random.Random
) -> None:
    with Fleet(tmp_path, meterline=COUNTED, pricing="") as fleet:
        keys = 'forward = "usage"\n'
        one, two = fleet.edge("one", more=keys), fleet.edge("two", more=keys)
        centre = fleet.centre
        loads = [Load(one, 0), Load(two, MILLION)]
        for hosts in ((one,), (centre,), (two, centre)):
            before = usage_in(centre.database)
            until(lambda: usage_in(centre.database) > before)  # noqa: B023 - at once
            time.sleep(chance.random() / 10)  # the moment is what is tried
            for host in hosts:
                host.kill()
            for host in hosts:
                host.start()
        for load in loads:
            load.finish()

        wanted = [n for load in loads for n in range(load.first, load.end)]
        until(lambda: usage_in(centre.database)[0] >= len(wanted))
        assert [host.stop() for host in (one, two, centre)] == [0, 0, 0]

        assert usage_in(centre.database) == (len(wanted), sum(wanted))
        for host in (one, two, centre):
            report = verify_ledger(host.database)
            assert report.is_sound, report.findings
