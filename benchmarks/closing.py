"""A month's end of 100,000 customers, with 3 meters and three days of usage each.

Measured on a real sidecar with a clock of its own, each figure beside its goal:

- the memory of the sidecar once everybody is in it, and at its highest while it closes;
- how long the close takes, its CPU time for a customer, and what an ack waits meanwhile;
- how long a dry run of all takes, and what people look at: the pages Month end and
  Customers, and the lists of what is closed and held.

With ``--kills N`` the sidecar is killed so often while it closes, at random moments, and
started again; then every customer has one invoice, and all numbers follow each other.

Expected from arithmetic: an invoice is a row of 1.5 kB with 4 links and three small rows
beside it, 40 us of SQLite; it takes some 15 queries of 10 us, and 100 us of pricing.
"""

import argparse
import asyncio
import contextlib
import random
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from benchmarks.harness import SIDECAR, cpu_s, memory_of, ship, tell_as_found
from meterline.wire import encode_frame
from tests.producer import batch, event

DAY_MS: Final = 86_400_000
BEGIN_MS: Final = 1_793_491_200_000  # 2026-11-01T00:00:00Z
MONTH: Final = "2026-11"
DURING: Final = "2026-11-20T12:00:00Z"
AFTER: Final = "2026-12-01T01:00:00Z"
DAYS_USED: Final = (3, 9, 16)
BATCH_EVENTS: Final = 500
PATIENCE_S: Final = 600
CONFIG: Final = (
    SIDECAR
    + """
[billing]
close = "by_hand"

[[meter]]
name = "calls"
aggregation = "count"

[[meter]]
name = "tokens"
aggregation = "sum"
value = "quantities.tokens"

[[meter]]
name = "egress"
aggregation = "sum"
value = "bytes_out"
"""
)
CUSTOMER: Final = """
[[customer]]
id = "c{i}"
name = "Customer {i}"
subjects = ["key_{i}"]
plan = "starter"
starts = 2026-11-01
"""
PLAN: Final = """
[[plan]]
name = "starter"
version = 1
effective = 2020-01-01
currency = "usd"

[[plan.price]]
name = "Base fee"
model = "flat"
amount = "10.00"

[[plan.price]]
meter = "calls"
model = "per_unit"
unit_amount = "0.001"
free_units = 1

[[plan.price]]
meter = "tokens"
model = "graduated"
tiers = [{ up_to = 1000, unit_amount = "0.002" }, { unit_amount = "0.001" }]

[[plan.price]]
meter = "egress"
model = "per_unit"
unit_amount = "0.00001"
"""
GOALS: Final = {
    "memory_mib": "< 150",
    "memory_mib_in_close": "<= 200",
    "close_s": "< 60",
    "close_cpu_ms_a_customer": "<= 0.4",
    "ack_ms_max_in_close": "< 250",
}


class Sidecar:
    """A real sidecar with a folder and a clock of its own."""

    def __init__(
        self,
        folder: Path,
        n_customers: int,
        *,
        config: str = CONFIG,
        plan: str = PLAN,
        clock: str | None = DURING,
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.folder = folder
        self.n_customers = n_customers
        self._seq = 0
        customers = "".join(CUSTOMER.format(i=i) for i in range(n_customers))
        text = config.format(port=self.port) + customers
        (folder / "meterline.toml").write_text(text)
        (folder / "pricing.toml").write_text(plan)
        if clock is not None:
            self.set_clock(clock)

    def set_clock(self, text: str) -> None:
        """Have the sidecar believe that it is so late."""
        new = self.folder / "clock.new"
        new.write_text(text)
        new.replace(self.folder / "clock")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[float]:
        """Run it; yields how long the start took, in s."""
        words = ["run", "--config", str(self.folder / "meterline.toml")]
        if (clock := self.folder / "clock").exists():
            words += ["--clock", str(clock)]
        start = time.perf_counter()
        with (self.folder / "log").open("a") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "meterline_sidecar", *words, stderr=log
            )
        try:
            base_url = f"http://127.0.0.1:{self.port}"
            async with httpx.AsyncClient(base_url=base_url, timeout=PATIENCE_S) as http:
                self.http = http
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        if (await http.get("/readyz")).status_code == 200:
                            break
                    if self.process.returncode is not None:
                        raise RuntimeError((self.folder / "log").read_text())
                    await asyncio.sleep(0.05)
                yield time.perf_counter() - start
        finally:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            await self.process.wait()

    def cpu_s(self) -> float:
        """Return the CPU time that it took so far."""
        return cpu_s(self.process.pid)

    def memory_mib(self, *, most: bool = False) -> float:
        """Return the memory that it has, or the most that it had since it was asked."""
        wanted = "VmHWM" if most else "VmRSS"
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(wanted))
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return int(line.split()[1]) / 1024

    async def use(self) -> None:
        """Record what everybody uses, and wait until it is counted."""
        uses = [
            msgspec.msgpack.encode(
                event(
                    time_ms=BEGIN_MS + day * DAY_MS,
                    subject=f"key_{i}",
                    bytes_out=1_000 + i % 977,
                    quantities={"tokens": 300 + i % 883},
                )
            )
            for day in DAYS_USED
            for i in range(self.n_customers)
        ]
        frames = [
            encode_frame(batch(*uses[i : i + BATCH_EVENTS], first_seq=i + 1))
            for i in range(0, len(uses), BATCH_EVENTS)
        ]
        await ship(self.folder / "s", "a" * 32, frames)
        await self.counted()

    async def counted(self) -> None:
        """Wait until all events are counted."""
        behind = "SELECT (SELECT max(id) FROM events) - max(cursor) FROM generations"
        uri = f"{(self.folder / 'db').as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as ledger:
            while True:
                ((n_events,),) = ledger.execute(behind)
                if n_events == 0:
                    return
                await asyncio.sleep(0.2)

    async def one_event(self) -> float:
        """Record one event; return what it waited for its ack, in s."""
        self._seq += 1
        frame = encode_frame(batch(event(subject="other"), first_seq=self._seq))
        (wait,) = await ship(self.folder / "s", "b" * 32, [frame])
        return wait

    async def ended(self, run: httpx.Response) -> tuple[dict[str, Any], list[float]]:
        """Wait for the end of a run; return it, and what acks waited meanwhile, in s."""
        assert run.status_code == 200, run.text
        waits: list[float] = []
        while True:
            waits.append(await self.one_event())
            state = (await self.http.get("/v1/close")).json()
            if state["running"] is None:
                return state["asked"], waits
            await asyncio.sleep(0.2)


