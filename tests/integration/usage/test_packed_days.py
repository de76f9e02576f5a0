"""Days that are packed come to the same, whatever is counted, corrected or counted again."""

import pytest

from meterline_pricing import Period
from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.meters import Aggregation, Meter
from meterline_sidecar.store import usage as store
from meterline_sidecar.usage import packed_days
from meterline_sidecar.usage.aggregate import Aggregator
from meterline_sidecar.usage.counted import counted, counted_now
from meterline_sidecar.usage.packed_days import DayPacker
from meterline_sidecar.usage.series import Series, read_series
from meterline_sidecar.usage.summed import by_group
from tests.agreed import agree_to
from tests.integration.conftest import Sidecar
from tests.integration.ledger.test_verify import tamper
from tests.integration.usage import test_corrections
from tests.integration.usage.test_corrections import (
    METERS,
    Corrected,
    some_events,
)
from tests.producer import NOON_MS, Connection, batch, event

ADDING: dict[str, Aggregation] = {
    m.name: m.aggregation for m in METERS if m.aggregation != "unique"
}
TODAY_MS = NOON_MS // DAY_MS * DAY_MS
SPAN = {"start": TODAY_MS - DAY_MS, "end": TODAY_MS + 2 * DAY_MS}


BESIDE = (
    "INSERT INTO usage_days (generation, subject_id, day_ms, group_id, totals)"
    " SELECT generation, subject_id, day_ms, body ->> '$[0].groups[0]',"
)
"""Begins a statement for a row beside each pack, of a group that is in it."""
BY_MODEL = Meter("users_by_model", "unique", value="subject", group_by=("model",))


