"""How long pages and API answers take on a full ledger, with events coming in.

A month of events of many customers, a few of them large, is written straight into a
ledger and added up by the real aggregator. Then one ``meterline run`` answers, one
question at a time, while a sender keeps the socket at a steady rate, then at full
speed. The rate at full speed with and without five pages that renew themselves tells
what answering costs ingest.

    python -m benchmarks.http_api --events 20_000_000 --customers 10_000 --folder DIR

is the size that the target is about: 50 ms at the 95th percentile. It writes 1.1 GB
and adds them up, which takes ten minutes; the next run with the same DIR does not.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Final

import httpx
import msgspec

from benchmarks.harness import heading
from meterline.wire import encode_frame
from meterline_sidecar.aggregate import Aggregator
from meterline_sidecar.chain import ChainFiles, Head
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
STEADY_PER_S: Final = 10_000
START_TIMEOUT_S: Final = 60
PAGES_OPEN: Final = 5
RENEW_S: Final = 1.5  # no page renews itself more often: ``app.js``
PAIRS: Final = 4
BATCH_EVENTS: Final = 500
WINDOW: Final = 8
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
    "/livez",  # says nothing: what the machine and the way to it take
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
    # One batch without a true mac: this ledger is to be read, not to be verified.
    chain = ChainFiles(database.path)
    chain.key(has_batches=False)
    chain.write_head(Head(1, bytes(32)), durably=False)
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
    # Encoded once: the sender shares two cores with what is measured.
    now_ms = time.time_ns() // 1_000_000
    payloads = [
        msgspec.msgpack.encode(
            event(time_ms=now_ms, subject=f"s{i % 997 + 1}", route="/v1/a")
        )
        for i in range(BATCH_EVENTS)
    ]
    async with Connection(path) as app:
        seq = await app.hello(producer) + 1
        waiting = 0
        due_s = time.monotonic()
        while True:
            await app.send_bytes(encode_frame(batch(*payloads, first_seq=seq)))
            seq += BATCH_EVENTS
            waiting += 1
            while waiting >= WINDOW:
                await app.receive()
                waiting -= 1
                n_acked.value += BATCH_EVENTS
            if per_s is not None:
                due_s = max(due_s + BATCH_EVENTS / per_s, time.monotonic() - 1)
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))


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


@contextlib.contextmanager
def sending(path: Path, per_s: int | None) -> Generator["Synchronized[int]"]:
    """Keep a sender at work, and count the events that were acked."""
    n_acked: Synchronized[int] = multiprocessing.Value("q", 0)
    producer = f"{random.getrandbits(128):032x}"
    sender = multiprocessing.Process(
        target=send, args=(path, producer, per_s, n_acked), daemon=True
    )
    sender.start()
    try:
        while not n_acked.value and sender.is_alive():
            time.sleep(0.01)
        yield n_acked
    finally:
        sender.terminate()
        sender.join()


def ingest_rate(path: Path, seconds: float, url: str | None) -> float:
    """Return acked events per second of a sender at full speed.

    Args:
        url: of a sidecar that has pages open meanwhile.
    """
    with sending(path, None) as n_acked:
        start, before = time.monotonic(), n_acked.value
        if url is None:
            time.sleep(seconds)
        else:
            with httpx.Client(base_url=url, timeout=60) as client:
                client.get("/v1/usage?customer=c7")
                while time.monotonic() - start < seconds:
                    client.get("/", headers={"Accept": "text/html"})
                    time.sleep(RENEW_S / PAGES_OPEN)
        return (n_acked.value - before) / (time.monotonic() - start)


def main() -> None:
    """Fill, ask, and print what took how long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--customers", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument(
        "--folder", type=Path, help="keep the ledger there, to measure it again"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.folder is None:
        with tempfile.TemporaryDirectory() as name:
            result = _run(Path(name), options)
    else:
        options.folder.mkdir(parents=True, exist_ok=True)
        result = _run(options.folder, options)
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    heading(__doc__)
    for key, value in result.items():
        sys.stdout.write(f"{key:52} {value:10,.1f}\n")


def _run(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    result: dict[str, float] = {}
    port = write_files(folder, options.customers)
    if not (folder / "db").exists():
        start = time.monotonic()
        asyncio.run(fill(folder, options.events, options.customers))
        result["fill s"] = time.monotonic() - start
    command = [sys.executable, "-m", "meterline_sidecar", "run", "--config"]
    with (folder / "log").open("w") as log:
        daemon = subprocess.Popen(
            [*command, str(folder / "meterline.toml")], stderr=log
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}", daemon, folder / "log")
            return result | _measure(folder, f"http://127.0.0.1:{port}", options)
        finally:
            daemon.terminate()
            daemon.wait()


def _measure(folder: Path, url: str, options: argparse.Namespace) -> dict[str, float]:
    names = {"top": "c5", "some": f"c{options.customers // 2}", "event": options.events}
    questions = [question.format(**names) for question in QUESTIONS]
    result: dict[str, float] = {}
    took: dict[str, list[float]] = {}
    ask(url, questions, 1)
    for per_s, about in ((STEADY_PER_S, f"{STEADY_PER_S:,} events/s"), (None, "full")):
        with sending(folder / "s", per_s) as n_acked:
            start, before = time.monotonic(), n_acked.value
            took = ask(url, questions, options.rounds)
            rate = (n_acked.value - before) / (time.monotonic() - start)
        every = [ms for q in questions[1:] for ms in took[q]]
        result[f"ingest at {about}: events/s"] = rate
        for question in questions if per_s else ():
            result[f"{question} p95 ms"] = _p95(took[question])
        result[f"all p50 ms, ingest at {about}"] = statistics.median(every)
        result[f"all p95 ms, ingest at {about}"] = _p95(every)
        result[f"an empty answer p95 ms, ingest at {about}"] = _p95(took["/livez"])
    socket_path = folder / "s"
    quiet: list[float] = []
    asked: list[float] = []
    for _ in range(PAIRS):
        quiet.append(ingest_rate(socket_path, options.seconds, None))
        asked.append(ingest_rate(socket_path, options.seconds, url))
    result["ingest events/s, nobody asks"] = statistics.median(quiet)
    result[f"ingest events/s, {PAGES_OPEN} pages are open"] = statistics.median(asked)
    result["ingest loses %"] = 100 * (1 - sum(asked) / sum(quiet))
    return result


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20, method="inclusive")[18]


def _wait_for(url: str, daemon: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until the sidecar is ready; end where it ended, or takes too long."""
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end and daemon.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        time.sleep(0.1)
    raise SystemExit(f"the sidecar is not ready:\n{log.read_text()}")


if __name__ == "__main__":
    main()
