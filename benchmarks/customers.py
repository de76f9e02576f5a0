"""100,000 customers with a pattern and a name each, in the files, and beside them by API.

Measured on real sidecars, each figure beside its goal:

- how long a first start takes, a start with nothing changed, `meterline check`, and a
  reload that gives every customer another plan; what an ack waits meanwhile;
- how long `POST`, `PUT` and `end` of customers take until they hold, of a list and of
  one customer;
- what ingest loses to 100,000 patterns, where subjects were seen before, and where
  every event is of one that never was: two sidecars take turns, with 100 customers who use all of it, and with
  these beside all others; CPU time is that of taking in and of adding up, and of the
  first look at everybody's draft after a start, which takes at most a hundredth of a
  core while events come and a tenth while none do, for about 25 minutes;
- how fast subjects that sign up by a rule become customers.

Expected from arithmetic: the files have 11 MB, of which `tomllib` reads 2 MB a second;
200,000 rows are written and linked in 20 us each. Adding a customer is four commits, an
fsync each (5 ms). A new subject's customer is a dict access for each length that
patterns have (2 us) beside 20 us in SQLite; on a machine with other work, CPU time of
the sidecar for an event says more than events per second.
"""

import argparse
import asyncio
import contextlib
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Final

import httpx
import msgspec

from benchmarks.harness import SIDECAR, cpu_s, ship, tell_as_found
from meterline.wire import encode_frame
from tests.producer import batch, event

BATCH_EVENTS: Final = 500
ROUND_EVENTS: Final = 60_000
FEW: Final = 100
PATIENCE_S: Final = 600
CONFIG: Final = (
    SIDECAR
    + """
[[meter]]
name = "calls"
aggregation = "count"

[[customer_rule]]
match = "signup_*"
plan = "starter"
"""
)
CUSTOMER: Final = """
[[customer]]
id = "{id}"
name = "Customer {id}"
subjects = ["{id}_*", "account-{id}"]
plan = "{plan}"
"""
PLAN: Final = """
[[plan]]
name = "{name}"
version = 1
effective = 2020-01-01
currency = "usd"

[[plan.price]]
meter = "calls"
model = "per_unit"
unit_amount = "{amount}"
"""
GOALS: Final = {
    "first_start_s": "< 60",
    "restart_s": "some",
    "ack_ms_max_in_reload": "< 1,000",
    "seen_loss_percent": "<= 2",
    "seen_cpu_loss_percent": "<= 2",
    "new_loss_percent": "<= 2",
    "new_cpu_loss_percent": "<= 2",
    **{
        f"{what}_ms_{part}": "<= 50"
        for what in ("add", "change", "end")
        for part in ("p50", "p95")
    },
}


