"""What a centre spends on edges that keep their events and send what they come to.

*Load*: two edges take in so many requests a second, and ten times as many, of the same
customers; once as usage and once as events, the centre's CPU time is that of the same
span. *Freshness*: from an event at an edge until usage at the centre has it. *Ingest*: an
edge is flooded, and a host of its own that does everything, in turns; what each spends on
an event is its CPU time up to the last ack, and until all is in usage.

Expected from arithmetic: load follows customers, windows and groups, as every 2 s each
place that is busy is sent once, however many requests there were. Freshness is 2 s of
rolling up, 1 s of counting, and the commits between.
"""

import argparse
import asyncio
import math
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.fleet import METERLINE, SENDERS, flood
from benchmarks.fleet_states import POSTGRES, USAGE, CentresLedger, counted
from benchmarks.harness import cpu_s, tell
from tests.fleet import Fleet
from tests.postgres_server import PostgresServer, started
from tests.producer import Connection, batch, event
from tests.sidecar_process import SidecarProcess, until

CUSTOMERS: Final = 100
ROUTES: Final = 5
TICK_S: Final = 0.1
FRESH_TICK_S: Final = 0.137  # not always at the same moment of a round
FRESH_LOOK_S: Final = 0.02
GROUPED: Final = METERLINE + 'group_by = ["route"]\n'


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
        ledger = CentresLedger(fleet.centre, server, name)
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
    with started(POSTGRES, is_durable=True) as server:
        for where, at in (("SQLite", None), ("PostgreSQL", server)):
            waits = _freshness(n_events, at)
            for name, part in (("half", 0.5), ("99 of 100", 0.99), ("all", 1.0)):
                wait_s = waits[max(0, math.ceil(part * n_events) - 1)]
                shown[f"freshness, {where}, {name} within: s"] = wait_s
    return shown


class Spent(NamedTuple):
    """A host's CPU time of an event, in us."""

    until_acked: float
    """Up to the last ack of a flood."""
    until_counted: float
    """Up to when all of it is in usage."""


def _spent(host: SidecarProcess, n_events: int, counts: SidecarProcess) -> Spent:
    """Return what a flood costs a host; ``counts`` is the one that has its usage."""
    before_s = cpu_s(host.pid)
    flood(host, n_events, first=1)
    acked_s = cpu_s(host.pid)
    until(lambda: counted(counts) == n_events, timeout_s=120)
    done_s = cpu_s(host.pid)
    return Spent(
        (acked_s - before_s) / n_events * 1e6, (done_s - before_s) / n_events * 1e6
    )


def _ingest(n_events: int, rounds: int) -> dict[str, list[Spent]]:
    """Return what an edge spends, and a host of its own that does everything, in turns."""
    found: dict[str, list[Spent]] = {"a host of its own": [], "an edge": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            alone = SidecarProcess(Path(name), meterline=METERLINE, pricing="")
            alone.start()
            found["a host of its own"].append(_spent(alone, n_events, alone))
            alone.kill()
        with tempfile.TemporaryDirectory() as name:
            fleet = Fleet(Path(name), meterline=METERLINE, pricing="")
            fleet.centre.start()
            edge = fleet.edge("one", more=USAGE)
            found["an edge"].append(_spent(edge, n_events, fleet.centre))
            fleet.__exit__()
    return found


def _ingest_rows(n_events: int, rounds: int) -> dict[str, object]:
    """Return what is shown of it."""
    shown: dict[str, object] = {}
    middle: dict[str, Spent] = {}
    for who, spent in _ingest(n_events, rounds).items():
        acked, done = (statistics.median(of) for of in zip(*spent, strict=True))
        middle[who] = Spent(acked, done)
        shown[f"{who}, until acked: us of CPU an event"] = acked
        shown[f"{who}, until counted: us of CPU an event"] = done
        shown[f"{who}, rounds"] = str([tuple(one) for one in spent])
    alone, edge = middle["a host of its own"], middle["an edge"]
    shown["lost by an edge, until acked, %"] = 100 * (
        edge.until_acked / alone.until_acked - 1
    )
    shown["lost by an edge, until counted, %"] = 100 * (
        edge.until_counted / alone.until_counted - 1
    )
    return shown


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=500, help="requests a second")
    parser.add_argument("--span", type=float, default=20.0, help="seconds of each load")
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fresh-events", type=int, default=300)
    parser.add_argument("--fresh", action="store_true", help="only freshness")
    parser.add_argument("--ingest", action="store_true", help="only what an edge loses")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.fresh:
        tell(__doc__, _fresh_rows(given.fresh_events), as_json=given.json)
        return
    if given.ingest:
        tell(__doc__, _ingest_rows(given.events, given.rounds), as_json=given.json)
        return
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
