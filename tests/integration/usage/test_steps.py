"""How a step reads its events from a real ledger."""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from meterline_sidecar.meters import Meter
from meterline_sidecar.store.edge import usage as store
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.usage.definition import Definition, Step, encode
from meterline_sidecar.usage.step import TRIED_EVENTS, Read, read_step
from tests.producer import NOON_MS

TOKENS = Meter("tokens", "sum", value="quantities.tokens")
BYTES = Meter("bytes", "sum", value="bytes_out")
N_EVENTS = 2 * TRIED_EVENTS + 1


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[SqliteDatabase]:
    database = await SqliteDatabase.open(tmp_path / "meterline.db")
    yield database
    await database.close()


async def read(
    database: SqliteDatabase,
    tokens: Callable[[int], int],
    *,
    n_events: int,
    meter: Meter = TOKENS,
) -> Read:
    """Return a step of events with so many tokens, and with their numbers as bytes."""
    definition = Definition(meters={meter.name: (Step(0, 0, meter),)})
    async with database.transaction() as tx:
        await store.add_generation(tx, encode(definition))
        await tx.execute_many(
            f"INSERT INTO events (producer_id, seq, {store.COUNTED.listed})"
            f" VALUES (1, 1, {store.COUNTED.marks})",
            [
                (
                    *(i, NOON_MS, 0, 1, 1, 200, 9, 0, i, 0),
                    *(f'{{"tokens":{tokens(i)}}}', None),
                )
                for i in range(1, n_events + 1)
            ],
        )
    async with database.reading() as tx:
        found = await read_step(
            tx, beside=False, endpoints={1: ("GET", "/")}, n_events=n_events
        )
    assert found is not None
    assert sum(events.n_events for events in found.events) == n_events
    return found


@pytest.mark.parametrize("n_events", [1, N_EVENTS - 1, N_EVENTS])
async def test_events_that_are_alike_are_one(
    database: SqliteDatabase, n_events: int
) -> None:
    step = await read(database, lambda _: 7, n_events=n_events)

    assert len(step.events) == 1


@pytest.mark.parametrize("n_events", [N_EVENTS - 1, N_EVENTS])
async def test_events_that_differ_in_what_is_added_up_are_one_and_have_its_sum(
    database: SqliteDatabase, n_events: int
) -> None:
    step = await read(database, lambda i: i, n_events=n_events, meter=BYTES)

    assert len(step.events) == 1
    (delta,) = step.folded().deltas.values()
    assert delta.totals == {"bytes": sum(range(n_events + 1))}


async def test_events_of_many_sorts_are_counted_by_sort_where_these_come_again(
    database: SqliteDatabase,
) -> None:
    n_sorts = TRIED_EVENTS - 100

    step = await read(database, lambda i: i % n_sorts, n_events=5 * TRIED_EVENTS)

    assert len(step.events) == n_sorts


async def test_events_of_which_few_are_like_others_are_read_each_by_itself(
    database: SqliteDatabase,
) -> None:
    step = await read(
        database, lambda i: i if i <= TRIED_EVENTS else 0, n_events=N_EVENTS
    )

    assert len(step.events) == N_EVENTS


async def test_where_there_is_no_meter_no_event_is_read(
    database: SqliteDatabase,
) -> None:
    await read(database, lambda _: 7, n_events=N_EVENTS)
    async with database.transaction() as tx:
        none = await store.add_generation(tx, encode(Definition(meters={})))
        await store.complete(tx, none.id)
        step = await read_step(tx, beside=False, endpoints={}, n_events=1)

    assert step is not None
    assert (step.events, step.step.span.n_ids) == ([], N_EVENTS)


async def test_what_is_sorted_makes_no_file_elsewhere(database: SqliteDatabase) -> None:
    async with database.reading() as tx:
        in_memory = await tx.fetch_one("PRAGMA temp_store")

    assert in_memory == (2,)
