import random
from typing import Any

import pytest

from meterline_sidecar.ingest.decode import EARLIEST_MS
from meterline_sidecar.meters import Meter
from meterline_sidecar.store import usage as store
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage import aggregate, step
from meterline_sidecar.usage.added import add_deltas
from meterline_sidecar.usage.aggregate import Aggregator
from meterline_sidecar.usage.counted import counted
from meterline_sidecar.usage.definition import Definition
from tests.agreed import agree_to, terms_of
from tests.integration.conftest import Sidecar
from tests.producer import NOON_MS, Connection, batch, event

METERS = (
    Meter("calls", "count"),
    Meter("out", "sum", value="bytes_out"),
    Meter("top", "max", value="bytes_out"),
    Meter("low", "min", value="bytes_out"),
    Meter("users", "unique", value="subject"),
    Meter("seats", "latest", value="quantities.seats"),
    Meter("by_route", "count", group_by=("route",)),
)
DAY = {"start": NOON_MS - 86_400_000, "end": NOON_MS + 86_400_000}


async def ship(sidecar: Sidecar, n_events: int, *, seed: int, first_seq: int) -> None:
    dice = random.Random(seed)
    events = [
        event(
            time_ms=NOON_MS + dice.randrange(-7_200_000, 0),
            subject=dice.choice(["acct_1", "acct_2", "stranger", None]),
            route=dice.choice(["/a", "/b", None]),
            bytes_out=dice.randrange(1_000),
            quantities={"seats": dice.randrange(9)} if dice.random() < 0.5 else None,
        )
        for _ in range(n_events)
    ]
    async with Connection(sidecar.socket) as app:
        await app.hello()
        await app.ship(batch(*events, first_seq=first_seq))


async def usage(sidecar: Sidecar) -> object:
    async with sidecar.database.reading() as tx:
        generation = (await counted(tx)).generation
        rows = await store.read_usage(tx, generation, customer="acme", **DAY)
        unique = await store.count_unique(tx, generation, customer="acme", **DAY)
    return sorted(map(str, rows)), sorted(unique)


async def test_counting_in_steps_comes_to_the_same_as_counting_at_once(
    sidecar: Sidecar,
) -> None:
    in_steps = Aggregator(sidecar.database, terms_of(*METERS), clock=sidecar.clock)
    await in_steps.start()
    for i in range(5):
        await ship(sidecar, 40, seed=i, first_seq=1 + 40 * i)
        assert await in_steps.run() == 40
    stepped = await usage(sidecar)

    terms = terms_of(*METERS)
    agree_to(terms, "new", Meter("new", "count"), from_ms=0, learned_ms=NOON_MS)
    at_once = Aggregator(sidecar.database, terms, clock=sidecar.clock)
    await at_once.start()
    assert await at_once.behind() == 0
    assert await at_once.run(beside=False) == 0
    assert await usage(sidecar) == stepped
    assert await at_once.run() == 0

    # The added meter is the only difference.
    counted = str(await usage(sidecar))
    for i in range(100, 0, -1):
        counted = counted.replace(f", 'new': {i}", "")
    assert counted == str(stepped)


async def test_however_many_places_events_come_to_few_are_written_at_once(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "STEP_PLACES", 10)
    monkeypatch.setattr(step, "STEP_PLACES_MAX", 20)
    sizes: list[int] = []

    async def noted(tx: Tx, generation: int, by: Definition, deltas: Any) -> None:
        sizes.append(len(deltas))
        await add_deltas(tx, generation, by, deltas)

    monkeypatch.setattr(aggregate, "add_deltas", noted)
    counting = Aggregator(sidecar.database, terms_of(*METERS), clock=sidecar.clock)
    await counting.start()
    async with Connection(sidecar.socket) as app:
        await app.hello()
        alike = [event() for _ in range(200)]
        await app.ship(batch(*alike, first_seq=1))
        await counting.run()  # so the next step takes many
        others = [event(route=f"/{i}") for i in range(100)]
        await app.ship(batch(*others, first_seq=201))
        assert await counting.run() == 100

    assert sum(sizes) > 100
    assert max(sizes) <= 20


async def test_counting_twice_changes_nothing(sidecar: Sidecar) -> None:
    aggregator = Aggregator(sidecar.database, terms_of(*METERS), clock=sidecar.clock)
    await aggregator.start()
    await ship(sidecar, 50, seed=1, first_seq=1)
    await aggregator.run()
    before = await usage(sidecar)

    assert await aggregator.run() == 0
    again = Aggregator(sidecar.database, terms_of(*METERS), clock=sidecar.clock)
    await again.start()
    assert await again.run() == 0

    assert await usage(sidecar) == before


async def test_events_of_an_impossible_time_are_held_out_of_usage(
    sidecar: Sidecar,
) -> None:
    aggregator = Aggregator(sidecar.database, terms_of(*METERS), clock=sidecar.clock)
    await aggregator.start()
    async with Connection(sidecar.socket) as app:
        await app.hello()
        late, early = EARLIEST_MS - 1, NOON_MS + 6 * 60_000
        await app.ship(batch(event(time_ms=late), event(), event(time_ms=early)))

    await aggregator.run()

    async with sidecar.database.reading() as tx:
        rows = await store.read_usage(
            tx,
            (await counted(tx)).generation,
            customer="acme",
            start=0,
            end=2**53,
        )
        held = await tx.fetch_one("SELECT held, ingested FROM producers")
    assert [row.totals["calls"] for row in rows if "calls" in row.totals] == [1]
    assert held == (2, 3)


@pytest.mark.parametrize(
    "time_ms", [EARLIEST_MS, NOON_MS - 200 * 86_400_000, NOON_MS - 36 * 86_400_000]
)
async def test_an_event_that_comes_late_is_counted_at_its_own_time(
    sidecar: Sidecar, time_ms: int
) -> None:
    aggregator = Aggregator(sidecar.database, terms_of(*METERS), clock=sidecar.clock)
    await aggregator.start()
    async with Connection(sidecar.socket) as app:
        await app.hello()
        await app.ship(batch(event(time_ms=time_ms)))

    await aggregator.run()

    async with sidecar.database.reading() as tx:
        rows = await store.read_usage(
            tx,
            (await counted(tx)).generation,
            customer="acme",
            start=time_ms - 3_600_000,
            end=time_ms + 1,
        )
        held = await tx.fetch_one("SELECT held, ingested FROM producers")
    assert [row.totals["calls"] for row in rows if "calls" in row.totals] == [1]
    assert held == (0, 1)
