"""What a centre spends on edges that keep their events and send what they come to.

*States*: two edges have sent what they rolled up, a state of each customer; the centre is
put back to before that, so that it is sent all of it again. *Load*: two edges take in so
many requests a second, and ten times as many, of the same customers; once as usage and
once as events, the centre's CPU time is that of the same span. *Freshness*: from an event
at an edge until usage at the centre has it. *Ingest*: an edge is flooded with its centre
there and away, in turns; what it spends on an event is its CPU time up to the last ack.

Expected from arithmetic: a state is an event with a small text, which costs 9 us to take
in, 5 us to decode and fold, and 30 us for its place, as ``usage/step.py`` has it: some
20,000 a second of one core. Load follows customers, windows and groups: every 2 s each
place that is busy is sent once, however many requests there were. Freshness is 2 s of
rolling up, 1 s of counting, and the commits between.
"""

import argparse
import asyncio
import math
import shutil
import sqlite3
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.fleet import BATCH_EVENTS, METERLINE, SENDERS, flood, stored
from benchmarks.harness import cpu_s, family_cpu_s, ship, tell
from meterline.wire import encode_frame
from meterline_sidecar.store.postgres import connect as postgres
from tests.fleet import Fleet
from tests.postgres_server import PostgresServer, started
from tests.producer import Connection, batch, event
from tests.sidecar_process import SidecarProcess, until

USAGE: Final = 'forward = "usage"\n'
CUSTOMERS: Final = 100
ROUTES: Final = 5
TICK_S: Final = 0.1
FRESH_TICK_S: Final = 0.137  # not always at the same moment of a round
FRESH_LOOK_S: Final = 0.02
GROUPED: Final = METERLINE + 'group_by = ["route"]\n'


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


class _Ledger:
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
        ledger = _Ledger(fleet.centre, server, name)
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


class _Steady:
    """Sends so many events a second into an edge, of the same customers and routes."""

    def __init__(self, edge: SidecarProcess, producer: str, rate: int) -> None:
        self._edge = edge
        self._producer = producer
        self._n_events = max(1, int(rate * TICK_S))
        self._is_over = threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._send()))
        self._thread.start()

    async def _send(self) -> None:
        async with Connection(self._edge.socket) as app:
            await app.hello(self._producer)
            due_s = time.monotonic()
            while not self._is_over.is_set():
                at_ms = time.time_ns() // 1_000_000
                events = [
                    event(
                        time_ms=at_ms,
                        subject=f"acct_{i % CUSTOMERS}",
                        route=f"/v1/items/{i // CUSTOMERS % ROUTES}",
                    )
                    for i in range(self.sent, self.sent + self._n_events)
                ]
                await app.ship(batch(*events, first_seq=self.sent + 1))
                self.sent += self._n_events
                due_s += TICK_S
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    def finish(self) -> int:
        """Stop, and return how many were sent."""
        self._is_over.set()
        self._thread.join()
        return self.sent


def _load(rate: int, span_s: float, *, keys: str) -> float:
    """Return the centre's CPU time, in ms a second, while two edges take in a rate."""
    with tempfile.TemporaryDirectory() as name:
        fleet = Fleet(Path(name), meterline=GROUPED, pricing="")
        fleet.centre.start()
        edges = [fleet.edge(one, more=keys) for one in ("one", "two")]
        steady = [
            _Steady(edge, f"{i + 1:032x}", rate // 2) for i, edge in enumerate(edges)
        ]
        until(lambda: counted(fleet.centre) > 0)
        before, began_s = cpu_s(fleet.centre.pid), time.perf_counter()
        time.sleep(span_s)
        spent = cpu_s(fleet.centre.pid) - before
        took_s = time.perf_counter() - began_s
        n_sent = sum(one.finish() for one in steady)
        until(lambda: counted(fleet.centre) == n_sent, timeout_s=120)
        fleet.__exit__()
    return spent / took_s * 1_000


def _freshness(n_events: int, server: PostgresServer | None = None) -> list[float]:
    """Return how long events took from an app's edge to the centre's usage, in s, sorted.

    Args:
        n_events: a few each second, one by one.
        server: where the centre's ledger is, if not in a file.
    """
    name = "" if server is None else server.create()
    database = None if server is None else server.url(name)
    sent: list[float] = []
    found: list[float] = []

    async def send(edge: SidecarProcess) -> None:
        async with Connection(edge.socket) as app:
            await app.hello(f"{1:032x}")
            for i in range(n_events):
                sent.append(time.perf_counter())
                at_ms = time.time_ns() // 1_000_000
                await app.ship(batch(event(time_ms=at_ms), first_seq=i + 1))
                await asyncio.sleep(FRESH_TICK_S)

    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder), meterline=METERLINE, pricing="", database=database)
        ledger = _Ledger(fleet.centre, server, name)
        fleet.centre.start()
        edge = fleet.edge("one", more=USAGE)
        sender = threading.Thread(target=lambda: asyncio.run(send(edge)))
        sender.start()
        while len(found) < n_events:
            time.sleep(FRESH_LOOK_S)
            n_counted, now_s = ledger.counted(), time.perf_counter()
            found += [now_s - at_s for at_s in sent[len(found) : n_counted]]
        sender.join()
        ledger.close()
        fleet.__exit__()
    return sorted(found)


