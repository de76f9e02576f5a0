"""What a month costs to read of a customer with many groups: as rows, and once it is packed.

A customer used two meters by a property of so many values, each value on every day of the
last month, or (``--apart``) each on half of the days. Each figure is CPU time in ms, the
middle of some rounds; the goal for usage is 5. A sidecar then answers over the same
ledger, and what its process worked is divided by the answers.

    python -m benchmarks.groups --groups 20 100 1000
"""

import argparse
import asyncio
import gc
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import msgspec

from benchmarks.full_ledger import aggregator_of, free_port
from benchmarks.harness import SIDECAR, cpu_s, heading, sidecar
from meterline_pricing import Period
from meterline_sidecar.clock import DAY_MS, SystemClock
from meterline_sidecar.daemon.run import GARBAGE_OBJECTS
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.meters import Meter
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.usage.counted import read_counted
from meterline_sidecar.usage.customer_usage import usage_of
from meterline_sidecar.usage.packed_days import DayPacker
from meterline_sidecar.usage.series import read_series

ROUNDS: Final = 15
ANSWERS: Final = 30
METERS: Final = (
    Meter("calls", "count", group_by=("model",)),
    Meter("tokens", "sum", value="quantities.tokens", group_by=("model",)),
)
CONFIG: Final = (
    SIDECAR
    + """
[[meter]]
name = "calls"
aggregation = "count"
group_by = ["model"]

[[meter]]
name = "tokens"
aggregation = "sum"
value = "quantities.tokens"
group_by = ["model"]

[[customer]]
id = "c1"
subjects = ["s1"]
plan = "by model"
"""
)
PRICING: Final = """
[[plan]]
name = "by model"
version = 1
effective = 2020-01-01
currency = "usd"

[[plan.price]]
meter = "calls"
model = "per_group"
by = ["model"]
price = { model = "graduated", tiers = [{ up_to = 10 }, { unit_amount = "0.01" }] }

[[plan.price]]
meter = "tokens"
model = "matrix"
dimensions = ["model"]
cells = [{ values = { model = "m1" }, unit_amount = "0.03" }]
default = { unit_amount = "0.02" }
"""


def last_month() -> Period:
    """Return the month that is over, UTC."""
    now = datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC)
    end = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    start = datetime.fromtimestamp(end.timestamp() - 1, UTC).replace(
        day=1, hour=0, minute=0, second=0
    )
    first, beyond = (int(at.timestamp()) * 1000 for at in (start, end))
    return Period(first, beyond, start.strftime("%Y-%m"))


async def filled(folder: Path, n_groups: int, *, is_apart: bool) -> SqliteDatabase:
    """Return a ledger with the month, as if its events had been counted."""
    (folder / "meterline.toml").write_text(CONFIG.format(port=free_port()))
    (folder / "pricing.toml").write_text(PRICING)
    database = await SqliteDatabase.open(folder / "db")
    ChainFiles(database.path).key(has_batches=False)
    async with database.transaction() as tx:
        await tx.execute("INSERT INTO subjects (id, name) VALUES (1, 's1')")
    await aggregator_of(database, folder)
    dice, month = random.Random(1), last_month()
    async with database.transaction() as tx:
        await tx.execute_many(
            "INSERT INTO groups (id, labels) VALUES (?, ?)",
            ((i, f'{{"model":"m{i}"}}') for i in range(1, n_groups + 1)),
        )
        await tx.execute_many(
            "INSERT INTO usage_days (generation, subject_id, day_ms, group_id, totals)"
            " VALUES (1, 1, ?, ?, ?)",
            (
                (day_ms, i, f'{{"calls":{n},"tokens":{n * 711}}}')
                for day_ms in range(month.start, month.end, DAY_MS)
                for i in range(1, n_groups + 1)
                if not is_apart or dice.random() < 0.5
                for n in [dice.randint(1, 5_000)]
            ),
        )
    return database


async def _read(database: SqliteDatabase) -> dict[str, float]:
    """Return what reading the month takes in this process."""
    month = last_month()

    async def usage() -> object:
        read = partial(usage_of, meters=METERS, customers=["c1"], period=month)
        return await read_counted(database, read)

    async def by_day() -> object:
        series = partial(
            read_series, meter=METERS[1], span=month, step_ms=DAY_MS, customer="c1"
        )
        return await read_counted(database, series)

    return {
        "usage of the month": await _cpu_ms(usage),
        "usage of a meter by day": await _cpu_ms(by_day),
    }


async def _cpu_ms(work: Callable[[], Awaitable[object]]) -> float:
    found: list[float] = []
    for _ in range(ROUNDS):
        begun_s = time.process_time()
        await work()
        found.append((time.process_time() - begun_s) * 1e3)
    return statistics.median(found)


def cpu_of_answers(
    folder: Path, paths: Mapping[str, str], *, n_answers: int
) -> dict[str, float]:
    """Return what answers of a sidecar take: its CPU time of each, in ms.

    Args:
        folder: has its configuration and its ledger.
        paths: what is asked for, by what it is called.
    """
    config = folder / "meterline.toml"
    (url,) = (
        f"http://{line.split(chr(34))[1]}"
        for line in config.read_text().splitlines()
        if line.startswith("http =")
    )
    found: dict[str, float] = {}
    with (
        sidecar(config, folder / "s") as pid,
        httpx.Client(base_url=url, timeout=600) as client,
    ):
        for what, path in paths.items():
            client.get(path).raise_for_status()
            begun_s = cpu_s(pid)
            for _ in range(n_answers):
                client.get(path).raise_for_status()
            found[what] = (cpu_s(pid) - begun_s) / n_answers * 1e3
    return found


def _answered(folder: Path) -> dict[str, float]:
    month = last_month().name
    paths = {
        "GET usage": f"/v1/usage?customer=c1&period={month}",
        "GET draft": f"/v1/customers/c1/invoice?period={month}",
        "page of the customer": f"/customers/c1?period={month}",
    }
    return cpu_of_answers(folder, paths, n_answers=ANSWERS)


async def _measured(
    folder: Path, n_groups: int, *, is_apart: bool, packs: bool
) -> dict[str, float]:
    database = await filled(folder, n_groups, is_apart=is_apart)
    try:
        if packs:
            await DayPacker(database, clock=SystemClock()).run()
        return await _read(database)
    finally:
        await database.close()


def show(
    text: str | None, result: Mapping[str, Mapping[str, float]], *, as_json: bool
) -> None:
    """Print ms of each case, below a heading; or nothing but the result as JSON."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
        return
    heading(text)
    for what, figures in result.items():
        for name, ms in figures.items():
            sys.stdout.write(f"{what:32} {name:28} {ms:10,.2f} ms\n")


def main() -> None:
    """Print what each number of groups costs, as rows and packed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, nargs="+", default=[20, 100, 1_000])
    parser.add_argument("--apart", action="store_true", help="not all on every day")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    gc.set_threshold(GARBAGE_OBJECTS)  # as a sidecar does
    result: dict[str, dict[str, float]] = {}
    for n_groups in options.groups:
        for packs in (False, True):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                read = partial(_measured, folder, n_groups, is_apart=options.apart)
                figures = asyncio.run(read(packs=packs))
                if packs:
                    figures |= _answered(folder)
            result[f"{n_groups} groups, {'packed' if packs else 'rows'}"] = figures
    show(__doc__, result, as_json=options.json)


if __name__ == "__main__":
    main()
