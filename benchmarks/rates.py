"""What an event costs the sidecar at some rates, in CPU time and in bytes on disk.

Two workers record through ``Meter``, evenly, and ship as apps do; the sidecar takes in
and adds up for two meters and 200 customers. Each rate has a sidecar of its own, whose
first seconds are not counted. Bytes are what the sidecar had the kernel write.

Expected from arithmetic: to commit takes 1 ms of CPU, so what matters is how many events
share a commit: at 500 events a second hardly any do unless somebody waits for company.
"""

import argparse
import contextlib
import itertools
import multiprocessing
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Generator, Iterator
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from benchmarks import harness
from benchmarks.harness import cpu_s, tell
from meterline import Meter

RATES: Final = (500, 5_000, 20_000, 60_000)
GOALS: Final = {500: (30, 600), 5_000: (6, 80), 20_000: (5, 60), 60_000: (5, 40)}
"""CPU us and bytes, for an event."""
WORKERS: Final = 2
CUSTOMERS: Final = 200
ROUTES: Final = 20
TICK_S: Final = 0.01
WARM_S: Final = 3.0
CONFIG: Final = """
[sidecar]
socket = "s"
database = "db"
spool_dir = "spool"
http = "unix:{folder}/http"

[[meter]]
name = "calls"
aggregation = "count"

[[meter]]
name = "words"
aggregation = "sum"
value = "quantities.words"
"""
CUSTOMER: Final = """
[[customer]]
id = "c{i}"
subjects = ["acct_{i}"]
"""


class Cost(NamedTuple):
    """What an event came to."""

    cpu_us: float
    written_bytes: float
    per_s: float


def _uses(meter: Meter) -> Iterator[None]:
    """Record quantities without end."""
    for i in itertools.count():
        meter.record("words", 3, subject=f"acct_{i % CUSTOMERS}", route="/v1/ask")
        yield


def _requests(meter: Meter) -> Iterator[None]:
    """Record requests without end, as ``asgi`` does: they say nothing but numbers."""
    meter.record("words", 3)  # its spool is open from here on
    encode = msgspec.msgpack.Encoder().encode
    for i in itertools.count():
        time_ms = time.time_ns() // 1_000_000
        name, route = f"acct_{i % CUSTOMERS}", f"/v1/items/{i * 7 % ROUTES}"
        took_us, n_bytes = i * 7_919 % 50_000, i * 104_729 % 5_000
        meter.append(
            encode([time_ms, 0, name, "GET", route, 200, took_us, 0, n_bytes, 0, None])
        )
        yield


def work(
    folder: str,
    rate: float,
    seconds: float,
    plain: bool,
    recorded: "Synchronized[int] | None" = None,
) -> None:
    """Record as evenly as a sleep of a hundredth of a second lets one, then end.

    Args:
        rate: events a second of this worker.
        plain: requests instead of quantities.
        recorded: kept at how many they are.
    """
    meter = Meter(socket=f"{folder}/s", spool_dir=f"{folder}/spool", app_name="bench")
    events = _requests(meter) if plain else _uses(meter)
    start, n_done = time.perf_counter(), 0
    while (now_s := time.perf_counter() - start) < seconds:
        n_due = int(now_s * rate)
        for _ in range(n_done, n_due):
            next(events)
        n_done = n_due
        if recorded is not None:
            recorded.value = n_done
        time.sleep(TICK_S)
    meter.close()


@contextlib.contextmanager
def sidecar(folder: Path) -> Generator[int]:
    """Run one over 200 customers and two meters; yield its process id."""
    customers = "".join(CUSTOMER.format(i=i) for i in range(CUSTOMERS))
    (folder / "m.toml").write_text(CONFIG.format(folder=folder) + customers)
    with harness.sidecar(folder / "m.toml", folder / "s", folder / "http") as pid:
        yield pid


def stored(folder: Path) -> int:
    """Return how many events there are, asked in a way that costs the sidecar nothing."""
    uri = f"{(folder / 'db').as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as ledger:
        ((n_events,),) = ledger.execute("SELECT coalesce(max(id), 0) FROM events")
    return int(n_events)


def _written(pid: int) -> int:
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_b"))


def cost(rate: int, seconds: float, *, plain: bool = False) -> Cost:
    """Return what an event costs at a rate; ``plain``: one that is packed as it comes."""
    with tempfile.TemporaryDirectory() as name, sidecar(Path(name)) as pid:
        whole = seconds + WARM_S + 1
        workers = [
            multiprocessing.Process(
                target=work, args=(name, rate / WORKERS, whole, plain)
            )
            for _ in range(WORKERS)
        ]
        for worker in workers:
            worker.start()
        time.sleep(WARM_S)
        before = stored(Path(name)), cpu_s(pid), _written(pid)
        time.sleep(seconds)
        after = stored(Path(name)), cpu_s(pid), _written(pid)
        for worker in workers:
            worker.join()
    n_events, used_s, written = (b - a for a, b in zip(before, after, strict=True))
    return Cost(used_s / n_events * 1e6, written / n_events, n_events / seconds)


def main() -> None:
    """Run rounds of all rates and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain", action="store_true", help="requests, not quantities")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[int, list[Cost]] = {rate: [] for rate in RATES}
    for _ in range(options.rounds):
        for rate in RATES:
            found[rate].append(cost(rate, options.seconds, plain=options.plain))
    result: dict[str, object] = {"cores": os.cpu_count()}
    for rate, costs in found.items():
        cpu_goal, bytes_goal = GOALS[rate]
        result |= {
            f"per_s_at_{rate}": statistics.median(c.per_s for c in costs),
            f"cpu_us_at_{rate}": statistics.median(c.cpu_us for c in costs),
            f"cpu_us_at_{rate}_goal": cpu_goal,
            f"bytes_at_{rate}": statistics.median(c.written_bytes for c in costs),
            f"bytes_at_{rate}_goal": bytes_goal,
        }
    tell(__doc__, result, as_json=options.json)


if __name__ == "__main__":
    main()
