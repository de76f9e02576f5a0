"""What more stored events cost: the same figures of a small ledger and of a large one.

Plain events, as many a second as make 50 million in a month, are written in a true chain
and added up by the real aggregator; then what is over is packed. With ``--tokens`` each
says one to three numbers of tokens and three properties as well, and a meter adds tokens
up. Each figure stands beside its goal; those of the small ledger are of its first million
events.

    python -m benchmarks.stored --events 50_000_000 --folder DIR

takes an hour or two on two cores, and 3 GB while it runs.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import httpx
import msgspec

from benchmarks.full_ledger import (
    TOKENS,
    Filler,
    aggregator_of,
    nothing,
    tokens,
    write_files,
)
from benchmarks.harness import cpu_s, heading, ship
from meterline.wire import encode_frame
from meterline_sidecar.clock import HOUR_MS, SystemClock
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.packing import Packer
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from tests.producer import batch, event

MODULE: Final = (sys.executable, "-m", "meterline_sidecar")
SMALL: Final = 1_000_000
ADDED: Final = 100_000
PER_S: Final = 19  # 50 million in a month
ROUNDS: Final = 15
BATCH_EVENTS: Final = 500
TAKEN_IN: Final = "us of CPU to take an event in, and count it"
READY_WITHIN_S: Final = 120
OLDER_MS: Final = 2 * HOUR_MS  # all is over, and can be packed

Figures = dict[str, tuple[float, str]]
"""What was measured, and its goal in words."""


async def _built(folder: Path, options: argparse.Namespace, figures: Figures) -> None:
    """Write the ledger and add it up; measure that at its begin and at its end."""
    end_ms = SystemClock().now_ms() - OLDER_MS
    n_customers, n_events = options.customers, options.events
    filler = Filler(
        folder,
        n_events=n_events,
        n_customers=n_customers,
        end_ms=end_ms,
        span_ms=n_events * 1_000 // PER_S,
        says=tokens if options.tokens else nothing,
    )
    database = await filler.open()
    await filler.write(database, min(SMALL, n_events) - ADDED)
    aggregator = await aggregator_of(database, folder)
    await aggregator.run()
    for size in (SMALL, n_events):
        await filler.write(database, size - ADDED - filler.written)
        await aggregator.run()
        await filler.write(database, ADDED)
        begun_s, began_s = time.process_time(), time.perf_counter()
        await aggregator.run()
        took_s = time.process_time() - begun_s
        figures[f"{size:,}: s of CPU to add up 100,000 more"] = (took_s, "<= 0.5")
        wall_s = time.perf_counter() - began_s
        figures[f"{size:,}: s by the clock"] = (wall_s, "")
    await _packed(database, figures)
    await database.checkpoint()
    await database.close()


async def _packed(database: SqliteDatabase, figures: Figures) -> None:
    before = await _bytes_used(database)
    packer = Packer(database, Archived(None, b""), clock=SystemClock())
    begun_s, n_packed, longest_s = time.process_time(), 0, 0.0
    while True:
        began_s = time.perf_counter()
        events = await packer.step()
        if events is None:
            break
        longest_s = max(longest_s, time.perf_counter() - began_s)
        n_packed += events
    took_s = time.process_time() - begun_s
    after = await _bytes_used(database)
    async with database.reading() as tx:
        row = await tx.fetch_one("SELECT sum(length(body)) FROM packed_events")
    assert row is not None
    figures["us of CPU to pack an event"] = (took_s / n_packed * 1e6, "<= 1")
    figures["ms that the longest step took"] = (longest_s * 1e3, "")
    figures["bytes of a packed event"] = (row[0] / n_packed, "<= 20")
    figures["bytes saved by each"] = ((before - after) / n_packed, "")
    while await database.give_back():
        pass


async def _bytes_used(database: SqliteDatabase) -> int:
    async with database.reading() as tx:
        sizes = [
            await tx.fetch_one(f"PRAGMA {name}")
            for name in ("page_count", "freelist_count", "page_size")
        ]
    total, free, size = (row[0] for row in sizes if row is not None)
    return int((total - free) * size)


class _Sidecar:
    """One ``meterline run`` over a folder."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self.start_s = 0.0
        self._start()

    def _start(self) -> None:
        began_s = time.monotonic()
        self.process = subprocess.Popen(
            [*MODULE, "run", "--config", str(self.folder / "meterline.toml")],
            stderr=subprocess.DEVNULL,
        )
        while True:
            try:
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            if time.monotonic() - began_s > READY_WITHIN_S:
                raise TimeoutError("the sidecar is not ready")
            time.sleep(0.02)
        self.start_s = time.monotonic() - began_s

    def kill(self) -> None:
        """Kill it, and start it again."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._start()

    def stop(self) -> None:
        """Let it end."""
        self.process.terminate()
        self.process.wait()

    def took_ms(self, path: str) -> float:
        """Return the middle of how long an answer takes."""
        found: list[float] = []
        with httpx.Client(base_url=self.url, timeout=60) as client:
            for _ in range(ROUNDS):
                began_s = time.perf_counter()
                client.get(path).raise_for_status()
                found.append((time.perf_counter() - began_s) * 1e3)
        return statistics.median(found)

    def taken_in(self, n_events: int) -> float:
        """Return the microseconds of CPU time that taking an event in takes."""
        now_ms = SystemClock().now_ms()
        payloads = [
            msgspec.msgpack.encode(event(time_ms=now_ms, subject=f"s{i % 97 + 1}"))
            for i in range(BATCH_EVENTS)
        ]
        frames = [
            encode_frame(batch(*payloads, first_seq=first))
            for first in range(1, n_events, BATCH_EVENTS)
        ]
        before_s = cpu_s(self.process.pid)
        asyncio.run(ship(self.folder / "s", os.urandom(16).hex(), frames))
        while self._is_behind():
            time.sleep(0.1)
        return (cpu_s(self.process.pid) - before_s) / n_events * 1e6

    def _is_behind(self) -> bool:
        status = httpx.get(f"{self.url}/status", headers={"Accept": "application/json"})
        return bool(status.json()["aggregation"]["behind_events"])


def _answered(folder: Path, port: int, options: argparse.Namespace) -> Figures:
    """Return what a sidecar over the ledger does, and how fast."""
    figures: Figures = {}
    sidecar = _Sidecar(folder, port)
    try:
        sidecar.kill()
        figures["s until it is ready after kill -9"] = (sidecar.start_s, "<= 1")
        for what, path, goal in (
            ("a month's usage", "/v1/usage?customer=c5", "<= 5"),
            ("a draft", "/v1/customers/c5/invoice", "<= 20"),
            ("a page of raw events", "/v1/events?customer=c5", "<= 30"),
            ("an answer that says nothing", "/livez", ""),
        ):
            figures[f"ms: {what}"] = (sidecar.took_ms(path), goal)
        figures[TAKEN_IN] = (sidecar.taken_in(options.taken_in), "")
    finally:
        sidecar.stop()
    return figures


def _verified(folder: Path, n_events: int) -> Figures:
    """Return how fast a verification is."""
    began_s = time.monotonic()
    before_s = sum(os.times()[2:4])
    subprocess.run(
        [*MODULE, "verify", "--json", "--config", str(folder / "meterline.toml")],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    wall_s = time.monotonic() - began_s
    worked_s = sum(os.times()[2:4]) - before_s
    return {
        "events/s that a verification reads": (n_events / wall_s, ">= 1,000,000"),
        "us of CPU to verify an event": (worked_s / n_events * 1e6, ""),
    }


def _measured(folder: Path, options: argparse.Namespace) -> Figures:
    figures: Figures = {}
    meters = TOKENS if options.tokens else ""
    port = write_files(folder, options.customers, meters=meters)
    asyncio.run(_built(folder, options, figures))
    figures |= _verified(folder, options.events)
    figures |= _answered(folder, port, options)
    empty = folder / "empty"
    empty.mkdir()
    at_first = _taken_in_first(empty, options)
    now = figures[TAKEN_IN][0]
    figures["speed of the last events by that of the first"] = (
        at_first / now,
        ">= 0.9",
    )
    return figures


def _taken_in_first(folder: Path, options: argparse.Namespace) -> float:
    """Return what taking an event in costs a sidecar that has none yet."""
    sidecar = _Sidecar(folder, write_files(folder, options.customers))
    try:
        return sidecar.taken_in(options.taken_in)
    finally:
        sidecar.stop()


def main() -> None:
    """Build a ledger, ask it, and print each figure beside its goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=SMALL + ADDED)
    parser.add_argument("--customers", type=int, default=20)
    parser.add_argument("--tokens", action="store_true", help="what events say")
    parser.add_argument("--taken-in", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="an empty one; it is kept")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.folder is None:
        with tempfile.TemporaryDirectory() as name:
            figures = _measured(Path(name), options)
    else:
        options.folder.mkdir(parents=True, exist_ok=True)
        figures = _measured(options.folder, options)
    if options.json:
        sys.stdout.write(json.dumps({name: one[0] for name, one in figures.items()}))
        return
    heading(__doc__)
    for name, (value, goal) in figures.items():
        sys.stdout.write(f"{name:48} {value:14,.2f}  {goal}\n")


if __name__ == "__main__":
    main()
