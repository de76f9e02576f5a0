"""What a centre takes in of usage a second, with its ledger in a file and on PostgreSQL.

Two edges have sent what they rolled up, a state of each customer; the centre is put back
to before that, so that it is sent all of it again, and each state crosses once. In turns,
of customers that are new to it, and of ones that have usage in the same places.

Expected from arithmetic: a state is an event with a small text, which costs 9 us to take
in, 5 us to decode and fold, and 30 us for its place, as ``usage/step.py`` has it: some
20,000 a second of one core.
"""

import argparse
import asyncio
import shutil
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.fleet import BATCH_EVENTS, METERLINE, stored
from benchmarks.harness import cpu_s, family_cpu_s, ship, tell
from meterline.wire import encode_frame
from meterline_sidecar.store.postgres import connect as postgres
from tests.fleet import Fleet
from tests.postgres_server import PostgresServer, started
from tests.producer import batch, event
from tests.sidecar_process import SidecarProcess, until

USAGE: Final = 'forward = "usage"\n'
POSTGRES: Final = 15
GOAL: Final = 10_000
"""States a second, on PostgreSQL, which has the same two cores."""


def counted(host: SidecarProcess) -> int:
    """Return how many calls a centre has counted."""
    connection = sqlite3.connect(f"file:{host.database}?mode=ro", uri=True)
    try:
        found = connection.execute(
            "SELECT coalesce(sum(totals ->> '$.calls'), 0) FROM usage_totals"
            " WHERE step_ms = 86400000"
        ).fetchone()
        return int(found[0])
    finally:
        connection.close()


def _send_once(edge: SidecarProcess, producer: str, subjects: range) -> None:
    """Send an event of each of many subjects."""
    at_ms = time.time_ns() // 1_000_000
    numbers = list(subjects)
    frames = [
        encode_frame(
            batch(
                *(
                    event(time_ms=at_ms, subject=f"acct_{n}")
                    for n in numbers[i : i + BATCH_EVENTS]
                ),
                first_seq=i + 1,
            )
        )
        for i in range(0, len(numbers), BATCH_EVENTS)
    ]
    asyncio.run(ship(edge.socket, producer, frames))


class CentresLedger:
    """A centre's ledger as these measures see it: what is in it, and as it was once.

    Args:
        centre: whose it is.
        server: where it is, if not in a file.
        name: of its database there.
    """

    def __init__(
        self, centre: SidecarProcess, server: PostgresServer | None, name: str
    ) -> None:
        self._centre = centre
        self._server = server
        self._name = name
        self._before = name
        self._asks = asyncio.Runner()
        self._connection: postgres.Connection | None = None

    def stored(self) -> int:
        """Return its last event."""
        if self._server is None:
            return stored(self._centre)
        return self._asked("SELECT coalesce(max(id), 0) FROM events")

    def counted(self) -> int:
        """Return how many calls are counted in it."""
        if self._server is None:
            return counted(self._centre)
        return self._asked(
            "SELECT coalesce(sum((totals::json ->> 'calls')::bigint), 0)::bigint"
            " FROM usage_totals WHERE step_ms = 86400000"
        )

    def _asked(self, sql: str) -> int:
        assert self._server is not None
        if self._connection is None:
            url = self._server.url(self._name)
            self._connection = self._asks.run(postgres.connect(url))
        return int(self._asks.run(self._connection.fetchval(sql)))

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def remember(self) -> None:
        """Keep a copy of it as it is; its centre is stopped."""
        self._hang_up()
        if self._server is not None:
            self._before = self._server.create(self._name)
        for path in self._files():
            shutil.copy(path, path.parent / f"before.{path.name}")

    def go_back(self) -> None:
        """Put that copy in its place; its centre is stopped."""
        self._hang_up()
        if self._server is not None:
            config = self._centre.config
            there = f"/{self._name}?", f"/{self._before}?"
            config.write_text(config.read_text().replace(*there))
            self._name = self._before
        for path in self._files():
            path.unlink()
        for path in self._centre.database.parent.glob("before.*"):
            path.rename(path.parent / path.name.removeprefix("before."))

    def _files(self) -> list[Path]:
        return list(self._centre.database.parent.glob("meterline.db*"))

    def server_cpu_s(self) -> float:
        """Return how long its server has worked, with all of its processes."""
        return 0.0 if self._server is None else family_cpu_s(self._server.pid)

    def close(self) -> None:
        """Let go of it."""
        self._hang_up()
        self._asks.close()