@pytest.fixture(autouse=True)
def few_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack days of two groups, and of more."""
    monkeypatch.setattr(packed_days, "GROUPS_MIN", 2)
    monkeypatch.setattr(packed_days, "REST", 0)


async def pack(ledger: Corrected) -> int:
    """Pack what is over two days later."""
    ledger.sidecar.clock.time_ms = NOON_MS + 2 * DAY_MS
    packer = DayPacker(ledger.sidecar.database, clock=ledger.sidecar.clock)
    packed = await packer.run()
    assert await packer.run() == 0
    return packed


async def n_rows(ledger: Corrected, table: str) -> int:
    async with ledger.sidecar.database.reading() as tx:
        row = await tx.fetch_one(
            f"SELECT count(*) FROM {table} WHERE generation = ?",
            ((await counted(tx)).generation,),
        )
    assert row is not None
    return int(row[0])


async def is_right(ledger: Corrected) -> bool:
    """Say whether days come to what their windows do, and to what the events do."""
    async with ledger.sidecar.database.reading() as tx:
        at = await counted(tx)
        sums = await store.read_sums_of(tx, at.generation, customers=["acme"], **SPAN)
        windows = await store.read_windows(tx, at.generation, customer="acme", **SPAN)
    by_window = [(labels, [totals]) for _, labels, totals in windows]
    fine = store.Sums(by_window, sums["acme"].packed._replace(blocks=[]))
    assert by_group(ADDING, sums["acme"]) == by_group(ADDING, fine)
    return await ledger.sound() == []


async def charts(ledger: Corrected) -> list[Series]:
    """Return charts by day of every meter that adds up or not, by group and not."""
    async with ledger.sidecar.database.reading() as tx:
        at = await counted(tx)
        return [
            await read_series(
                *(tx, at, meter, Period(SPAN["start"], SPAN["end"], "some")),
                step_ms=DAY_MS,
                customer="acme",
                group_by=group_by,
            )
            for meter in METERS
            for group_by in (None, *meter.group_by)
        ]


async def ship(ledger: Corrected, n_events: int, *, seed: int) -> None:
    async with Connection(ledger.sidecar.socket) as app:
        await app.hello(f"{seed:032x}")
        await app.ship(batch(*some_events(n_events, seed=seed)))
    await ledger.aggregator.run()


async def test_packed_days_stay_right_as_events_come_late_and_are_corrected(
    sidecar: Sidecar,
) -> None:
    ledger = await Corrected.of(sidecar, some_events(80, seed=1))
    n_before = await n_rows(ledger, "usage_days")
    before = await charts(ledger)

    assert await pack(ledger) > n_before / 2
    assert await n_rows(ledger, "usage_days") < n_before / 2
    assert await n_rows(ledger, "packed_days") == 3  # of each subject one
    assert await is_right(ledger)
    assert await charts(ledger) == before

    await ship(ledger, 5, seed=2)
    assert await is_right(ledger)
    correction = await ledger.void(*range(1, 40, 3))
    await ledger.aggregator.run()
    assert await is_right(ledger)
    await pack(ledger)
    assert await is_right(ledger)
    await ledger.revert(correction)
    await ledger.aggregator.run()
    assert await is_right(ledger)
    await ledger.void(*range(1, 86))
    await ledger.aggregator.run()
    assert await is_right(ledger)
    assert await n_rows(ledger, "packed_days") == 0


async def test_a_day_that_a_clock_packed_too_early_is_right_and_packed_again(
    sidecar: Sidecar,
) -> None:
    ledger = await Corrected.of(sidecar, some_events(80, seed=1))
    assert await pack(ledger) > 0  # by a clock that is two days ahead
    n_packed = await n_rows(ledger, "packed_days")

    sidecar.clock.time_ms = NOON_MS + 1
    packer = DayPacker(sidecar.database, clock=sidecar.clock)
    await packer.run()
    await ship(ledger, 80, seed=2)
    await packer.run()

    # What is counted of the running day stands beside its pack, and is no finding.
    assert await n_rows(ledger, "packed_days") == n_packed
    assert await n_rows(ledger, "usage_days") > 0
    assert await is_right(ledger)
    await pack(ledger)
    assert await is_right(ledger)


async def test_late_values_leave_no_empty_row_beside_a_pack_that_has_their_group(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_corrections, "METERS", (*METERS, BY_MODEL))
    seats = {"quantities": {"seats": 1}, "properties": {"model": "x"}}
    ledger = await Corrected.of(sidecar, [event(**seats), event(route="/b", **seats)])
    await pack(ledger)
    before = await n_rows(ledger, "usage_days")

    async with Connection(sidecar.socket) as app:
        await app.hello("7" * 32)
        await app.ship(batch(event(properties={"model": "x"}, subject="acct_9")))
        await app.ship(
            batch(event(properties={"model": "x"}, subject="acct_1"), first_seq=2)
        )
    await ledger.aggregator.run()

    assert await n_rows(ledger, "usage_days") > before
    assert await ledger.sound() == []
    await pack(ledger)
    assert await ledger.sound() == []


async def test_what_is_counted_again_is_packed_in_place_of_what_was(
    sidecar: Sidecar,
) -> None:
    ledger = await Corrected.of(sidecar, some_events(80, seed=3))
    await pack(ledger)
    before = (await counted_now(sidecar.database)).generation
    changed = Meter("out", "sum", value="bytes_out", group_by=("route",))
    agree_to(ledger.terms, "out", changed, from_ms=0, learned_ms=NOON_MS)
    again = Aggregator(sidecar.database, ledger.terms, clock=sidecar.clock)
    await again.start()
    await again.run()
    await again.run()

    assert (await counted_now(sidecar.database)).generation > before
    async with sidecar.database.reading() as tx:
        assert await tx.fetch_all("SELECT 1 FROM packed_days") == []
    assert await pack(ledger) > 0
    assert await n_rows(ledger, "packed_days") > 0


async def test_a_day_is_packed_an_hour_after_its_end(sidecar: Sidecar) -> None:
    ledger = await Corrected.of(sidecar, some_events(80, seed=4))
    packer = DayPacker(sidecar.database, clock=sidecar.clock)

    sidecar.clock.time_ms = TODAY_MS + DAY_MS + packed_days.AGE_MS - 1
    assert await packer.run() == 0
    sidecar.clock.time_ms += 1
    assert await packer.run() > 0
    assert await is_right(ledger)


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("DELETE FROM packed_days WHERE subject_id = 1", "usage_days: "),
        ("UPDATE packed_days SET day_ms = day_ms + 1", "usage_days: "),
        ("UPDATE packed_days SET generation = 77", "packed_days holds rows"),
        ("UPDATE packed_days SET body = '[]'", "usage_days: "),
        ("UPDATE packed_days SET body = 'x'", "cannot be read: it is damaged"),
        (
            "UPDATE packed_days SET body = replace(body, '\"calls\":[', '\"calls\":[9')",
            "usage_days: ",
        ),
        (
            "UPDATE packed_days SET body = '[' || substr(body, 2, length(body) - 2)"
            " || ',' || substr(body, 2)",
            "a group is in it twice",
        ),
        (
            "UPDATE packed_days SET body = replace(body, ',', ', ')",
            "as Meterline writes",
        ),
        (
            "INSERT INTO packed_days (generation, subject_id, day_ms, body)"
            " SELECT generation, 99, day_ms, body FROM packed_days LIMIT 1",
            "the events come to nothing",
        ),
        (
            "INSERT INTO packed_days (generation, subject_id, day_ms, body)"
            " SELECT generation, 1, day_ms + 86400000, '[]' FROM packed_days LIMIT 1",
            "is empty",
        ),
        (f"{BESIDE} '{{}}' FROM packed_days", "a row without a total stands beside"),
        (f"{BESIDE} '{{\"calls\":1}}' FROM packed_days", "usage_days: "),
        (
            "INSERT INTO usage_days (generation, subject_id, day_ms, group_id, totals)"
            " SELECT generation, subject_id, day_ms, 99, '{}' FROM packed_days",
            "usage_days: ",
        ),
    ],
)
async def test_a_pack_that_was_changed_is_found(
    sidecar: Sidecar, statement: str, finding: str
) -> None:
    ledger = await Corrected.of(sidecar, some_events(80, seed=5))
    await pack(ledger)
    assert await ledger.sound() == []

    tamper(sidecar.database.path, statement)

    assert any(finding in one for one in await ledger.sound())
