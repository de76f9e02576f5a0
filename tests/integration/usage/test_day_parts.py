"""Parts of days come to the same as their windows, whatever is counted or corrected."""

from collections.abc import Iterable

import pytest

from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.meters import Aggregation, Totals
from meterline_sidecar.store import usage as store
from meterline_sidecar.store.edge import day_parts as parts_store
from meterline_sidecar.store.edge import usage as counting
from meterline_sidecar.store.edge.usage import Key
from meterline_sidecar.store.packed_days import NO_PACKS
from meterline_sidecar.store.port import Work
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.usage import day_parts
from meterline_sidecar.usage.counted import counted
from meterline_sidecar.usage.day_parts import PartKeeper
from meterline_sidecar.usage.packed_days import AGE_MS
from meterline_sidecar.usage.summed import by_group
from tests.agreed import claim
from tests.integration.conftest import Sidecar
from tests.integration.ledger.test_verify import tamper
from tests.integration.usage.test_corrections import METERS, Corrected, some_events
from tests.producer import NOON_MS, Connection, batch

ADDING: dict[str, Aggregation] = {
    m.name: m.aggregation for m in METERS if m.aggregation != "unique"
}
TODAY_MS = NOON_MS // DAY_MS * DAY_MS
TONGA = "Pacific/Tongatapu"
"""Where days begin at 11 UTC: between events of two hours before noon."""
MIDNIGHT_MS = TODAY_MS + 11 * HOUR_MS
SPANS = [
    (MIDNIGHT_MS - DAY_MS, MIDNIGHT_MS),
    (MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS),
]


