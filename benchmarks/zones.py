"""What reading costs where a customer's days begin at no midnight UTC.

A customer used two meters by a property of so many values, each value in some quarters of
an hour of every day. Days that are over are packed, as a sidecar does. Then a sidecar
answers, and its CPU time is divided by the answers, in ms. With a zone of UTC everything
is read by day.

    python -m benchmarks.zones --groups 1 50 1000 --zones UTC Europe/Berlin Asia/Kolkata
"""

import argparse
import asyncio
import random
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from benchmarks.full_ledger import aggregator_of, free_port
from benchmarks.groups import CONFIG, PRICING, cpu_of_answers, show
from meterline_sidecar.clock import DAY_MS, SystemClock
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.store.rollups import WINDOW_MS
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.usage.days_over import DaysOver

ANSWERS: Final = 10
WINDOWS_A_DAY: Final = DAY_MS // WINDOW_MS


def months_back(n_months: int, zone: str) -> tuple[str, int, int]:
    """Return the month that is over by name, and the span that ends with it, UTC ms."""
    end = datetime.now(ZoneInfo(zone)).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    last = end.month - 1 or 12
    name = f"{end.year - (last == 12)}-{last:02}"
    number = end.year * 12 + end.month - 1 - n_months
    start = end.replace(year=number // 12, month=number % 12 + 1)
    return name, int(start.timestamp()) * 1000, int(end.timestamp()) * 1000


async def fill(
    folder: Path, *, n_groups: int, n_used: int, n_months: int, zone: str
) -> None:
    """Write a ledger with the months, as if its events had been counted; pack it."""
    in_zone = f'plan = "by model"\ntime_zone = "{zone}"'
    config = CONFIG.format(port=free_port()).replace('plan = "by model"', in_zone)
    (folder / "meterline.toml").write_text(config)
    (folder / "pricing.toml").write_text(PRICING)
    database = await SqliteDatabase.open(folder / "db")
    ChainFiles(database.path).key(has_batches=False)
    async with database.transaction() as tx:
        await tx.execute("INSERT INTO subjects (id, name) VALUES (1, 's1')")
    await aggregator_of(database, folder)
    terms = Terms()
    async with database.reading() as tx:
        await terms.catch_up(tx)
    _, start, end = months_back(n_months, zone)
    days: dict[tuple[int, int], int] = {}

    def windows() -> Iterator[tuple[int, int, str]]:
        dice = random.Random(1)
        for day_ms in range(start // DAY_MS * DAY_MS, end + DAY_MS, DAY_MS):
            for i in range(1, n_groups + 1):
                for at in sorted(dice.sample(range(WINDOWS_A_DAY), n_used)):
                    n = dice.randint(1, 500)
                    days[day_ms, i] = days.get((day_ms, i), 0) + n
                    yield day_ms + at * WINDOW_MS, i, _totals(n)

    async with database.transaction() as tx:
        await tx.execute_many(
            "INSERT INTO groups (id, labels) VALUES (?, ?)",
            ((i, f'{{"model":"m{i}"}}') for i in range(1, n_groups + 1)),
        )
        await tx.execute_many(
            "INSERT INTO usage (generation, subject_id, window_ms, group_id, totals,"
            " last_event_id) VALUES (1, 1, ?, ?, ?, 0)",
            windows(),
        )
        await tx.execute_many(
            "INSERT INTO usage_days (generation, subject_id, day_ms, group_id, totals)"
            " VALUES (1, 1, ?, ?, ?)",
            ((*day, _totals(n)) for day, n in days.items()),
        )
    await DaysOver(database, terms, clock=SystemClock()).run()
    await database.checkpoint()
    await database.close()


def _totals(n: int) -> str:
    return f'{{"calls":{n},"tokens":{n * 711}}}'


def answered(folder: Path, *, n_months: int, zone: str) -> dict[str, float]:
    """Return what answers of a sidecar take: its CPU time of each, in ms."""
    month, start, end = months_back(n_months, zone)
    span = "&".join(
        f"{name}={datetime.fromtimestamp(at // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
        for name, at in (("start", start), ("end", end))
    )
    paths = {
        "GET usage, a month": f"/v1/usage?customer=c1&period={month}",
        "GET usage, all months": f"/v1/usage?customer=c1&{span}",
        "GET draft": f"/v1/customers/c1/invoice?period={month}",
        "GET explain": f"/v1/customers/c1/invoice/explain?period={month}",
        "page of the customer": f"/customers/c1?period={month}",
    }
    return cpu_of_answers(folder, paths, n_answers=ANSWERS)


def main() -> None:
    """Print what each number of groups costs in each zone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 50, 1_000])
    parser.add_argument("--zones", nargs="+", default=["UTC", "Europe/Berlin"])
    parser.add_argument("--months", type=int, default=1)
    parser.add_argument(
        "--used", type=int, default=8, help="windows a day in which a group is used"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result: dict[str, dict[str, float]] = {}
    for n_groups in options.groups:
        for zone in options.zones:
            with tempfile.TemporaryDirectory() as name:
                asyncio.run(
                    fill(
                        Path(name),
                        n_groups=n_groups,
                        n_used=options.used,
                        n_months=options.months,
                        zone=zone,
                    )
                )
                figures = answered(Path(name), n_months=options.months, zone=zone)
            result[f"{n_groups} groups, {zone}"] = figures
    show(__doc__, result, as_json=options.json)


if __name__ == "__main__":
    main()