def _fresh_rows(n_events: int) -> dict[str, object]:
    """Return what is shown of it, of a centre with a file and of one with a server."""
    shown: dict[str, object] = {}
    with started(15, is_durable=True) as server:
        for where, at in (("SQLite", None), ("PostgreSQL", server)):
            waits = _freshness(n_events, at)
            for name, part in (("half", 0.5), ("99 of 100", 0.99), ("all", 1.0)):
                wait_s = waits[max(0, math.ceil(part * n_events) - 1)]
                shown[f"freshness, {where}, {name} within: s"] = wait_s
    return shown


def _ingest(n_events: int, rounds: int) -> dict[str, list[float]]:
    """Return an edge's CPU time of an event in us, in turns: its centre away, and there.

    Up to the last ack; with the centre there also until it has counted all.
    """
    found: dict[str, list[float]] = {"away": [], "there": [], "counted": []}
    for _ in range(rounds):
        for has_centre in (False, True):
            with tempfile.TemporaryDirectory() as name:
                fleet = Fleet(Path(name), meterline=METERLINE, pricing="")
                if has_centre:
                    fleet.centre.start()
                edge = fleet.edge("one", more=USAGE)
                before = cpu_s(edge.pid)
                flood(edge, n_events, first=1)
                us = (cpu_s(edge.pid) - before) / n_events * 1e6
                found["there" if has_centre else "away"].append(us)
                if has_centre:
                    until(lambda: counted(fleet.centre) == n_events)  # noqa: B023 - at once
                    us = (cpu_s(edge.pid) - before) / n_events * 1e6
                    found["counted"].append(us)
                edge.kill()
                fleet.__exit__()
    return found


def _ingest_rows(n_events: int, rounds: int) -> dict[str, object]:
    """Return what is shown of it."""
    cpu = _ingest(n_events, rounds)
    there, away, done = (
        statistics.median(cpu[name]) for name in ("there", "away", "counted")
    )
    return {
        "edge, centre away: us of CPU an event": away,
        "edge, centre there: us of CPU an event": there,
        "lost by forwarding while events come, %": 100 * (there / away - 1),
        "edge, until all is counted: us of CPU an event": done,
        "rounds": str(cpu),
    }


def _compared(n_states: int, rounds: int) -> dict[str, object]:
    """Return what a centre takes in on SQLite and on a server, in turns."""
    shown: dict[str, object] = {}
    with started(15, is_durable=True) as server:
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
    parser.add_argument("--states", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=500, help="requests a second")
    parser.add_argument("--span", type=float, default=20.0, help="seconds of each load")
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fresh-events", type=int, default=300)
    parser.add_argument("--fresh", action="store_true", help="only freshness")
    parser.add_argument("--ingest", action="store_true", help="only what an edge loses")
    parser.add_argument(
        "--postgres",
        action="store_true",
        help="only what a centre on PostgreSQL 15 takes in, and one on SQLite, in turns",
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.postgres:
        tell(__doc__, _compared(given.states, given.rounds), as_json=given.json)
        return
    if given.fresh:
        tell(__doc__, _fresh_rows(given.fresh_events), as_json=given.json)
        return
    if given.ingest:
        tell(__doc__, _ingest_rows(given.events, given.rounds), as_json=given.json)
        return
    states = _states(given.states, are_new=True)
    loads = {
        (kind, times): _load(given.rate * times, given.span, keys=keys)
        for kind, keys in (("usage", USAGE), ("events", ""))
        for times in (1, 10)
    }
    fresh = _fresh_rows(given.fresh_events)
    ingest = _ingest_rows(given.events, given.rounds)
    shown = {
        f"centre, {kind}, {given.rate * times:,} requests/s: ms of CPU/s": spent
        for (kind, times), spent in loads.items()
    }
    tell(
        __doc__,
        {
            "centre, of two edges: states/s": states.per_s,
            "centre: us of CPU a state": states.centre_us,
            **shown,
            "usage: times the CPU of ten times the requests": loads["usage", 10]
            / loads["usage", 1],
            "events: likewise": loads["events", 10] / loads["events", 1],
            **fresh,
            **ingest,
            "senders": SENDERS,
        },
        as_json=given.json,
    )


if __name__ == "__main__":
    main()
