"""Meters that change, and subjects that change hands: each event by what held then."""

import random
from collections import Counter
from itertools import count

import pytest

from meterline_sidecar.clock import DAY_MS, HOUR_MS, MINUTE_MS
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.ledger.verify import verify
from meterline_sidecar.meters import Meter
from meterline_sidecar.store import invoices, terms
from meterline_sidecar.store import usage as store
from meterline_sidecar.store.edge import event_log
from meterline_sidecar.store.edge.event_log import Filter
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.usage.aggregate import Aggregator
from meterline_sidecar.usage.counted import counted
from meterline_sidecar.usage.recount import count_again
from meterline_sidecar.where import StatusRange, Where
from tests.agreed import agree_to, claim, keep, terms_of
from tests.integration.conftest import Sidecar
from tests.producer import NOON_MS, Connection, batch, event

CALLS = Meter("calls", "count")
GOOD = Meter("calls", "count", where=Where(status=(StatusRange(200, 299),)))
OUT = Meter("out", "sum", value="bytes_out")
ALL = {"start": 0, "end": 2**50}


class Shop:
    """A sidecar that counts by terms, and one app that sends to it."""

    def __init__(self, sidecar: Sidecar, agreed: Terms) -> None:
        self.sidecar = sidecar
        self.terms = agreed
        self.aggregator = Aggregator(sidecar.database, agreed, clock=sidecar.clock)
        self._producers = count(1)

    async def ship(self, *times_ms: int, status: int = 200, **changes: object) -> None:
        events = [event(time_ms=t, status=status, **changes) for t in times_ms]
        async with Connection(self.sidecar.socket) as app:
            await app.hello(f"{next(self._producers):032x}")
            await app.ship(batch(*events))

    async def count(self) -> None:
        await self.aggregator.run()

    async def agree(self, meter: Meter | None, **when: int) -> None:
        when.setdefault("from_ms", NOON_MS)
        agree_to(self.terms, "calls" if meter is None else meter.name, meter, **when)
        await self.aggregator.follow(self.terms)

    async def totals(self, customer: str = "acme", **span: int) -> Counter[str]:
        async with self.sidecar.database.reading() as tx:
            generation = (await counted(tx)).generation
            rows = await store.read_usage(
                tx, generation, customer=customer, **(span or ALL)
            )
        found: Counter[str] = Counter()
        for row in rows:
            found.update({k: v for k, v in row.totals.items() if isinstance(v, int)})
        return found

    async def percent(self) -> int | None:
        async with self.sidecar.database.reading() as tx:
            return (await counted(tx)).recounting_percent

    async def verified(self) -> Report:
        chain = ChainFiles(self.sidecar.database.path)
        key = chain.key(has_batches=True)
        await keep(self.sidecar.database, self.terms, key=key)
        return await verify(
            self.sidecar.database,
            key=key,
            head=chain.head(),
            progress=lambda what, done, total: None,
        )


@pytest.fixture
async def shop(sidecar: Sidecar) -> Shop:
    shop = Shop(sidecar, claim(terms_of(CALLS), "acme", "acct_*"))
    await shop.aggregator.start()
    return shop


async def test_a_filter_that_changes_leaves_alone_what_was_before(shop: Shop) -> None:
    await shop.ship(NOON_MS - DAY_MS, NOON_MS - 2, status=404)
    await shop.ship(NOON_MS - DAY_MS)
    await shop.count()
    assert await shop.totals() == {"calls": 3}

    await shop.agree(GOOD)
    assert await shop.percent() is None
    await shop.ship(NOON_MS - DAY_MS, status=404)  # late: as it was then
    await shop.ship(NOON_MS, NOON_MS + 1, status=404)
    await shop.ship(NOON_MS)
    await shop.count()

    assert await shop.totals() == {"calls": 5}
    assert (await shop.verified()).findings == []


async def test_a_new_meter_counts_nothing_of_before_and_one_that_ends_nothing_more(
    shop: Shop,
) -> None:
    await shop.ship(NOON_MS - DAY_MS, bytes_out=7)
    await shop.count()

    await shop.agree(OUT)
    await shop.agree(None)
    await shop.ship(NOON_MS - HOUR_MS, bytes_out=7)
    await shop.ship(NOON_MS + 1, bytes_out=5)
    await shop.count()

    assert await shop.totals() == {"calls": 2, "out": 5}
    assert (await shop.verified()).findings == []