class States(NamedTuple):
    """What it took to take states in."""

    per_s: float
    centre_us: float
    """CPU time of one, of the centre's process."""
    server_us: float
    """Of the database's server."""


def _states(
    n_states: int, server: PostgresServer | None = None, *, are_new: bool
) -> States:
    """Return what it takes a centre to be sent again what it has lost.

    Args:
        n_states: of both edges, which have sent them once.
        server: where the centre's ledger is, if not in a file.
        are_new: whether the centre knows nobody whose usage they are, and else has usage
            in the same places.
    """
    name = "" if server is None else server.create()
    database = None if server is None else server.url(name)
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder), meterline=METERLINE, pricing="", database=database)
        ledger = CentresLedger(fleet.centre, server, name)
        fleet.centre.start()
        edges = [fleet.edge(one, more=USAGE) for one in ("one", "two")]
        each = n_states // 2

        def send(life: int, n_subjects: int) -> None:
            for i, edge in enumerate(edges):
                subjects = range(each * i, each * i + n_subjects)
                _send_once(edge, f"{2 * life + i:032x}", subjects)

        n_first = 1 if are_new else each
        send(1, n_first)
        until(lambda: ledger.counted() == 2 * n_first, timeout_s=600)
        fleet.centre.stop()
        ledger.remember()
        fleet.centre.start()
        send(2, each)
        until(lambda: ledger.counted() == 2 * (n_first + each), timeout_s=600)
        fleet.centre.stop()
        ledger.go_back()
        n_before = ledger.stored()
        fleet.centre.start()
        until(lambda: ledger.stored() > n_before, timeout_s=60)
        began_s, had = time.perf_counter(), ledger.stored()
        centre_s, server_s = cpu_s(fleet.centre.pid), ledger.server_cpu_s()
        until(lambda: ledger.counted() == 2 * (n_first + each), timeout_s=600)
        took_s = time.perf_counter() - began_s
        n_taken = ledger.stored() - had
        assert n_taken <= n_states, "each crosses once"
        found = States(
            n_taken / took_s,
            (cpu_s(fleet.centre.pid) - centre_s) / n_taken * 1e6,
            (ledger.server_cpu_s() - server_s) / n_taken * 1e6,
        )
        ledger.close()
        fleet.__exit__()
    return found


def compared(n_states: int, rounds: int) -> dict[str, object]:
    """Return what a centre takes in on SQLite and on a server, in turns."""
    shown: dict[str, object] = {"PostgreSQL: per_s_goal": GOAL}
    with started(POSTGRES, is_durable=True) as server:
        for kind, are_new in (("of new customers", True), ("where some is", False)):
            found: dict[str, list[States]] = {"SQLite": [], "PostgreSQL": []}
            for _ in range(rounds):
                for where, of in found.items():
                    at = server if where == "PostgreSQL" else None
                    of.append(_states(n_states, at, are_new=are_new))
            for where, of in found.items():
                for name in States._fields:
                    values = [getattr(one, name) for one in of]
                    shown[f"{where}, {kind}: {name}"] = statistics.median(values)
                shown[f"{where}, {kind}: rounds"] = str([tuple(one) for one in of])
    return shown


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    tell(__doc__, compared(given.states, given.rounds), as_json=given.json)


if __name__ == "__main__":
    main()
