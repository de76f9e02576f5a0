"""What forwarding costs an edge, and how much a centre takes from two edges.

An edge is flooded by two senders, with its centre there and with the centre away,
interleaved: an edge whose centre is away does all but forwarding, so that the quotient
is what forwarding costs its ingest. Then two edges hold events when their centre starts;
the time until it has all of them is what it takes from both.

Expected from arithmetic: under a flood forwarding takes a thirtieth of the time, by
itself. Reading and encoding an event costs an edge about 8 us, TLS less than 1, and
taking one in costs the centre 9 us, so that with all on two cores a centre takes some
50,000 events/s.
"""

import argparse
import asyncio
import multiprocessing
import sqlite3
import statistics
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Final

from benchmarks.harness import cpu_s, ship, tell
from meterline.wire import encode_frame
from tests.fleet import Fleet
from tests.postgres_server import PostgresServer, started
from tests.producer import batch, event
from tests.sidecar_process import SidecarProcess, until

BATCH_EVENTS: Final = 500
SENDERS: Final = 2
METERLINE: Final = '\n[[meter]]\nname = "calls"\naggregation = "count"\n'


def _frames(n_batches: int) -> list[bytes]:
    events = [
        event(
            time_ms=time.time_ns() // 1_000_000,
            subject=f"acct_{i % 100}",
            route=f"/v1/items/{i % 20}",
            bytes_out=i,
        )
        for i in range(BATCH_EVENTS)
    ]
    firsts = range(1, n_batches * BATCH_EVENTS, BATCH_EVENTS)
    return [encode_frame(batch(*events, first_seq=first)) for first in firsts]


def _send(socket: Path, producer: str, n_batches: int, ready: Barrier) -> None:
    frames = _frames(n_batches)  # before the clock runs: apps encode as they record
    ready.wait()
    asyncio.run(ship(socket, producer, frames))


def flood(edge: SidecarProcess, n_events: int, *, first: int) -> float:
    """Return events per second into an edge."""
    ready = multiprocessing.Barrier(SENDERS + 1)
    n_batches = n_events // BATCH_EVENTS // SENDERS
    senders = [
        multiprocessing.Process(
            target=_send, args=(edge.socket, f"{first + i:032x}", n_batches, ready)
        )
        for i in range(SENDERS)
    ]
    for sender in senders:
        sender.start()
    ready.wait()
    began_s = time.perf_counter()
    for sender in senders:
        sender.join()
    return n_batches * SENDERS * BATCH_EVENTS / (time.perf_counter() - began_s)


def stored(host: SidecarProcess) -> int:
    """Return the last event of a host's ledger."""
    connection = sqlite3.connect(f"file:{host.database}?mode=ro", uri=True)
    try:
        return int(
            connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0]
        )
    finally:
        connection.close()


def _cost_of_forwarding(n_events: int, rounds: int) -> tuple[list[float], list[float]]:
    """Return events per second into an edge, its centre there and away."""
    there: list[float] = []
    away: list[float] = []
    for _ in range(rounds):
        for rates, has_centre in ((there, True), (away, False)):
            with tempfile.TemporaryDirectory() as name:
                fleet = Fleet(Path(name), meterline=METERLINE, pricing="")
                if has_centre:
                    fleet.centre.start()
                edge = fleet.edge("one")
                rates.append(flood(edge, n_events, first=1))
                edge.kill()
                fleet.__exit__()
    return there, away


def _taken(n_events: int, server: PostgresServer | None = None) -> tuple[float, float]:
    """Return events per second from two edges, and the centre's CPU time of one in us.

    Args:
        n_events: of each edge.
        server: where the centre's ledger is, if not in a file.
    """
    name = "" if server is None else server.create()
    database = None if server is None else server.url(name)
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder), meterline=METERLINE, pricing="", database=database)

        def here() -> int:
            if server is None:
                return stored(fleet.centre)
            sql = "SELECT coalesce(max(id), 0) FROM events"
            return int(server.sql(name, sql))

        edges = [fleet.edge("one"), fleet.edge("two")]
        for i, edge in enumerate(edges):
            flood(edge, n_events, first=1 + i * SENDERS)
        fleet.centre.start()
        until(lambda: here() > 0)
        began_s, before = time.perf_counter(), here()
        until(lambda: here() == 2 * n_events)
        rate = (2 * n_events - before) / (time.perf_counter() - began_s)
        us = cpu_s(fleet.centre.pid) / (2 * n_events) * 1e6
        fleet.__exit__()
    return rate, us


def _compare(n_events: int, rounds: int, *, as_json: bool) -> None:
    """Measure what a centre takes in, in turns on SQLite and on PostgreSQL."""
    on_file: list[tuple[float, float]] = []
    on_server: list[tuple[float, float]] = []
    with started(15, is_durable=True) as server:
        for _ in range(rounds):
            on_file.append(_taken(n_events // 2))
            on_server.append(_taken(n_events // 2, server))
    tell(
        "What a centre takes in of two edges, on SQLite and on PostgreSQL 15.",
        {
            "on SQLite: events/s": statistics.median(rate for rate, _ in on_file),
            "on PostgreSQL: events/s": statistics.median(rate for rate, _ in on_server),
            "on SQLite: us of CPU an event": statistics.median(us for _, us in on_file),
            "on PostgreSQL: us of CPU an event": statistics.median(
                us for _, us in on_server
            ),
        },
        as_json=as_json,
    )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--postgres",
        action="store_true",
        help="only compare a centre on PostgreSQL 15 with one on SQLite",
    )
    given = parser.parse_args()
    if given.postgres:
        _compare(given.events, given.rounds, as_json=given.json)
        return
    there, away = _cost_of_forwarding(given.events, given.rounds)
    taken = [_taken(given.events // 2) for _ in range(given.rounds)]
    tell(
        __doc__,
        {
            "edge, centre there: events/s": statistics.median(there),
            "edge, centre away: events/s": statistics.median(away),
            "lost by forwarding, %": 100
            * (1 - statistics.median(there) / statistics.median(away)),
            "centre, of two edges: events/s": statistics.median(r for r, _ in taken),
            "centre: us of CPU an event": statistics.median(us for _, us in taken),
            "rounds there": ", ".join(f"{rate:,.0f}" for rate in there),
            "rounds away": ", ".join(f"{rate:,.0f}" for rate in away),
        },
        as_json=given.json,
    )


if __name__ == "__main__":
    main()
