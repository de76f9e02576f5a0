"""How long pages and API answers take on a full ledger, with events coming in.

A month of events of many customers, a few of them large, is written straight into a
ledger and added up by the real aggregator. Then one ``meterline run`` answers, one
question at a time, while a sender keeps the socket at a steady rate. The ingest rate
with and without questions, senders at full speed, tells what answering costs ingest.

    python -m benchmarks.http_api --events 20_000_000 --customers 10_000
"""

import argparse
import asyncio
import json
import multiprocessing
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Final

import httpx

from benchmarks.harness import heading
from meterline.wire import encode_frame
from meterline_sidecar.aggregate import Aggregator
from meterline_sidecar.clock import DAY_MS, HOUR_MS, SystemClock
from meterline_sidecar.config_file import read_config
from meterline_sidecar.customers import CustomerMap
from meterline_sidecar.store import events as event_store
from meterline_sidecar.store.events import BatchRow, ProducerRow
from meterline_sidecar.store.sqlite import SqliteDatabase
from tests.producer import Connection, batch, event

ROUTES: Final = 20
STEP: Final = 200_000  # events in one transaction of the fill
DAYS: Final = 30
SKEW: Final = 1.1  # of the Pareto distribution: a few customers are large
STEADY_PER_S: Final = 2_000
BATCH_EVENTS: Final = 500
WINDOW: Final = 8
P95_MS_MAX: Final = 50.0
CONFIG: Final = """
[sidecar]
socket = "s"
database = "db"
spool_dir = "spool"
http = "127.0.0.1:{port}"
http_requests_per_s = 100000

[[meter]]
name = "api_calls"
aggregation = "count"
group_by = ["route"]

[[meter]]
name = "bytes"
aggregation = "sum"
value = "bytes_out"
"""
CUSTOMER: Final = """
[[customer]]
id = "c{i}"
subjects = ["s{i}"]
plan = "starter"
"""
PRICING: Final = """
[[plan]]
name = "starter"
version = 1
effective = 2020-01-01
currency = "usd"

[[plan.price]]
meter = "api_calls"
model = "graduated"
tiers = [ { up_to = 1_000, unit_amount = "0" }, { unit_amount = "0.001" } ]
"""
QUESTIONS: Final = (
    "/",
    "/?range=30d",
    "/usage?group_by=route&range=30d",
    "/usage?customer={top}&range=7d",
    "/customers",
    "/customers?q=c12&sort=name",
    "/customers/{top}",
    "/customers/{some}",
    "/events",
    "/events?customer={top}",
    "/events?customer={some}",
    "/events/{event}",
    "/outbox",
    "/pricing",
    "/alerts",
    "/status",
    "/metrics",
    "/v1/usage?customer={top}",
    "/v1/usage?customer={some}",
    "/v1/usage?limit=20",
    "/v1/customers?limit=100",
    "/v1/customers/{some}/invoice",
    "/v1/events?customer={some}",
    "/v1/events?limit=100",
)


