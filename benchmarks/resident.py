"""The memory of a sidecar that runs: with nobody, and with 10,000 customers.

Each customer uses each of 20 routes in every round, and five meters count all of it, one
of them by route. Rounds follow each other for ``--minutes``; where the sidecar leaks,
the memory at the end is above that at the half. Standings of everybody are made
meanwhile, as the pages show them, and pages are asked for in each round.

Measured are the resident memory, which counts the pages of Python's own files that other
processes may have as well, and what is private, which would be free if it ended.

Expected from arithmetic: a customer is some 300 bytes of what was agreed and 250 of a
standing; the rest is what a sidecar has with nobody, and what SQLite keeps of the file,
18 MiB at most.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.closing import BATCH_EVENTS, PLAN, Sidecar
from benchmarks.harness import SIDECAR, memory_of, ship, tell_as_found
from meterline.wire import encode_frame
from tests.producer import batch, event

N_ROUTES: Final = 20
SETTLED_S: Final = 5.0
QUIET_S: Final = 65.0
"""After which a sidecar that nobody asks has given back what it hardly needs."""
METERS: Final = (
    SIDECAR
    + """
[[meter]]
name = "calls"
aggregation = "count"

[[meter]]
name = "routes"
aggregation = "count"
group_by = ["route"]

[[meter]]
name = "tokens"
aggregation = "sum"
value = "quantities.tokens"

[[meter]]
name = "egress"
aggregation = "sum"
value = "bytes_out"

[[meter]]
name = "slowest"
aggregation = "max"
value = "quantities.tokens"
"""
)
GOALS: Final = {
    "nobody_mb": "<= 60",
    "at_most_mb": "<= 120",
    "quiet_mb": "<= 120",
    "grown_since_half_mb": "some",
}
MB: Final = 1024 * 1024 / 1e6


def uses(n_customers: int, *, time_ms: int, first_seq: int) -> Iterator[bytes]:
    """Yield what everybody uses in a round, in frames as an app sends them."""
    events = [
        msgspec.msgpack.encode(
            event(
                time_ms=time_ms,
                subject=f"key_{i}",
                route=f"/v1/things/{route}",
                bytes_out=1_000 + i % 977,
                quantities={"tokens": 300 + (i + route) % 883},
            )
        )
        for route in range(N_ROUTES)
        for i in range(n_customers)
    ]
    for i in range(0, len(events), BATCH_EVENTS):
        some = batch(*events[i : i + BATCH_EVENTS], first_seq=first_seq + i)
        yield encode_frame(some)


def memory(sidecar: Sidecar, name: str) -> dict[str, float]:
    """Return what a sidecar has now, in MB."""
    found = memory_of(sidecar.process.pid)
    return {f"{name}_mb": found.resident * MB, f"{name}_private_mb": found.private * MB}


async def measure(
    folder: Path, n_customers: int, *, minutes: float
) -> AsyncGenerator[dict[str, float]]:
    """Measure both, and yield figures as they come."""
    for name, n in (("nobody", 0), ("everybody", n_customers)):
        (folder / name).mkdir()
        sidecar = Sidecar(folder / name, n, config=METERS, plan=PLAN, clock=None)
        async with sidecar.running():
            await asyncio.sleep(SETTLED_S)
            yield memory(sidecar, name)
            if n == 0:
                continue
            async for some in rounds(sidecar, minutes=minutes):
                yield some


async def rounds(
    sidecar: Sidecar, *, minutes: float
) -> AsyncGenerator[dict[str, float]]:
    """Have everybody use everything again and again; yield what it has after each."""
    start_s, n_sent = time.monotonic(), 0
    half: dict[str, float] | None = None
    i = 0
    while i < 2 or time.monotonic() < start_s + minutes * 60:
        i += 1
        now_ms = time.time_ns() // 1_000_000
        frames = list(uses(sidecar.n_customers, time_ms=now_ms, first_seq=n_sent + 1))
        n_sent += sidecar.n_customers * N_ROUTES
        await ship(sidecar.folder / "s", "a" * 32, frames)
        del frames
        await sidecar.counted()
        for path in ("/customers", "/", "/status", "/metrics"):
            answer = await sidecar.http.get(path, headers={"Accept": "text/html"})
            assert answer.status_code == 200, (path, answer.text[:500])
        await asyncio.sleep(SETTLED_S)
        yield memory(sidecar, f"round_{i}")
        if half is None and time.monotonic() >= start_s + minutes * 30:
            half = memory(sidecar, "end")
    assert half is not None
    grown_mb = memory(sidecar, "end")["end_mb"] - half["end_mb"]
    yield {"events": n_sent, "grown_since_half_mb": grown_mb}
    yield {"at_most_mb": sidecar.memory_mib(most=True) * MB}
    await asyncio.sleep(QUIET_S)
    yield memory(sidecar, "quiet")


async def run(options: argparse.Namespace) -> None:
    """Print what is measured, with its goals, or all of it as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.customers, minutes=options.minutes)
        await tell_as_found(__doc__, found, GOALS, as_json=options.json)


def main() -> None:
    """Read the options, and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--json", action="store_true")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
