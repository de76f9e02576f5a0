"""Meter events per second that Stripe has confirmed, from one reporter process.

Against a Stripe server on this machine, in a process of its own, that answers at
once. Each round drains a fresh outbox: every row is written as being sent, sent with
the official SDK, and settled, each with an fsync. The baselines, interleaved with it:
the same requests without an outbox, through our transport and through the SDK's own
for httpx.

Expected from arithmetic: a request costs this process about 0.5 ms in the SDK and in
aiohttp, and a row 0.3 ms in SQLite; so about 1,000 a second on a core of its own.
"""

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import stripe

from benchmarks.harness import heading
from meterline_sidecar.access.secret import Secret
from meterline_sidecar.clock import HOUR_MS, SystemClock
from meterline_sidecar.store import outbox
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.stripe.api import StripeApi
from meterline_sidecar.stripe.copy_guard import CopyGuard, SentMark
from meterline_sidecar.stripe.meter_events import MeterEvent, identifier, key_of
from meterline_sidecar.stripe.pacing import Rate
from meterline_sidecar.stripe.report import Reporter

KEY: Final = "sk_test_meterline"
SENDERS: Final = 32
UNLIMITED_PER_S: Final = 100_000


def _new_row(run: str, i: int, now_ms: int) -> outbox.NewRow:
    hour_ms = (now_ms // HOUR_MS - 1) * HOUR_MS
    name = identifier(
        run, customer=f"c{i}", event_name="api_calls", hour_ms=hour_ms, part=0
    )
    return outbox.NewRow(
        *(f"c{i}", f"cus_{i}", "api_calls", "api_calls", "delta"),
        *(hour_ms, 0, i + 1, name, now_ms),
    )


async def _drain(base: str, run: str, n_rows: int) -> float:
    """Return the seconds that a reporter takes for ``n_rows``."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        database = await SqliteDatabase.open(Path(folder) / "meterline.db")
        async with database.transaction() as tx:
            await outbox.start(tx, run)
            for i in range(n_rows):
                await outbox.add(tx, _new_row(run, i, clock.now_ms()))
        api = StripeApi(lambda: Secret(KEY), api_base=base)
        reporter = Reporter(
            database,
            api,
            clock=clock,
            wall=clock,
            copy_guard=CopyGuard(SentMark(database.path)),
            rate=Rate(UNLIMITED_PER_S, 0),
        )
        start_s = time.perf_counter()
        confirmed = 0
        while confirmed < n_rows:
            await reporter.run()
            async with database.reading() as tx:
                confirmed = (await outbox.counts(tx))["confirmed"]
        took_s = time.perf_counter() - start_s
        await api.close()
        await database.close()
    return took_s


async def _send_bare(base: str, run: str, n_rows: int) -> float:
    """Return the seconds for the same requests, without an outbox."""
    api = StripeApi(lambda: Secret(KEY), api_base=base)

    async def send(i: int) -> None:
        row = _new_row(run, i, SystemClock().now_ms())
        await api.send(
            MeterEvent(
                *(row.event_name, row.stripe_customer or "", row.value, row.hour_ms),
                *(row.identifier, key_of(row.identifier, 0)),
            )
        )

    took_s = await _spread(send, n_rows)
    await api.close()
    return took_s


async def _send_httpx(base: str, run: str, n_rows: int) -> float:
    """Return the seconds for the same requests through the SDK's httpx client."""
    client = stripe.StripeClient(
        KEY, base_addresses={"api": base}, http_client=stripe.HTTPXClient()
    )

    async def send(i: int) -> None:
        row = _new_row(run, i, SystemClock().now_ms())
        await client.v1.billing.meter_events.create_async(
            {
                "event_name": row.event_name,
                "payload": {
                    "stripe_customer_id": row.stripe_customer or "",
                    "value": str(row.value),
                },
                "identifier": row.identifier,
                "timestamp": row.hour_ms // 1000,
            },
            {"idempotency_key": key_of(row.identifier, 0)},
        )

    return await _spread(send, n_rows)


async def _spread(send: Callable[[int], Awaitable[None]], n_rows: int) -> float:
    """Return the seconds for all rows, by a number of senders side by side."""
    rows = iter(range(n_rows))

    async def sender() -> None:
        for i in rows:
            await send(i)

    start_s = time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(SENDERS)))
    return time.perf_counter() - start_s


async def _measure(base: str, n_rows: int, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    ways = {
        "reporter": _drain,
        "no outbox": _send_bare,
        "no outbox, httpx": _send_httpx,
    }
    for i in range(rounds + 1):
        for name, way in ways.items():
            took_s = await way(base, f"{name} {i}", n_rows)
            if i > 0:  # the first round warms up
                found.setdefault(name, []).append(n_rows / took_s)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Confirmed meter events per second.")
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    command = [sys.executable, "-m", "tests.stripe_server", "--meter", "api_calls"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        base = server.stdout.readline().strip()
        try:
            found = asyncio.run(_measure(base, given.rows, given.rounds))
        finally:
            server.kill()
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if given.json:
        sys.stdout.write(json.dumps({"events_per_s": found, "peak_mib": peak_mib}))
        return
    heading(__doc__)
    for name, rates in found.items():
        middle, low, high = statistics.median(rates), min(rates), max(rates)
        sys.stdout.write(
            f"{name:18} {middle:6.0f} events/s   ({low:.0f} to {high:.0f})\n"
        )
    sys.stdout.write(f"peak memory        {peak_mib:6.0f} MiB\n")


if __name__ == "__main__":
    main()
