"""What a meter that is counted again costs the events that come meanwhile.

A ledger has some million packed events, of which 19 a second came, and 20,000 more a second come in from
two senders. Acks are measured before, and while all is counted again by ``meterline
meters rebuild``: those of the senders, which wait for company, and those of an app that
flushes an event five times a second, which wait for nothing but their commit.

Expected from arithmetic: a step of counting again adds up 20,000 events. It is read
beside ingest and written in its turn, which takes some milliseconds; a commit may wait
for one such turn.
"""

import argparse
import asyncio
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Final, NamedTuple

import httpx

from benchmarks.full_ledger import Filler, aggregator_of, write_files
from benchmarks.harness import collected, cpu_s, ship, tell
from meterline.usage_event import UsageEvent
from meterline.wire import encode_frame
from meterline_sidecar.clock import HOUR_MS, SystemClock
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.packing import Packer
from tests.producer import Connection, batch, event

MODULE: Final = (sys.executable, "-m", "meterline_sidecar")
SENDERS: Final = 2
BATCH_EVENTS: Final = 500
CUSTOMERS: Final = 200
PER_S: Final = 19  # 50 million in a month
FLUSH_S: Final = 0.2
LOOK_S: Final = 0.25
WARM_S: Final = 3.0
READY_WITHIN_S: Final = 60
FLUSH_MS_P99_GOAL: Final = 100
"""Of an app that waits, while all is counted again."""
PER_S_GOAL: Final = 100_000
"""Events counted again a second, beside the full stream."""

Waits = list[tuple[float, float]]
"""When an ack came, by ``time.monotonic``, and what it had been waited for, both in s."""


class Recounted(NamedTuple):
    """What counting again was like."""

    begun_s: float
    ended_s: float
    told: list[int]
    """How many percent ``/status`` said, one after the other."""


async def _fill(folder: Path, n_events: int) -> None:
    """Write events that are over, count them, and pack them."""
    end_ms = SystemClock().now_ms() - 2 * HOUR_MS
    filler = Filler(
        folder,
        n_events=n_events,
        n_customers=CUSTOMERS,
        end_ms=end_ms,
        span_ms=n_events * 1_000 // PER_S,
    )
    database = await filler.open()
    await filler.write(database, n_events)
    await (await aggregator_of(database, folder)).run()
    packer = Packer(database, Archived(None, b""), clock=SystemClock())
    while await packer.step() is not None:
        pass
    while await database.give_back():
        pass
    await database.checkpoint()
    await database.close()


def _events(start: int) -> list[UsageEvent]:
    now_ms = time.time_ns() // 1_000_000
    return [
        event(
            time_ms=now_ms,
            subject=f"s{i % CUSTOMERS + 1}",
            route=f"/v1/route{i % 20 + 1}",
            bytes_out=i,
        )
        for i in range(start, start + BATCH_EVENTS)
    ]


def _sender(
    socket: Path,
    producer: str,
    n: int,
    every_s: float,
    out: "multiprocessing.Queue[Waits]",
) -> None:
    events = _events(0)
    frames = [
        encode_frame(batch(*events, first_seq=1 + i * BATCH_EVENTS)) for i in range(n)
    ]
    begun_s = time.monotonic()
    waits = asyncio.run(ship(socket, producer, frames, every_s=every_s))
    # Acks come in order: each about its turn after the first.
    out.put([(begun_s + i * every_s, wait) for i, wait in enumerate(waits)])


def _flusher(socket: Path, over: Event, out: "multiprocessing.Queue[Waits]") -> None:
    out.put(asyncio.run(_flush(socket, over)))


async def _flush(socket: Path, over: Event) -> Waits:
    """Send an event and wait for its ack as a flush does, until it is over."""
    waits: Waits = []
    payload, seq = event(subject="s1"), 0
    async with Connection(socket) as app:
        await app.hello("f" * 31 + "0")
        while not over.is_set():
            seq += 1
            sent_s = time.monotonic()
            await app.send_bytes(encode_frame(batch(payload, first_seq=seq)))
            await app.send_bytes(encode_frame(batch(first_seq=seq + 1)))  # urgent
            await app.receive()
            await app.receive()
            waits.append((sent_s, time.monotonic() - sent_s))
            await asyncio.sleep(FLUSH_S)
    return waits


