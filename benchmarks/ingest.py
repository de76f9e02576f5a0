"""Events per second from the socket into the database, acked after COMMIT.

Two sender processes keep the wire full against one ``meterline run``, and then, for the
acks, send half as much in the same time against another one. The baseline,
measured in the same run and interleaved, is the same rows through ``executemany``
into the same table from one Python process: no socket, no decoding, no chain.

Expected from arithmetic: a row costs SQLite about 1 us, decoding and the chain
another 3 us, and one fsync (5 ms) serves all batches of a group.
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

from benchmarks.harness import collected, ship, sidecar, tell
from meterline.wire import encode_frame
from meterline_sidecar.store.sqlite.migrate import migrations
from tests.producer import batch, event

SENDERS: Final = 2
BATCH_EVENTS: Final = 500
COMMIT_EVENTS: Final = 10_000
BURST_GOAL: Final = 350_000
"""Events a second, on a machine that does nothing else."""
ACK_MS_P99_GOAL: Final = 30
"""At half of the load that keeps it full."""


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


def _sender(
    socket: Path,
    producer: str,
    n_batches: int,
    ready: Barrier,
    waits: "multiprocessing.Queue[list[float]]",
    every_s: float,
) -> None:
    frames = _frames(n_batches)  # before the clock runs: apps encode as they record
    ready.wait()
    waits.put(asyncio.run(ship(socket, producer, frames, every_s=every_s)))


def through_the_socket(
    n_events: int, *, per_s: float | None = None
) -> tuple[float, list[float]]:
    """Return events per second into a fresh sidecar, and the acks' waits in seconds.

    Args:
        per_s: how many events are sent a second; ``None`` is as many as it takes.
    """
    every_s = BATCH_EVENTS * SENDERS / per_s if per_s is not None else 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "meterline.toml"
        config.write_text(
            '[sidecar]\nsocket = "s"\ndatabase = "db"\nspool_dir = "spool"\n'
            f'http = "unix:{folder}/http"\n'
            '[[meter]]\nname = "calls"\naggregation = "count"\n'
        )
        with sidecar(config, folder / "s"):
            waits: multiprocessing.Queue[list[float]] = multiprocessing.Queue()
            ready = multiprocessing.Barrier(SENDERS + 1)
            n_batches = n_events // BATCH_EVENTS // SENDERS
            senders = [
                multiprocessing.Process(
                    target=_sender,
                    args=(folder / "s", f"{i:032x}", n_batches, ready, waits, every_s),
                )
                for i in range(1, SENDERS + 1)
            ]
            for sender in senders:
                sender.start()
            ready.wait()
            start = time.perf_counter()
            found = [wait for told in collected(waits, senders) for wait in told]
            took = time.perf_counter() - start
            for sender in senders:
                sender.join()
    return n_batches * SENDERS * BATCH_EVENTS / took, found


def straight_into_sqlite(n_events: int) -> float:
    """Return rows per second through ``executemany``, committed by 10,000."""
    row = (1, 1, 1_793_966_400_000, 0, 7, 3, 200, 1500, 0, 120, 0, None)
    marks = ", ".join("?" * (len(row) + 1))
    with tempfile.TemporaryDirectory() as name:
        connection = sqlite3.connect(Path(name) / "db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        for statement in migrations()[0].statements:
            connection.execute(statement)
        start = time.perf_counter()
        for first in range(1, n_events, COMMIT_EVENTS):
            connection.execute("BEGIN")
            connection.executemany(
                f"INSERT INTO events VALUES ({marks})",
                ((first + i, *row) for i in range(COMMIT_EVENTS)),
            )
            connection.execute("COMMIT")
        took = time.perf_counter() - start
        connection.close()
    return n_events / took


def main() -> None:
    """Run interleaved rounds and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    ours: list[float] = []
    bare: list[float] = []
    full: list[float] = []
    half: list[float] = []
    for _ in range(options.rounds):
        bare.append(straight_into_sqlite(options.events))
        rate, found = through_the_socket(options.events)
        ours.append(rate)
        full += found
        half += through_the_socket(options.events, per_s=rate / 2)[1]
    cuts, half_cuts = (statistics.quantiles(waits, n=100) for waits in (full, half))
    result = {
        "events_per_s": statistics.median(ours),
        "events_per_s_goal": BURST_GOAL,
        "events_per_s_range": [min(ours), max(ours)],
        "sqlite_alone_rows_per_s": statistics.median(bare),
        "ratio": statistics.median(ours) / statistics.median(bare),
        "ack_ms_p50": cuts[49] * 1000,
        "ack_ms_p99": cuts[98] * 1000,
        "ack_ms_p99_at_half_load": half_cuts[98] * 1000,
        "ack_ms_p99_at_half_load_goal": ACK_MS_P99_GOAL,
    }
    tell(__doc__, result, as_json=options.json)


if __name__ == "__main__":
    main()