async def looked_at(sidecar: Sidecar, when: str) -> dict[str, float]:
    """Return how long what people look at takes, the median of five, in ms."""
    found: dict[str, float] = {}
    for name, path in (
        ("month_end_page", "/close"),
        ("customers_page", "/customers"),
        ("last_customers_page", f"/customers?page={sidecar.n_customers // 50}"),
        ("list_of_closes", "/v1/close"),
        ("status", "/status"),
    ):
        took: list[float] = []
        for _ in range(5):
            start = time.perf_counter()
            answer = await sidecar.http.get(path, headers={"Accept": "text/html"})
            assert answer.status_code == 200, (path, answer.text[:500])
            took.append((time.perf_counter() - start) * 1_000)
        found[f"{name}_ms_{when}"] = statistics.median(took)
    return found


async def closed(sidecar: Sidecar) -> dict[str, float]:
    """Measure a dry run and the close of all."""
    n = sidecar.n_customers
    start, cpu = time.perf_counter(), sidecar.cpu_s()
    run, _ = await sidecar.ended(
        await sidecar.http.post("/v1/close?skip_grace=true&dry_run=true")
    )
    assert run["closed"] == n, run
    found = {
        "dry_run_s": time.perf_counter() - start,
        "dry_run_cpu_ms_a_customer": (sidecar.cpu_s() - cpu) / n * 1_000,
    }
    sidecar.memory_mib(most=True)
    start, cpu = time.perf_counter(), sidecar.cpu_s()
    run, waits = await sidecar.ended(
        await sidecar.http.post("/v1/close?skip_grace=true")
    )
    assert run["closed"] == n, run
    return found | {
        "close_s": time.perf_counter() - start,
        "close_cpu_ms_a_customer": (sidecar.cpu_s() - cpu) / n * 1_000,
        "memory_mib_in_close": sidecar.memory_mib(most=True),
        "ack_ms_p50_in_close": statistics.median(waits) * 1_000,
        "ack_ms_max_in_close": max(waits) * 1_000,
    }


async def killed(sidecar: Sidecar, kills: int, seed: int) -> dict[str, float]:
    """Kill it while it closes, and see that all is closed once."""
    moments = random.Random(seed)
    seconds = sidecar.n_customers * 0.000_8 / (kills + 1)
    start = time.perf_counter()
    for _ in range(kills):
        async with sidecar.running():
            answer = await sidecar.http.post("/v1/close?skip_grace=true")
            assert answer.status_code == 200, answer.text
            await asyncio.sleep(moments.uniform(0.2, 2) * seconds)
            sidecar.process.kill()
            await sidecar.process.wait()
    async with sidecar.running():
        await sidecar.ended(await sidecar.http.post("/v1/close?skip_grace=true"))
    uri = f"{(sidecar.folder / 'db').as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as ledger:
        rows = ledger.execute(
            "SELECT count(*), count(DISTINCT customer), max(number), sum(amount)"
            " FROM documents WHERE period = ?",
            (MONTH,),
        ).fetchone()
    assert rows[:3] == (sidecar.n_customers,) * 3, rows
    return {"kills": kills, "killed_s": time.perf_counter() - start}


async def measure(
    folder: Path, n_customers: int, kills: int, seed: int
) -> AsyncGenerator[dict[str, float]]:
    """Run everything, in the order of a ledger's life; yields figures as they come."""
    sidecar = Sidecar(folder, n_customers)
    yield {"customers": n_customers}
    async with sidecar.running() as took:
        yield {"first_start_s": took, "first_start_cpu_s": sidecar.cpu_s()}
        yield {"first_memory_mib": sidecar.memory_mib(most=True)}
        start, cpu = time.perf_counter(), sidecar.cpu_s()
        await sidecar.use()
        yield {"use_s": time.perf_counter() - start, "use_cpu_s": sidecar.cpu_s() - cpu}
        yield {"used_memory_mib": sidecar.memory_mib(most=True)}
    sidecar.set_clock(AFTER)
    if kills:
        yield await killed(sidecar, kills, seed)
        return
    async with sidecar.running() as took:
        yield {"restart_s": took, "restart_cpu_s": sidecar.cpu_s()}
        yield {"restart_memory_mib_max": sidecar.memory_mib(most=True)}
        yield {
            "memory_mib": sidecar.memory_mib(),
            "memory_mib_private": memory_of(sidecar.process.pid).private,
        }
        yield await looked_at(sidecar, "before")
        yield await closed(sidecar)
        yield await looked_at(sidecar, "after")
        yield {"memory_mib_in_looking_after": sidecar.memory_mib(most=True)}


async def run(options: argparse.Namespace) -> None:
    """Print what is measured, with its goals, or all of it as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.customers, options.kills, options.seed)
        await tell_as_found(__doc__, found, GOALS, as_json=options.json)


def main() -> None:
    """Read the options, and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
