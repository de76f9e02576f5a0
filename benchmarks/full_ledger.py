"""A ledger with a month of events of many customers, a few of them large.

Written straight into the tables, because a socket would take an hour for 20 million,
and added up by the real aggregator.
"""

import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from benchmarks.harness import SIDECAR
from meterline_sidecar.clock import DAY_MS, HOUR_MS, SystemClock
from meterline_sidecar.config.read import read_config
from meterline_sidecar.ledger.chain import GENESIS, ChainFiles, Head, batch_mac
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge.events import BatchRow, EventRow, ProducerRow
from meterline_sidecar.store.edge.stored import StoredEvent
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.terms.files import wanted_of
from meterline_sidecar.terms.keeper import TermsKeeper
from meterline_sidecar.usage.aggregate import Aggregator

ROUTES: Final = 20
PRODUCER: Final = "f" * 32
BATCH: Final = 5_000  # as a busy app sends them
STEP: Final = 200_000  # events in one transaction of the fill
DAYS: Final = 30
SKEW: Final = 1.1  # of the Pareto distribution: a few customers are large
CONFIG: Final = (
    SIDECAR
    + """
[[meter]]
name = "api_calls"
aggregation = "count"
group_by = ["route"]

[[meter]]
name = "bytes"
aggregation = "sum"
value = "bytes_out"
"""
)
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


TOKENS: Final = """
[[meter]]
name = "tokens"
aggregation = "sum"
value = "quantities.input_tokens"
"""
"""A meter of what ``tokens`` says."""
NAMES: Final = ("input_tokens", "output_tokens", "cached_tokens")
MODELS: Final = ("large-4", "small-4", "small-3-mini", "vision")
REGIONS: Final = ("eu-1", "us-2", "ap-1")
TIERS: Final = ("free", "pro")

Says = Callable[[random.Random], tuple[str | None, str | None]]
"""Returns the quantities and properties of an event, as a row has them."""


def nothing(_dice: random.Random) -> tuple[None, None]:
    """Return what a plain request says."""
    return None, None


def tokens(dice: random.Random) -> tuple[str, str]:
    """Return what an API that sells tokens says: one to three numbers, three properties."""
    names = NAMES[: dice.randint(1, len(NAMES))]
    counts = ",".join(f'"{name}":{int(dice.lognormvariate(6, 1.2))}' for name in names)
    said = zip(("model", "region", "tier"), (MODELS, REGIONS, TIERS), strict=True)
    values = ",".join(f'"{name}":"{dice.choice(of)}"' for name, of in said)
    return f"{{{counts}}}", f'{{"all":{{{values}}}}}'


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_files(
    folder: Path, n_customers: int, *, meters: str = "", time_zone: str | None = None
) -> int:
    """Write the configuration; return the port.

    Args:
        time_zone: whose days the customers have; ``None`` for those of UTC.
    """
    zone = "" if time_zone is None else f'time_zone = "{time_zone}"\n'
    port = free_port()
    customers = "".join(CUSTOMER.format(i=i) + zone for i in range(1, n_customers + 1))
    (folder / "meterline.toml").write_text(
        CONFIG.format(port=port) + meters + customers
    )
    (folder / "pricing.toml").write_text(PRICING)
    return port