async def test_what_is_counted_stays_as_it_was_whatever_its_time(shop: Shop) -> None:
    await shop.ship(NOON_MS + 2 * MINUTE_MS, status=404)  # a clock that runs ahead
    await shop.count()

    await shop.agree(GOOD)
    await shop.ship(NOON_MS + 2 * MINUTE_MS, status=404)
    await shop.count()

    assert await shop.totals() == {"calls": 1}
    assert (await shop.verified()).findings == []


async def test_a_change_from_a_day_to_come_holds_from_that_day(shop: Shop) -> None:
    await shop.agree(GOOD, from_ms=NOON_MS + MINUTE_MS, learned_ms=NOON_MS)
    await shop.ship(NOON_MS, NOON_MS + MINUTE_MS, status=404)
    await shop.count()

    assert await shop.totals() == {"calls": 1}
    assert await shop.percent() is None


async def test_what_reaches_back_is_counted_beside_and_then_takes_its_place(
    shop: Shop,
) -> None:
    day_ms = NOON_MS - DAY_MS
    await shop.ship(day_ms - 1, day_ms, NOON_MS, status=404)
    await shop.count()
    async with shop.sidecar.database.reading() as tx:
        before = await counted(tx)

    await shop.agree(GOOD, from_ms=day_ms, learned_ms=NOON_MS + 1)
    await shop.ship(NOON_MS)
    await shop.aggregator.run(beside=False)

    assert await shop.totals() == {"calls": 4}
    assert await shop.percent() == 0
    async with shop.sidecar.database.reading() as tx:
        assert (await counted(tx)).generation == before.generation

    await shop.count()

    assert await shop.totals() == {"calls": 2}
    assert await shop.percent() is None
    assert (await shop.verified()).findings == []


async def test_what_reaches_back_to_where_nothing_was_counted_counts_nothing_again(
    shop: Shop,
) -> None:
    await shop.ship(NOON_MS - 2 * DAY_MS)
    await shop.count()

    await shop.agree(GOOD, from_ms=NOON_MS - DAY_MS, learned_ms=NOON_MS)

    assert await shop.percent() is None


async def test_another_change_while_something_is_counted_again(shop: Shop) -> None:
    await shop.ship(NOON_MS - HOUR_MS, status=404, bytes_out=5)
    await shop.count()

    await shop.agree(GOOD, from_ms=0, learned_ms=NOON_MS)
    await shop.agree(OUT)
    await shop.agree(OUT, from_ms=0, learned_ms=NOON_MS + 1)
    await shop.ship(NOON_MS, bytes_out=3)
    await shop.count()
    await shop.count()

    assert await shop.totals() == {"calls": 1, "out": 8}
    assert (await shop.verified()).findings == []
    async with shop.sidecar.database.reading() as tx:
        left = await tx.fetch_all("SELECT DISTINCT generation FROM usage")
    assert len(left) == 1


async def test_random_changes_come_to_what_each_event_was_counted_by(
    shop: Shop,
) -> None:
    dice = random.Random(5)
    meters = (CALLS, GOOD, None)
    history: list[tuple[int, int, Meter | None]] = [(0, 0, CALLS)]
    expected = 0
    for step in range(40):
        if dice.random() < 0.3:
            meter = dice.choice(meters)
            at_ms = NOON_MS + step
            await shop.agree(meter, from_ms=at_ms)
            history.append((at_ms, step, meter))
            if dice.random() < 0.3:  # a restart
                shop.aggregator = Aggregator(
                    shop.sidecar.database, shop.terms, clock=shop.sidecar.clock
                )
                await shop.aggregator.start()
        time_ms = NOON_MS + step + dice.randint(-9, 9)
        status = dice.choice([200, 404])
        await shop.ship(time_ms, status=status)
        await shop.count()
        held = next(
            meter
            for from_ms, after, meter in reversed(history)
            if from_ms <= time_ms and after < step + 1  # an event each
        )
        expected += held is not None and (held is CALLS or status == 200)

    assert await shop.totals() == {"calls": expected}
    assert (await shop.verified()).findings == []


