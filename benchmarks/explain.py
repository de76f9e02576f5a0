"""How long it takes to be told what a line was counted from, and what correcting would do.

A ledger with a month of events of many customers, as ``full_ledger`` fills it. Then one
``meterline run`` answers, each figure beside its goal, the median of some rounds and the
CPU time of the sidecar:

- ``explain`` of an invoice, of one line, and of one line with the windows of a day, for the
  customer with the most events and for one with some 190,000;
- a dry run of a correction that makes all events of that one customer void.

    python -m benchmarks.explain --events 20_000_000 --folder DIR

is the size that the goals are about. It writes 1.1 GB and adds them up, which takes ten
minutes; the next run with the same DIR does not. The command adds 0.7 s of its own.
``--time-zone Asia/Kathmandu``, with a DIR of its own, has customers whose days begin at no
midnight in UTC: these are added up of windows of 15 minutes.

Expected from arithmetic: a month of a customer is 30 days and their groups, which SQLite
reads in a millisecond; the events around a line are found by the hours that name them. A
dry run reads 190,000 events at 1 us each and counts their windows again.
"""

import argparse
import asyncio
import contextlib
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from benchmarks.full_ledger import fill, write_files
from benchmarks.harness import cpu_s, tell_as_found
from meterline_sidecar.store.packs import opened

PATIENCE_S: Final = 600
ROUNDS: Final = 7
WANTED_EVENTS: Final = 190_000
"""A correction takes 200,000 at once, and says so of more."""
BEGIN_DAY: Final = "2020-01-01"
"""Before all events."""
GOALS: Final = {
    **{
        f"{what}_{of}_ms": "< 200"
        for what in ("explain", "explain_line", "explain_day")
        for of in ("top", "some")
    },
    "correct_dry_run_ms": "< 2,000",
}


@contextlib.asynccontextmanager
async def running(
    folder: Path, port: int
) -> AsyncGenerator[tuple[httpx.AsyncClient, int]]:
    """Run a sidecar; yields a client, and its process id."""
    words = ["run", "--config", str(folder / "meterline.toml")]
    with (folder / "log").open("a") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "meterline_sidecar", *words, stderr=log
        )
    try:
        base_url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=base_url, timeout=PATIENCE_S) as http:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get("/readyz")).status_code == 200:
                        break
                if process.returncode is not None:
                    raise RuntimeError((folder / "log").read_text())
                await asyncio.sleep(0.05)
            yield http, process.pid
    finally:
        process.terminate()
        await process.wait()


def customers(folder: Path) -> tuple[dict[str, str], dict[str, int], str]:
    """Return the customers that are asked about, how many events they have, and a day."""
    uri = f"{(folder / 'db').as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as ledger:
        n_events = Counter[int](
            dict(
                ledger.execute(
                    "SELECT subject_id, count(*) FROM events GROUP BY subject_id"
                )
            )
        )
        for (body,) in ledger.execute("SELECT body FROM packed_events"):
            n_events.update(opened(body)["subject_id"])
        rows = list(n_events.items())
        ((last_ms,),) = ledger.execute("SELECT max(time_ms) FROM events").fetchall()
    top = max(rows, key=lambda row: row[1])
    few = [row for row in rows if row[1] <= WANTED_EVENTS]
    some = max(few, key=lambda row: row[1])
    names = {"top": f"c{top[0]}", "some": f"c{some[0]}"}
    day = time.strftime("%Y-%m-%d", time.gmtime(last_ms / 1_000 - 86_400))
    return names, {"events_top": top[1], "events_some": some[1]}, day


async def asked(
    name: str, pid: int, rounds: int, ask: Callable[[], Awaitable[httpx.Response]]
) -> dict[str, float]:
    """Return how long a question takes, the median, and the CPU time of an answer."""
    took: list[float] = []
    before = cpu_s(pid)
    for _ in range(rounds):
        start = time.perf_counter()
        answer = await ask()
        took.append((time.perf_counter() - start) * 1_000)
        assert answer.status_code == 200, (name, answer.text[:500])
    return {
        f"{name}_ms": statistics.median(took),
        f"{name}_cpu_ms": (cpu_s(pid) - before) / rounds * 1_000,
    }


async def measure(
    folder: Path, port: int, rounds: int
) -> AsyncGenerator[dict[str, float]]:
    """Ask each question some times; yields figures as they come."""
    names, counts, day = customers(folder)
    yield dict(counts)
    async with running(folder, port) as (http, pid):
        for of, customer in names.items():
            path = f"/v1/customers/{customer}/invoice/explain"
            for what, query in (
                ("explain", {}),
                ("explain_line", {"line": "api_calls"}),
                ("explain_day", {"line": "api_calls", "day": day}),
            ):
                ask = partial(http.get, path, params=query)
                yield await asked(f"{what}_{of}", pid, rounds, ask)
        body = {
            "customer": names["some"],
            "start": f"{BEGIN_DAY}T00:00:00Z",
            "end": "2100-01-01T00:00:00Z",
            "reason": "a benchmark",
        }
        ask = partial(http.post, "/v1/corrections?dry_run=true", json=body)
        yield await asked("correct_dry_run", pid, 3, ask)


async def run(options: argparse.Namespace) -> None:
    """Print what is measured, with its goals, or all of it as JSON."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        is_new = not (folder / "db").exists()
        zone = options.time_zone
        port = write_files(folder, options.customers, time_zone=zone)
        if is_new:
            await fill(folder, options.events, options.customers)
        found = measure(folder, port, options.rounds)
        await tell_as_found(__doc__, found, GOALS, as_json=options.json)


def main() -> None:
    """Read the options, and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--time-zone", help="of the customers, such as Asia/Kathmandu")
    parser.add_argument("--json", action="store_true")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