def write_files(folder: Path, n_customers: int) -> int:
    """Write the configuration; return the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    customers = "".join(CUSTOMER.format(i=i) for i in range(1, n_customers + 1))
    (folder / "meterline.toml").write_text(CONFIG.format(port=port) + customers)
    (folder / "pricing.toml").write_text(PRICING)
    return port


async def fill(folder: Path, n_events: int, n_customers: int) -> None:
    """Write the events, and add them up."""
    config = read_config(folder / "meterline.toml", environment={})
    database = await SqliteDatabase.open(folder / "db")
    end_ms = SystemClock().now_ms()
    start_ms = end_ms - DAYS * DAY_MS
    async with database.transaction() as tx:
        await tx.execute_many(
            "INSERT INTO subjects (id, name) VALUES (?, ?)",
            ((i, f"s{i}") for i in range(1, n_customers + 1)),
        )
        routes = [("GET", f"/v1/route{i}") for i in range(ROUTES)]
        await event_store.intern_endpoints(tx, routes)
        await event_store.add_producer(tx, _producer(n_events, end_ms))
        whole = BatchRow(1, 1, 1, n_events, 1, n_events, 1, 0, end_ms)
        await event_store.add_batch(tx, whole, bytes(32))
    dice = random.Random(1)
    for first in range(1, n_events + 1, STEP):
        n_step = min(STEP, n_events + 1 - first)
        async with database.transaction() as tx:
            await event_store.add_events(
                tx,
                _events(dice, first, n_step, n_events, n_customers, start_ms, end_ms),
            )
            await event_store.note_hours(
                tx, _hours(first, n_step, n_events, start_ms, end_ms)
            )
    await CustomerMap(config.customers).apply(database, reported_since_ms=0)
    aggregator = Aggregator(
        database, [meter.meter for meter in config.meters], clock=SystemClock()
    )
    await aggregator.start()
    await aggregator.run()
    await database.checkpoint()
    await database.close()


def _producer(n_events: int, now_ms: int) -> ProducerRow:
    counts = dict.fromkeys(("refused", "lost", "duplicates", "unattributed"), 0)
    return ProducerRow(
        id=0,
        producer="f" * 32,
        app="fill",
        host="localhost",
        pid=1,
        started_ms=now_ms,
        spool="file",
        recorded_seq=n_events,
        last_seq=n_events,
        ingested=n_events,
        **counts,
        held=0,
        seen_ms=now_ms,
        is_closed=1,
    )


def _time_ms(i: int, n_events: int, start_ms: int, end_ms: int) -> int:
    return start_ms + (end_ms - start_ms) * i // n_events


def _events(
    dice: random.Random,
    first: int,
    n_step: int,
    n_events: int,
    n_customers: int,
    start_ms: int,
    end_ms: int,
) -> Iterator[tuple[int | None, ...]]:
    for i in range(first, first + n_step):
        subject = min(n_customers, int(dice.paretovariate(SKEW) * n_customers / 2_000))
        subject = subject or dice.randint(1, n_customers)
        at_ms = _time_ms(i, n_events, start_ms, end_ms)
        route = dice.randint(1, ROUTES)
        yield (i, 1, i, at_ms, 0, subject, route, 200, 1500, 0, i % 4096, 0, None)


def _hours(
    first: int, n_step: int, n_events: int, start_ms: int, end_ms: int
) -> list[tuple[int, int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for i in range(first, first + n_step):
        hour_ms = _time_ms(i, n_events, start_ms, end_ms) // HOUR_MS * HOUR_MS
        found[hour_ms] = (found.get(hour_ms, (i, i))[0], i)
    return [(hour_ms, one, last) for hour_ms, (one, last) in found.items()]


def send(
    path: Path, producer: str, per_s: int | None, n_acked: "Synchronized[int]"
) -> None:
    """Send for ever, at a steady rate or as fast as it goes, and count the acks."""
    asyncio.run(_send(path, producer, per_s, n_acked))


async def _send(
    path: Path, producer: str, per_s: int | None, n_acked: "Synchronized[int]"
) -> None:
    pause_s = 0.0 if per_s is None else BATCH_EVENTS / per_s
    async with Connection(path) as app:
        seq = await app.hello(producer) + 1
        waiting = 0
        while True:
            now_ms = time.time_ns() // 1_000_000
            events = [
                event(time_ms=now_ms, subject=f"s{(seq + i) % 997 + 1}", route="/v1/a")
                for i in range(BATCH_EVENTS)
            ]
            await app.send_bytes(encode_frame(batch(*events, first_seq=seq)))
            seq += BATCH_EVENTS
            waiting += 1
            if waiting >= (WINDOW if per_s is None else 1):
                await app.receive()
                waiting -= 1
                n_acked.value += BATCH_EVENTS
            await asyncio.sleep(pause_s)


def ask(url: str, questions: list[str], rounds: int) -> dict[str, list[float]]:
    """Return how long each question took, in milliseconds."""
    took: dict[str, list[float]] = {question: [] for question in questions}
    headers = {"Accept": "text/html"}
    with httpx.Client(base_url=url, timeout=60, headers=headers) as client:
        for _ in range(rounds):
            for question in questions:
                start = time.perf_counter()
                answer = client.get(question)
                took[question].append((time.perf_counter() - start) * 1000)
                assert answer.status_code == 200, (question, answer.text[:500])
    return took


def ingest_rate(path: Path, seconds: float, url: str | None) -> float:
    """Return acked events per second of a sender at full speed; asked when ``url``."""
    n_acked: Synchronized[int] = multiprocessing.Value("q", 0)
    producer = f"{random.getrandbits(128):032x}"
    sender = multiprocessing.Process(
        target=send, args=(path, producer, None, n_acked), daemon=True
    )
    sender.start()
    while not n_acked.value:
        time.sleep(0.01)
    start, before = time.monotonic(), n_acked.value
    if url is None:
        time.sleep(seconds)
    else:
        with httpx.Client(base_url=url, timeout=60) as client:
            while time.monotonic() - start < seconds:
                client.get("/", headers={"Accept": "text/html"})
                client.get("/v1/usage?customer=c7")
                time.sleep(0.25)  # a person with a page that refreshes itself
    rate = (n_acked.value - before) / (time.monotonic() - start)
    sender.terminate()
    sender.join()
    return rate


def main() -> None:
    """Fill, ask, and print what took how long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--customers", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = write_files(folder, options.customers)
        start = time.monotonic()
        asyncio.run(fill(folder, options.events, options.customers))
        fill_s = time.monotonic() - start
        command = [sys.executable, "-m", "meterline_sidecar", "run", "--config"]
        daemon = subprocess.Popen(
            [*command, str(folder / "meterline.toml")], stderr=subprocess.DEVNULL
        )
        try:
            result = _measure(folder, f"http://127.0.0.1:{port}", options)
        finally:
            daemon.terminate()
            daemon.wait()
    result["fill_s"] = fill_s
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    heading(__doc__)
    for key, value in result.items():
        sys.stdout.write(f"{key:44} {value:10,.1f}\n")


def _measure(folder: Path, url: str, options: argparse.Namespace) -> dict[str, float]:
    _wait_for(url)
    n_acked: Synchronized[int] = multiprocessing.Value("q", 0)
    steady = multiprocessing.Process(
        target=send, args=(folder / "s", "a" * 32, STEADY_PER_S, n_acked), daemon=True
    )
    steady.start()
    names = {"top": "c5", "some": f"c{options.customers // 2}", "event": options.events}
    questions = [question.format(**names) for question in QUESTIONS]
    ask(url, questions, 1)
    took = ask(url, questions, options.rounds)
    steady.terminate()
    steady.join()
    result = {
        f"{question} p95 ms": statistics.quantiles(times, n=20)[18]
        for question, times in took.items()
    }
    every = [time_ms for times in took.values() for time_ms in times]
    result["all p50 ms"] = statistics.median(every)
    result["all p95 ms"] = statistics.quantiles(every, n=20)[18]
    quiet = [ingest_rate(folder / "s", options.seconds, None)]
    asked = [ingest_rate(folder / "s", options.seconds, url)]
    quiet.append(ingest_rate(folder / "s", options.seconds, None))
    asked.append(ingest_rate(folder / "s", options.seconds, url))
    result["ingest events/s, nobody asks"] = statistics.mean(quiet)
    result["ingest events/s, a page is open"] = statistics.mean(asked)
    return result


def _wait_for(url: str) -> None:
    while True:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)


if __name__ == "__main__":
    main()