class Sidecar:
    """A real sidecar with a folder of its own."""

    def __init__(self, folder: Path, n_customers: int) -> None:
        folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.folder = folder
        self.n_customers = n_customers
        self._seq: dict[str, int] = {}
        self.write(plan="starter")
        (folder / "pricing.toml").write_text(
            PLAN.format(name="starter", amount="0.001")
            + PLAN.format(name="pro", amount="0.002")
        )

    def write(self, *, plan: str) -> None:
        """Write the customers, all of them on one plan."""
        customers = "".join(
            CUSTOMER.format(id=f"c{i}", plan=plan) for i in range(self.n_customers)
        )
        text = CONFIG.format(port=self.port) + customers
        (self.folder / "meterline.toml").write_text(text)

    def command(self, *words: str) -> list[str]:
        """Return a command of Meterline's for this folder."""
        config = str(self.folder / "meterline.toml")
        return [sys.executable, "-m", "meterline_sidecar", *words, "--config", config]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[float]:
        """Run it; yields how long the start took, in s."""
        with (self.folder / "log").open("a") as log:
            start = time.perf_counter()
            self.process = await asyncio.create_subprocess_exec(
                *self.command("run"), stderr=log
            )
        try:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE_S
            ) as self.http:
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        if (await self.http.get("/readyz")).status_code == 200:
                            break
                    if self.process.returncode is not None:
                        raise RuntimeError((self.folder / "log").read_text())
                    await asyncio.sleep(0.05)
                yield time.perf_counter() - start
        finally:
            self.process.terminate()
            await self.process.wait()

    def cpu_s(self) -> float:
        """Return the CPU time that it took so far."""
        return cpu_s(self.process.pid)

    def memory_mib(self) -> float:
        """Return the most memory that it had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024

    async def ship(self, subjects: list[str], *, producer: str) -> tuple[float, float]:
        """Record a use of each subject; return the time until all is acked, in s.

        And what a batch waited at most for its ack.
        """
        first = self._seq.get(producer, 0) + 1
        now_ms = time.time_ns() // 1_000_000
        frames = [
            encode_frame(
                batch(
                    *(
                        msgspec.msgpack.encode(event(time_ms=now_ms, subject=subject))
                        for subject in subjects[i : i + BATCH_EVENTS]
                    ),
                    first_seq=first + i,
                )
            )
            for i in range(0, len(subjects), BATCH_EVENTS)
        ]
        self._seq[producer] = first + len(subjects) - 1
        start = time.perf_counter()
        waits = await ship(self.folder / "s", producer, frames)
        return time.perf_counter() - start, max(waits)


async def settled(sidecar: Sidecar) -> None:
    """Wait until everything is added up, so that no turn pays for the one before."""
    behind = "SELECT (SELECT max(id) FROM events) - max(cursor) FROM generations"
    uri = f"{(sidecar.folder / 'db').as_uri()}?mode=ro"  # it costs the sidecar nothing
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as ledger:
        while True:
            ((n_events,),) = ledger.execute(behind)
            if n_events == 0:
                return
            await asyncio.sleep(0.2)


async def asked(
    sidecar: Sidecar,
    name: str,
    rounds: int,
    ask: Callable[[int], Awaitable[httpx.Response]],
) -> dict[str, float]:
    """Return how long a request takes, in ms, and the sidecar's CPU time of it."""
    took: list[float] = []
    before = sidecar.cpu_s()
    for i in range(rounds):
        start = time.perf_counter()
        answer = await ask(i)
        took.append((time.perf_counter() - start) * 1_000)
        assert answer.status_code == 200, answer.text
    cuts = statistics.quantiles(took, n=20)
    return {
        f"{name}_ms_p50": statistics.median(took),
        f"{name}_ms_p95": cuts[-1],
        f"{name}_cpu_ms": (sidecar.cpu_s() - before) / rounds * 1_000,
    }


async def by_api(sidecar: Sidecar, rounds: int) -> dict[str, float]:
    """Measure customers of the API beside those of the files."""
    http = sidecar.http

    def new(i: int) -> Awaitable[httpx.Response]:
        body = {"id": f"new{i}", "plan": "starter", "subjects": [f"new{i}_*"]}
        return http.post("/v1/customers", json=body)

    def changed(i: int) -> Awaitable[httpx.Response]:
        body = {"plan": "pro", "subjects": [f"new{i}_*", f"more{i}"]}
        return http.put(f"/v1/customers/new{i}", json=body)

    return {
        **await asked(sidecar, "add", rounds, new),
        **await asked(sidecar, "change", rounds, changed),
        **await asked(
            sidecar, "end", rounds, lambda i: http.post(f"/v1/customers/new{i}/end")
        ),
        **await asked(
            sidecar,
            "list",
            20,
            lambda i: http.get(f"/v1/customers?limit=100&after=c{i}"),
        ),
        **await asked(sidecar, "show", 20, lambda i: http.get(f"/v1/customers/c{i}")),
        **await asked(
            sidecar,
            "page_of_customers",
            20,
            lambda i: http.get(
                f"/customers?page={i + 1}", headers={"Accept": "text/html"}
            ),
        ),
        **await asked(sidecar, "status", 20, lambda i: http.get("/status")),
    }