async def test_who_paid_is_told_apart_within_a_window(shop: Shop) -> None:
    cut_ms = NOON_MS - HOUR_MS + 7 * MINUTE_MS + 250
    await shop.ship(cut_ms - 2, subject="acct_1")
    await shop.count()

    async with shop.sidecar.database.transaction() as tx:
        ((subject_id, _),) = await terms.subjects_named(tx, ["acct_1"])
        await terms.set_owners(tx, {subject_id: [(0, "acme"), (cut_ms, "beta")]})
    claim(shop.terms, "beta", "acct_1", from_ms=cut_ms)
    await shop.ship(cut_ms - 1, cut_ms, cut_ms + 1, subject="acct_1")  # one is late
    await shop.ship(NOON_MS, subject="acct_1")
    await shop.count()

    assert await shop.totals("acme") == {"calls": 2}
    assert await shop.totals("beta", start=0, end=NOON_MS) == {"calls": 2}
    assert (await shop.verified()).findings == []
    async with shop.sidecar.database.reading() as tx:
        for customer, times in (
            ("acme", [cut_ms - 2, cut_ms - 1]),
            ("beta", [cut_ms, cut_ms + 1]),
        ):
            page = await event_log.read_events(
                tx, Filter(customer=customer), after=0, limit=9, start=0, end=2**50
            )
            assert [shown.time_ms for shown in page.events][:2] == times
            assert {shown.customer for shown in page.events} == {customer}


async def test_a_subject_that_is_new_has_its_whole_history(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    history: list[tuple[int, str | None]] = [(0, None), (NOON_MS - 90_001, "beta")]
    writer = shop.sidecar.ingest.__dict__["_committer"].__dict__["_writer"]

    def history_of(_subject: str) -> list[tuple[int, str | None]]:
        return history

    monkeypatch.setattr(writer, "_history_of", history_of)
    await shop.ship(NOON_MS - 90_002, NOON_MS - 90_001, NOON_MS, subject="new")
    await shop.count()

    assert await shop.totals("beta") == {"calls": 2}
    async with shop.sidecar.database.reading() as tx:
        ((subject_id, _),) = await terms.subjects_named(tx, ["new"])
        assert await terms.owners_of(tx, [subject_id]) == {subject_id: history}


async def test_usage_that_changes_in_what_is_final_is_noted(shop: Shop) -> None:
    await shop.ship(NOON_MS - 2 * DAY_MS)
    await shop.count()
    async with shop.sidecar.database.transaction() as tx:
        await tx.execute(
            "INSERT INTO invoices (customer, period_start_ms, period_end_ms,"
            " finalized_ms, document, period) VALUES ('acme', 0, ?, 1, '{}', 'a')",
            (NOON_MS - DAY_MS,),
        )
        assert await invoices.newest_final_end(tx) == NOON_MS - DAY_MS
    await shop.ship(NOON_MS)
    await shop.ship(NOON_MS - 2 * DAY_MS, NOON_MS - 2 * DAY_MS, NOON_MS - DAY_MS)
    await shop.count()
    await shop.agree(GOOD, from_ms=0, learned_ms=NOON_MS)
    await shop.count()

    async with shop.sidecar.database.reading() as tx:
        late = await tx.fetch_all("SELECT day_ms, last_event_id FROM late_usage")
    assert late == [((NOON_MS - 2 * DAY_MS) // DAY_MS * DAY_MS, 4)]


async def test_a_preview_says_whose_usage_would_change_and_changes_nothing(
    shop: Shop,
) -> None:
    await shop.ship(NOON_MS - DAY_MS, NOON_MS - 2, status=404)
    await shop.ship(NOON_MS - DAY_MS)
    await shop.ship(NOON_MS, status=404, subject=None)
    await shop.count()

    def no_edges(_customer: str, _start: int, _end: int) -> tuple[int, ...]:
        return ()

    async def preview(meter: Meter, *, from_ms: int) -> list[tuple[object, ...]]:
        found = await count_again(
            shop.sidecar.database, {"calls": (from_ms, meter)}, edges=no_edges
        )
        return [tuple(one)[1:] for one in found.differences]

    found = await preview(GOOD, from_ms=NOON_MS - HOUR_MS)
    every = await preview(GOOD, from_ms=0)
    same = await preview(CALLS, from_ms=0)

    assert found == [(None, "2026-11", 1, 0), ("acme", "2026-11", 3, 2)]
    assert every == [(None, "2026-11", 1, 0), ("acme", "2026-11", 3, 1)]
    assert same == []
    assert await shop.totals() == {"calls": 3}