class Filler:
    """Writes events that go on where the last ones ended, in a chain that is true.

    Args:
        n_events: of the whole ledger, which are spread over its days.
        end_ms: when the last of them happens.
        span_ms: how long before that the first one does.
        says: what else they say.
    """

    def __init__(
        self,
        folder: Path,
        *,
        n_events: int,
        n_customers: int,
        end_ms: int,
        span_ms: int = DAYS * DAY_MS,
        says: Says = nothing,
    ) -> None:
        self.folder = folder
        self.written = 0
        self._says = says
        self._n_events = n_events
        self._n_customers = n_customers
        self._end_ms = end_ms
        self._start_ms = end_ms - span_ms
        self._dice = random.Random(1)
        self._batch_id = 0
        self._mac = GENESIS

    async def open(self) -> SqliteDatabase:
        """Make the ledger, with everything that events name."""
        database = await SqliteDatabase.open(self.folder / "db")
        self._chain = ChainFiles(database.path)
        self._key = self._chain.key(has_batches=False)
        async with database.transaction() as tx:
            await tx.execute_many(
                "INSERT INTO subjects (id, name) VALUES (?, ?)",
                ((i, f"s{i}") for i in range(1, self._n_customers + 1)),
            )
            routes = [("GET", f"/v1/route{i}") for i in range(1, ROUTES + 1)]
            found = await event_store.intern_endpoints(tx, routes)
            self._routes = {found[route]: route for route in routes}
            await event_store.add_producer(tx, _producer(0, self._end_ms))
        return database

    async def write(self, database: SqliteDatabase, n_events: int) -> None:
        """Write the next events."""
        while n_events > 0:
            n_step = min(STEP, n_events)
            await self._step(database, n_step)
            n_events -= n_step

    async def _step(self, database: SqliteDatabase, n_step: int) -> None:
        first = self.written + 1
        given = (self._n_events, self._n_customers, self._start_ms, self._end_ms)
        rows = list(_events(self._dice, self._says, first, n_step, *given))
        async with database.transaction() as tx:
            await event_store.add_events(tx, rows)
            for start in range(0, n_step, BATCH):
                await self._add_batch(tx, rows[start : start + BATCH])
            await event_store.note_hours(tx, _hours(rows, BATCH))
            self.written += n_step
            row = _producer(self.written, self._end_ms)
            await event_store.update_producer(tx, row._replace(id=1))
        head = Head(self._batch_id, self._mac)
        self._chain.write_head(head, durably=False)

    async def _add_batch(self, tx: Tx, rows: list[StoredEvent]) -> None:
        self._batch_id += 1
        first, last = rows[0].id, rows[-1].id
        batch = BatchRow(
            *(self._batch_id, 1, first, last, first, len(rows), 1, 0),
            learned_ms=rows[-1].time_ms,
        )
        events = [
            EventRow(
                seq=row.seq,
                time_ms=row.time_ms,
                kind=row.kind,
                subject=f"s{row.subject_id}",
                method=self._routes[row.endpoint_id][0],
                route=self._routes[row.endpoint_id][1],
                status=row.status,
                duration_us=row.duration_us,
                bytes_in=row.bytes_in,
                bytes_out=row.bytes_out,
                flags=row.flags,
                quantities=row.quantities,
                properties=row.properties,
            )
            for row in rows
        ]
        self._mac = batch_mac(
            *(self._key, self._mac),
            batch=batch,
            producer=PRODUCER,
            events=events,
            losses=[],
        )
        await event_store.add_batch(tx, batch, self._mac)


async def aggregator_of(database: SqliteDatabase, folder: Path) -> Aggregator:
    """Return what adds up the events of a ledger, with what its files agree."""
    config = read_config(folder / "meterline.toml", environment={})
    key = ChainFiles(database.path).key(has_batches=True)
    keeper = TermsKeeper(database, Journal(key), clock=SystemClock())
    await keeper.load(wanted_of(config), author="benchmark")
    aggregator = Aggregator(database, keeper.terms, clock=SystemClock())
    await aggregator.start()
    return aggregator


async def fill(folder: Path, n_events: int, n_customers: int) -> None:
    """Write the events, and add them up."""
    now_ms = SystemClock().now_ms()
    filler = Filler(folder, n_events=n_events, n_customers=n_customers, end_ms=now_ms)
    database = await filler.open()
    await filler.write(database, n_events)
    aggregator = await aggregator_of(database, folder)
    await aggregator.run()
    await database.checkpoint()
    await database.close()


def _producer(n_events: int, now_ms: int) -> ProducerRow:
    counts = dict.fromkeys(("refused", "lost", "duplicates", "unattributed"), 0)
    return ProducerRow(
        id=0,
        producer=PRODUCER,
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
    says: Says,
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
        quantities, properties = says(dice)
        yield StoredEvent(
            id=i,
            producer_id=1,
            seq=i,
            time_ms=at_ms,
            kind=0,
            subject_id=subject,
            endpoint_id=route,
            status=200,
            duration_us=dice.randrange(500, 60_000),
            bytes_in=0,
            bytes_out=dice.randrange(4_096),
            flags=0,
            quantities=quantities,
            properties=properties,
        )


def _hours(rows: list[StoredEvent], n_batch: int) -> list[tuple[int, int, int]]:
    """Return the ids that events of hours have, by the batches that these are in."""
    found: dict[int, tuple[int, int]] = {}
    for start in range(0, len(rows), n_batch):
        part = rows[start : start + n_batch]
        for hour in {row.time_ms // HOUR_MS for row in (part[0], part[-1])}:
            first = found.get(hour, (part[0].id, 0))[0]
            found[hour] = (first, part[-1].id)
    return [(hour * HOUR_MS, *ids) for hour, ids in found.items()]