async def reloaded(sidecar: Sidecar) -> dict[str, float]:
    """Measure a reload that changes every customer, and acks while it runs."""
    sidecar.write(plan="pro")
    start = time.perf_counter()
    reload = asyncio.ensure_future(sidecar.http.post("/v1/reload"))
    waits: list[float] = []
    while not reload.done():
        _, wait = await sidecar.ship(["c1_1"] * BATCH_EVENTS, producer="e" * 32)
        waits.append(wait)
        await asyncio.sleep(0.05)
    answer = await reload
    assert answer.status_code == 200, answer.text[:1_000]
    assert len(answer.json()["changes"]) == sidecar.n_customers
    return {
        "reload_s": time.perf_counter() - start,
        "ack_ms_max_in_reload": max(waits) * 1_000,
    }


async def ingest(
    many: Sidecar, few: Sidecar, rounds: int, *, is_new: bool
) -> dict[str, float]:
    """Measure uses by subjects of the same customers, in turns, beside many and few.

    Args:
        is_new: whether each use is by a subject that was never seen.
    """
    rates: dict[Sidecar, list[float]] = {many: [], few: []}
    cpu: dict[Sidecar, list[float]] = {many: [], few: []}
    for i in range(rounds + 1):
        of = f"{i}_" if is_new else ""
        subjects = [f"c{n % few.n_customers}_{of}{n}" for n in range(ROUND_EVENTS)]
        for sidecar in (many, few) if i % 2 else (few, many):
            before = sidecar.cpu_s()
            took, _ = await sidecar.ship(subjects, producer="a" * 32)
            await settled(sidecar)
            if i:  # the first one warms up
                rates[sidecar].append(ROUND_EVENTS / took)
                cpu[sidecar].append((sidecar.cpu_s() - before) / ROUND_EVENTS * 1e6)
    fast, slow = (statistics.median(rates[few]), statistics.median(rates[many]))
    cheap, dear = (statistics.median(cpu[few]), statistics.median(cpu[many]))
    of = "new" if is_new else "seen"
    return {
        f"{of}_per_s_few_customers": fast,
        f"{of}_per_s_all_patterns": slow,
        f"{of}_loss_percent": (1 - slow / fast) * 100,
        f"{of}_cpu_us_few_customers": cheap,
        f"{of}_cpu_us_all_patterns": dear,
        f"{of}_cpu_loss_percent": (dear / cheap - 1) * 100,
    }


async def signed_up(sidecar: Sidecar, n_subjects: int) -> dict[str, float]:
    """Measure how fast subjects that sign up become customers."""
    subjects = [f"signup_{i}" for i in range(n_subjects)]
    start = time.perf_counter()
    _, wait = await sidecar.ship(subjects, producer="d" * 32)
    while True:
        answer = await sidecar.http.get(f"/v1/customers/{subjects[-1]}")
        if answer.status_code == 200:
            break
        await asyncio.sleep(0.1)
    return {
        "sign_ups_per_s": n_subjects / (time.perf_counter() - start),
        "ack_ms_max_in_sign_ups": wait * 1_000,
    }


async def measure(
    folder: Path, n_customers: int, rounds: int, additions: int
) -> AsyncGenerator[dict[str, float]]:
    """Run everything, in the order of a ledger's life; yields figures as they come."""
    many = Sidecar(folder / "many", n_customers)
    few = Sidecar(folder / "few", FEW)
    yield {"customers": n_customers}
    async with many.running() as took:
        yield {"first_start_s": took, "first_start_cpu_s": many.cpu_s()}
    async with many.running() as took:
        yield {"restart_s": took, "restart_cpu_s": many.cpu_s()}
        yield {"memory_mib": many.memory_mib()}
        start = time.perf_counter()
        check = await asyncio.create_subprocess_exec(
            *many.command("check"), stdout=asyncio.subprocess.DEVNULL
        )
        assert await check.wait() == 0
        yield {"check_s": time.perf_counter() - start}
        async with few.running():
            for is_new in (False, True):
                yield await ingest(many, few, rounds, is_new=is_new)
        yield await by_api(many, additions)
        yield await signed_up(many, ROUND_EVENTS)
        yield await reloaded(many)
        yield {"memory_mib_in_reload": many.memory_mib()}


async def run(options: argparse.Namespace) -> None:
    """Print what is measured, with its goals, or all of it as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(
            Path(folder), options.customers, options.rounds, options.additions
        )
        await tell_as_found(__doc__, found, GOALS, as_json=options.json)


def main() -> None:
    """Read the options, and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--additions", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