def _recount(url: str, config: Path) -> Recounted:
    """Have a meter counted again, and look how far it is until it is done."""
    begun_s = time.monotonic()
    command = [*MODULE, "meters", "rebuild", "bytes", "--apply", "--no-wait"]
    subprocess.run(
        [*command, "--json", "--config", config], check=True, stdout=subprocess.DEVNULL
    )
    told: list[int] = []
    with httpx.Client(base_url=url, timeout=60) as client:
        while True:
            found = client.get("/status", headers={"Accept": "application/json"}).json()
            percent = found["aggregation"]["recounting_percent"]
            if percent is None:
                return Recounted(begun_s, time.monotonic(), told)
            told.append(percent)
            time.sleep(LOOK_S)


def measured(
    folder: Path, n_events: int, per_s: int, seconds: float
) -> dict[str, object]:
    """Return what acks wait for beside a recount and without one."""
    port = write_files(folder, CUSTOMERS)
    asyncio.run(_fill(folder, n_events))
    config, url = folder / "meterline.toml", f"http://127.0.0.1:{port}"
    sidecar = subprocess.Popen(
        [*MODULE, "run", "--config", config], stderr=subprocess.DEVNULL
    )
    try:
        _until_ready(url)
        out: multiprocessing.Queue[Waits] = multiprocessing.Queue()
        flushes: multiprocessing.Queue[Waits] = multiprocessing.Queue()
        over = multiprocessing.Event()
        every_s = BATCH_EVENTS * SENDERS / per_s
        # As long again for the recount as without one, and as much time as it may need.
        n_batches = int((WARM_S + seconds + 8 * n_events / PER_S_GOAL) / every_s)
        senders = [
            multiprocessing.Process(
                target=_sender,
                args=(folder / "s", f"{i:032x}", n_batches, every_s, out),
            )
            for i in range(1, SENDERS + 1)
        ]
        flusher = multiprocessing.Process(
            target=_flusher, args=(folder / "s", over, flushes)
        )
        for process in (*senders, flusher):
            process.start()
        time.sleep(WARM_S)
        from_s, before_s = time.monotonic(), cpu_s(sidecar.pid)
        time.sleep(seconds)
        alone_s = cpu_s(sidecar.pid) - before_s
        found = _recount(url, config)
        both_s = cpu_s(sidecar.pid) - before_s - alone_s
        over.set()
        stream = [wait for told in collected(out, senders) for wait in told]
        (flushed,) = collected(flushes, [flusher])
        for process in (*senders, flusher):
            process.join()
    finally:
        sidecar.terminate()
        sidecar.wait()
    took_s = found.ended_s - found.begun_s
    return {
        "events_stored": n_events,
        "events_per_s_meanwhile": per_s,
        **_figures("ack_ms", stream, from_s, found),
        **_figures("flush_ms", flushed, from_s, found),
        "flush_ms_p99_recounting_goal": FLUSH_MS_P99_GOAL,
        "recount_s": took_s,
        "events_counted_again_per_s": n_events / took_s,
        "events_counted_again_per_s_goal": PER_S_GOAL,
        "times_it_said_how_far_it_is": len(set(found.told)),
        "cpu_of_the_sidecar_alone": alone_s / seconds,
        "cpu_of_the_sidecar_recounting": both_s / took_s,
    }


def _until_ready(url: str) -> None:
    began_s = time.monotonic()
    while time.monotonic() - began_s < READY_WITHIN_S:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise TimeoutError("the sidecar is not ready")


def _figures(
    name: str, waits: Waits, from_s: float, found: Recounted
) -> dict[str, object]:
    spans = {
        "alone": (from_s, found.begun_s),
        "recounting": (found.begun_s, found.ended_s),
    }
    figures: dict[str, object] = {}
    for when, (start_s, end_s) in spans.items():
        ms = [wait * 1e3 for at_s, wait in waits if start_s <= at_s < end_s]
        cuts = statistics.quantiles(ms, n=100)
        figures[f"{name}_p50_{when}"] = cuts[49]
        figures[f"{name}_p99_{when}"] = cuts[98]
        figures[f"{name}_max_{when}"] = max(ms)
    return figures


def main() -> None:
    """Fill a ledger, count it again beside a stream, and print what acks waited for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--per-s", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=15, help="without a recount")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result = measured(Path(name), options.events, options.per_s, options.seconds)
    tell(__doc__, result, as_json=options.json)


if __name__ == "__main__":
    main()