@pytest.fixture(autouse=True)
def few_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep parts of days of a few windows."""
    monkeypatch.setattr(day_parts, "WINDOWS_MIN", 2)
    monkeypatch.setattr(day_parts, "REST", 0)
    monkeypatch.setattr(day_parts, "SUBJECTS_PER_READ", 1)


def in_zone(zone: str) -> Terms:
    """Return terms in which the customer has a time zone."""
    return claim(Terms(), "acme", "acct_*", time_zone=zone)


async def keep(ledger: Corrected, zone: str = TONGA) -> int:
    """Keep what may be kept two days later."""
    sidecar = ledger.sidecar
    sidecar.clock.time_ms = NOON_MS + 2 * DAY_MS
    keeper = PartKeeper(sidecar.database, in_zone(zone), clock=sidecar.clock)
    kept = await keeper.run()
    assert await keeper.run() == 0
    return kept


async def n_parts(ledger: Corrected) -> int:
    async with ledger.sidecar.database.reading() as tx:
        generation = (await counted(tx)).generation
        return len(await parts_store.parts_after(tx, generation, None, limit=99))


async def is_right(ledger: Corrected) -> bool:
    """Say whether days of the zone come to what their windows do."""
    async with ledger.sidecar.database.reading() as tx:
        generation = (await counted(tx)).generation
        for start, end in SPANS:
            windows = await store.read_windows(
                tx, generation, customer="acme", start=start, end=end
            )
            true = by_group(ADDING, sums_of((g, totals) for _, g, totals in windows))
            days = await store.read_spans(
                tx, generation, customer="acme", spans=[(start, end)]
            )
            rows = [(row.labels, row.totals) for row in days.rows] + [
                (days.labels[group_id], totals)
                for _, _, block in days.packs
                for group_id, totals in block.rows()
            ]
            assert by_group(ADDING, sums_of(rows)) == true
            sums = await store.read_sums_of(
                tx, generation, customers=["acme"], start=start, end=end
            )
            assert by_group(ADDING, sums["acme"]) == true
    return await ledger.sound() == []


def sums_of(rows: Iterable[tuple[str, Totals]]) -> store.Sums:
    return store.Sums([(labels, [totals]) for labels, totals in rows], NO_PACKS)


async def ship(ledger: Corrected, n_events: int, *, seed: int) -> None:
    async with Connection(ledger.sidecar.socket) as app:
        await app.hello(f"{seed:032x}")
        await app.ship(batch(*some_events(n_events, seed=seed)))
    await ledger.aggregator.run()


async def test_parts_stay_right_as_events_come_late_and_are_corrected(
    sidecar: Sidecar,
) -> None:
    ledger = await Corrected.of(sidecar, some_events(80, seed=1))

    assert await keep(ledger) == 2  # days: of each of the customer's subjects one
    assert await n_parts(ledger) == 4
    assert await is_right(ledger)

    await ship(ledger, 9, seed=2)
    assert await n_parts(ledger) < 4
    assert await is_right(ledger)
    assert await keep(ledger) > 0
    assert await n_parts(ledger) == 4
    correction = await ledger.void(*range(1, 40, 3))
    await ledger.aggregator.run()
    assert await n_parts(ledger) == 0
    assert await is_right(ledger)
    await keep(ledger)
    await ledger.revert(correction)
    await ledger.aggregator.run()
    assert await is_right(ledger)
    await keep(ledger)
    await ledger.void(*range(1, 90))
    await ledger.aggregator.run()
    assert await is_right(ledger)
    assert await n_parts(ledger) == 0


async def test_a_part_that_a_clock_kept_too_early_goes_with_the_next_event_of_its_day(
    sidecar: Sidecar,
) -> None:
    ledger = await Corrected.of(sidecar, some_events(80, seed=1))
    assert await keep(ledger) == 2  # by a clock that is two days ahead

    sidecar.clock.time_ms = NOON_MS + 1
    keeper = PartKeeper(sidecar.database, in_zone(TONGA), clock=sidecar.clock)
    assert await keeper.run() == 0
    assert await is_right(ledger)
    await ship(ledger, 80, seed=2)

    assert await n_parts(ledger) == 0
    assert await keeper.run() == 0  # the day is not over
    assert await is_right(ledger)
    assert await keep(ledger) == 2
    assert await is_right(ledger)


async def test_a_day_is_cut_an_hour_after_its_end_and_where_it_is_the_zones(
    sidecar: Sidecar,
) -> None:
    ledger = await Corrected.of(sidecar, some_events(80, seed=4))
    keeper = PartKeeper(sidecar.database, in_zone(TONGA), clock=sidecar.clock)

    sidecar.clock.time_ms = TODAY_MS + DAY_MS + AGE_MS - 1
    assert await keeper.run() == 0
    sidecar.clock.time_ms += 1
    assert await keeper.run() == 2
    assert await keep(ledger, "UTC") == 0
    assert await n_parts(ledger) == 4
    # A part is no day's any more once the zone is another: the day is cut again.
    assert await keep(ledger, "Europe/Berlin") == 2
    assert await n_parts(ledger) == 2
    assert await is_right(ledger)
    assert await keep(ledger, "Europe/Berlin") == 0


@pytest.mark.parametrize(
    ("days", "windows", "n_written"), [(9, 999, 1), (1, 999, 2), (9, 1, 2)]
)
async def test_many_days_are_kept_in_one_transaction_up_to_its_limits(
    sidecar: Sidecar,
    monkeypatch: pytest.MonkeyPatch,
    days: int,
    windows: int,
    n_written: int,
) -> None:
    ledger = await Corrected.of(sidecar, some_events(80, seed=4))
    monkeypatch.setattr(day_parts, "SUBJECTS_PER_READ", 9)
    monkeypatch.setattr(day_parts, "DAYS_PER_STEP", days)
    monkeypatch.setattr(day_parts, "WINDOWS_PER_STEP", windows)
    write, written = sidecar.database.write, list[object]()

    async def noting(work: Work[object]) -> object:
        written.append(work)
        return await write(work)

    monkeypatch.setattr(sidecar.database, "write", noting)

    assert await keep(ledger) == 2
    assert len(written) == n_written
    assert await n_parts(ledger) == 4
    assert await is_right(ledger)


@pytest.mark.parametrize("windows", [(80, 90), (1, 3)])
async def test_a_day_of_few_or_very_many_windows_stays_as_it_is(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, windows: tuple[int, int]
) -> None:
    ledger = await Corrected.of(sidecar, some_events(80, seed=4))
    monkeypatch.setattr(day_parts, "WINDOWS_MIN", windows[0])
    monkeypatch.setattr(day_parts, "WINDOWS_MAX", windows[1])

    assert await keep(ledger) == 0
    assert await n_parts(ledger) == 0


async def test_what_is_counted_while_a_day_is_added_up_is_in_no_part(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = await Corrected.of(sidecar, some_events(80, seed=4))
    write = sidecar.database.write
    came: list[int] = []

    async def write_behind_late_events(work: Work[object]) -> object:
        if not came:
            came.append(9)
            await ship(ledger, 9, seed=2)
        return await write(work)

    monkeypatch.setattr(sidecar.database, "write", write_behind_late_events)
    assert await keep(ledger) < 2
    assert came
    assert await is_right(ledger)
    assert await keep(ledger) > 0
    assert await n_parts(ledger) == 4


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE day_parts SET subject_id = subject_id + 10", "day_parts: "),
        ("UPDATE day_parts SET start_ms = start_ms + 1", "is no part of a day"),
        ("UPDATE day_parts SET start_ms = start_ms + 900000", "its windows come to"),
        ("UPDATE day_parts SET end_ms = end_ms - 900000", "its windows come to"),
        ("UPDATE day_parts SET end_ms = end_ms + 86400000", "is no part of a day"),
        ("UPDATE day_parts SET generation = 77", "day_parts holds rows"),
        ("UPDATE day_parts SET body = '[]'", "its windows come to"),
        ("UPDATE day_parts SET body = 'x'", "cannot be read: it is damaged"),
        (
            "UPDATE day_parts SET body = replace(body, '\"calls\":[', '\"calls\":[9')",
            "its windows come to",
        ),
        (
            "UPDATE day_parts SET body = replace(body, '[{', '[{\"groups\":[],"
            '"whole":{},"others":{}},{\')',
            "is not as Meterline writes it",
        ),
        (
            "INSERT INTO day_parts (generation, subject_id, start_ms, end_ms, body)"
            " SELECT generation, subject_id, start_ms + 36000000, start_ms + 36900000, '[]'"
            " FROM day_parts WHERE start_ms % 86400000 > 0 LIMIT 1",
            "is empty",
        ),
    ],
)
async def test_a_part_that_was_changed_is_found(
    sidecar: Sidecar, statement: str, finding: str
) -> None:
    ledger = await Corrected.of(sidecar, some_events(80, seed=5))
    assert await keep(ledger) == 2
    assert await ledger.sound() == []

    tamper(sidecar.database.path, statement)

    found = await ledger.sound()
    assert any(finding in one for one in found), found


async def test_windows_that_change_take_their_parts_with_them(
    sidecar: Sidecar,
) -> None:
    ledger = await Corrected.of(sidecar, some_events(80, seed=6))
    await keep(ledger)
    async with sidecar.database.transaction() as tx:
        generation = (await counted(tx)).generation
        before = await parts_store.parts_after(tx, generation, None, limit=9)
        subject_id = before[0].subject_id
        window = Key(subject_id, TODAY_MS, 1)
        totals: Totals = {"calls": 1}
        await counting.put_totals(tx, generation, [(window, totals, 99)])
        left = await parts_store.parts_after(tx, generation, None, limit=9)

    assert left == [part for part in before if part.subject_id != subject_id]
