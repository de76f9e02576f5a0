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
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Final

import httpx
import msgspec

from benchmarks.full_ledger import fill, write_files
from benchmarks.harness import heading
from meterline.wire import encode_frame
from tests.producer import Connection, batch, event

STEADY_PER_S: Final = 10_000
START_TIMEOUT_S: Final = 60
PAGES_OPEN: Final = 5
RENEW_S: Final = 1.5  # no page renews itself more often: ``app.js``
PAIRS: Final = 4
BATCH_EVENTS: Final = 500
WINDOW: Final = 8
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
    "/v1/customers/{top}/invoice/explain?line=api_calls",
    "/v1/customers/{some}/invoice/explain?line=api_calls",
    "/v1/usage?limit=20",
    "/v1/customers?limit=100",
    "/v1/customers/{some}/invoice",
    "/v1/events?customer={some}",
    "/v1/events?limit=100",
)


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
