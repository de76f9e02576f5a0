"""A ledger with a month of events of many customers, a few of them large.

Written straight into the tables, because a socket would take an hour for 20 million,
and added up by the real aggregator.
"""

import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from meterline_sidecar.clock import DAY_MS, HOUR_MS, SystemClock
from meterline_sidecar.config.read import read_config
from meterline_sidecar.ledger.chain import ChainFiles, Head
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge.events import BatchRow, ProducerRow
from meterline_sidecar.store.edge.stored import StoredEvent
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.terms.files import wanted_of
from meterline_sidecar.terms.keeper import TermsKeeper
from meterline_sidecar.usage.aggregate import Aggregator

ROUTES: Final = 20
STEP: Final = 200_000  # events in one transaction of the fill
DAYS: Final = 30
SKEW: Final = 1.1  # of the Pareto distribution: a few customers are large
CONFIG: Final = """
[sidecar]
socket = "s"
database = "db"
spool_dir = "spool"
http = "127.0.0.1:{port}"
http_requests_per_s = 100000

[[meter]]
name = "api_calls"
aggregation = "count"
group_by = ["route"]

[[meter]]
name = "bytes"
aggregation = "sum"
value = "bytes_out"
"""
CUSTOMER: Final = """
[[customer]]
id = "c{i}"
subjects = ["s{i}"]
plan = "starter"
"""
PRICING: Final = """
[[plan]]
name = "starter"
version = 1
effective = 2020-01-01
currency = "usd"

[[plan.price]]
meter = "api_calls"
model = "graduated"
tiers = [ { up_to = 1_000, unit_amount = "0" }, { unit_amount = "0.001" } ]
"""


def write_files(folder: Path, n_customers: int) -> int:
    """Write the configuration; return the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    customers = "".join(CUSTOMER.format(i=i) for i in range(1, n_customers + 1))
    (folder / "meterline.toml").write_text(CONFIG.format(port=port) + customers)
    (folder / "pricing.toml").write_text(PRICING)
    return port


async def fill(folder: Path, n_events: int, n_customers: int) -> None:
    """Write the events, and add them up."""
    config = read_config(folder / "meterline.toml", environment={})
    database = await SqliteDatabase.open(folder / "db")
    # One batch without a true mac: this ledger is to be read, not to be verified.
    chain = ChainFiles(database.path)
    chain.key(has_batches=False)
    chain.write_head(Head(1, bytes(32)), durably=False)
    end_ms = SystemClock().now_ms()
    start_ms = end_ms - DAYS * DAY_MS
    async with database.transaction() as tx:
        await tx.execute_many(
            "INSERT INTO subjects (id, name) VALUES (?, ?)",
            ((i, f"s{i}") for i in range(1, n_customers + 1)),
        )
        routes = [("GET", f"/v1/route{i}") for i in range(ROUTES)]
        await event_store.intern_endpoints(tx, routes)
        await event_store.add_producer(tx, _producer(n_events, end_ms))
        whole = BatchRow(1, 1, 1, n_events, 1, n_events, 1, 0, end_ms)
        await event_store.add_batch(tx, whole, bytes(32))
    dice = random.Random(1)
    for first in range(1, n_events + 1, STEP):
        n_step = min(STEP, n_events + 1 - first)
        async with database.transaction() as tx:
            rows = _events(dice, first, n_step, n_events, n_customers, start_ms, end_ms)
            await event_store.add_events(tx, list(rows))
            await event_store.note_hours(
                tx, _hours(first, n_step, n_events, start_ms, end_ms)
            )
    keeper = TermsKeeper(database, Journal(bytes(32)), clock=SystemClock())
    await keeper.load(wanted_of(config), author="benchmark")
    aggregator = Aggregator(database, keeper.terms, clock=SystemClock())
    await aggregator.start()
    await aggregator.run()
    await database.checkpoint()
    await database.close()


def _producer(n_events: int, now_ms: int) -> ProducerRow:
    counts = dict.fromkeys(("refused", "lost", "duplicates", "unattributed"), 0)
    return ProducerRow(
        id=0,
        producer="f" * 32,
        app="fill",
        host="localhost",
        pid=1,
        started_ms=now_ms,
        spool="file",
        recorded_seq=n_events,
        last_seq=n_events,
        ingested=n_events,
        **counts,
        held=0,
        bad_quantities=0,
        seen_ms=now_ms,
        is_closed=1,
    )


def _time_ms(i: int, n_events: int, start_ms: int, end_ms: int) -> int:
    return start_ms + (end_ms - start_ms) * i // n_events


def _events(
    dice: random.Random,
    first: int,
    n_step: int,
    n_events: int,
    n_customers: int,
    start_ms: int,
    end_ms: int,
) -> Iterator[StoredEvent]:
    for i in range(first, first + n_step):
        subject = min(n_customers, int(dice.paretovariate(SKEW) * n_customers / 2_000))
        subject = subject or dice.randint(1, n_customers)
        at_ms = _time_ms(i, n_events, start_ms, end_ms)
        route = dice.randint(1, ROUTES)
        yield StoredEvent(
            id=i,
            producer_id=1,
            seq=i,
            time_ms=at_ms,
            kind=0,
            subject_id=subject,
            endpoint_id=route,
            status=200,
            duration_us=1500,
            bytes_in=0,
            bytes_out=i % 4096,
            flags=0,
            quantities=None,
            properties=None,
        )


def _hours(
    first: int, n_step: int, n_events: int, start_ms: int, end_ms: int
) -> list[tuple[int, int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for i in range(first, first + n_step):
        hour_ms = _time_ms(i, n_events, start_ms, end_ms) // HOUR_MS * HOUR_MS
        found[hour_ms] = (found.get(hour_ms, (i, i))[0], i)
    return [(hour_ms, one, last) for hour_ms, (one, last) in found.items()]
