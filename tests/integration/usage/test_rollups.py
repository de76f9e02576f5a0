import random
import re
from typing import Any

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.meters import Meter, Totals
from meterline_sidecar.store import rollups
from meterline_sidecar.store import usage as store
from meterline_sidecar.store.packed_days import NO_PACKS
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.aggregate import Aggregator
from meterline_sidecar.usage.counted import WINDOW_MS, counted_now
from tests.agreed import agree_to, terms_of
from tests.integration.conftest import Sidecar
from tests.producer import NOON_MS, Connection, batch, event

METERS = (Meter("calls", "count"), Meter("top", "max", value="bytes_out"))
FIRST_MS = NOON_MS // DAY_MS * DAY_MS - 2 * DAY_MS
N_WINDOWS = 4 * DAY_MS // WINDOW_MS


async def fill(sidecar: Sidecar) -> int:
    """Count four days of events, out of order, in several steps."""
    aggregator = Aggregator(sidecar.database, terms_of(*METERS), clock=sidecar.clock)
    await aggregator.start()
    dice = random.Random(7)
    async with Connection(sidecar.socket) as app:
        await app.hello()
        for step in range(6):
            events = [
                event(
                    time_ms=FIRST_MS + dice.randrange(4 * DAY_MS),
                    subject=dice.choice(["acct_1", "acct_2", "stranger"]),
                    bytes_out=dice.randrange(1_000),
                )
                for _ in range(100)
            ]
            sidecar.clock.time_ms = FIRST_MS + 4 * DAY_MS
            await app.ship(batch(*events, first_seq=1 + 100 * step))
            await aggregator.run()
    return (await counted_now(sidecar.database)).generation


async def read(tx: Tx, generation: int, start: int, end: int) -> tuple[int, int]:
    rows = await store.read_usage(tx, generation, customer="acme", start=start, end=end)
    totals = [row.totals for row in rows]
    return _calls(totals), _top(totals)


def _calls(totals: list[Totals]) -> int:
    return sum(int(str(t["calls"])) for t in totals)


def _top(totals: list[Totals]) -> int:
    return max((int(str(t["top"])) for t in totals), default=0)


class Plans:
    """Stands before a transaction, and keeps how each query would be run."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self.steps: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    async def fetch_all(self, sql: str, parameters: Any = ()) -> list[Any]:
        plan = await self._tx.fetch_all(f"EXPLAIN QUERY PLAN {sql}", parameters)
        self.steps += [str(row[3]) for row in plan]
        return await self._tx.fetch_all(sql, parameters)


async def test_one_customers_usage_is_found_without_reading_that_of_all(
    sidecar: Sidecar,
) -> None:
    span = {"start": FIRST_MS + 1, "end": FIRST_MS + 3 * DAY_MS + 1}
    async with sidecar.database.reading() as tx:
        plans: Any = Plans(tx)
        await store.read_usage(plans, 1, customer="acme", **span)
        await store.read_sums_of(plans, 1, customers=["acme", "b"], **span)
        await store.read_windows(plans, 1, customer="acme", **span)
        await store.read_spans(
            plans, 1, customer="acme", spans=[(span["start"], span["end"])]
        )
        await store.count_unique(plans, 1, customer="acme", **span)
        await store.read_unassigned(plans, 1, limit=10, **span)

    reads = [step for step in plans.steps if re.match(r"(SEARCH|SCAN) [uvp]\b", step)]
    # Of subjects with one payer, by days, windows and parts of days, each with a look
    # at who has one; and of those that changed hands, by their times.
    assert len(reads) == 39
    assert all("generation=? AND subject_id=?" in step for step in reads), reads
    times = [step for step in plans.steps if "owners" in step]
    assert times
    assert all("SEARCH" in step for step in times if "customer" in step)


async def test_what_is_read_for_many_is_what_is_read_for_each(
    sidecar: Sidecar,
) -> None:
    generation = await fill(sidecar)
    span = {"start": FIRST_MS + WINDOW_MS, "end": FIRST_MS + 3 * DAY_MS + WINDOW_MS}
    async with sidecar.database.reading() as tx:
        both = await store.read_sums_of(
            tx, generation, customers=["acme", "nobody"], **span
        )
        alone = await store.read_usage(tx, generation, customer="acme", **span)

    assert alone
    found = [(labels, one) for labels, of in both["acme"].rows for one in of]
    assert sorted(found, key=repr) == sorted(
        ((row.labels, row.totals) for row in alone), key=repr
    )
    assert both["nobody"] == store.Sums([], NO_PACKS)


async def test_days_say_what_their_windows_say_over_any_span(sidecar: Sidecar) -> None:
    generation = await fill(sidecar)
    dice = random.Random(8)
    async with sidecar.database.reading() as tx:
        windows = await store.read_windows(
            tx, generation, customer="acme", start=0, end=2**50
        )
        for _ in range(200):
            first, last = sorted(dice.choices(range(N_WINDOWS + 1), k=2))
            start, end = (FIRST_MS + i * WINDOW_MS for i in (first, last))
            inside = [t for at, _, t in windows if start <= at < end]

            assert await read(tx, generation, start, end) == (
                _calls(inside),
                _top(inside),
            )
    assert _calls([t for _, _, t in windows]) > 300


async def test_everybody_together_is_the_same_at_every_grain(sidecar: Sidecar) -> None:
    generation = await fill(sidecar)
    n_spans: list[int] = []
    async with sidecar.database.reading() as tx:
        for step_ms in rollups.STEPS_MS:
            together = await rollups.read_all(
                tx, generation, step_ms=step_ms, start=0, end=2**50
            )
            assert all(at % step_ms == 0 for at, _, _ in together)
            assert _calls([totals for _, _, totals in together]) == 600
            n_spans.append(len(together))

    assert n_spans[0] > n_spans[1] > n_spans[2] == 4


async def test_what_was_rolled_up_before_it_was_counted_again_is_dropped(
    sidecar: Sidecar,
) -> None:
    await fill(sidecar)
    terms = terms_of(*METERS)
    agree_to(terms, METERS[0].name, METERS[0], from_ms=0, learned_ms=NOON_MS)
    again = Aggregator(sidecar.database, terms, clock=sidecar.clock)
    await again.start()
    await again.run()
    await again.run()

    async with sidecar.database.reading() as tx:
        for table in ("usage", "usage_days", "usage_totals"):
            row = await tx.fetch_one(f"SELECT count(DISTINCT generation) FROM {table}")
            assert row == (1,), table
