"""Usage of subjects that changed hands: each payer has what was used in their time."""

from collections import Counter
from collections.abc import Iterable

import pytest

from meterline_sidecar.clock import DAY_MS, HOUR_MS, MINUTE_MS
from meterline_sidecar.meters import Totals, quantity
from meterline_sidecar.store import changes, outbox_hours, owned, terms, usage
from meterline_sidecar.store.port import Database
from tests.store.rows import (
    DAY,
    add_day,
    add_generation,
    add_group,
    add_subjects,
    add_window,
)

WINDOW_MS = 15 * MINUTE_MS
CUT = DAY + 12 * HOUR_MS + 7 * MINUTE_MS + 13_250  # within a window of the second day
FIRST, BEYOND = DAY - DAY_MS, DAY + 3 * DAY_MS
MOVED, STAYED, LOST = 1, 2, 3
OWNERS: dict[int, list[tuple[int, str | None]]] = {
    MOVED: [(0, "acme"), (CUT, "beta"), (DAY + 2 * DAY_MS, "acme")],
    STAYED: [(0, "acme")],
    LOST: [(0, None), (DAY + HOUR_MS, "beta"), (DAY + DAY_MS, None)],
}


def windows() -> list[tuple[int, int]]:
    """Return (subject, window) of four days; the moved one's has one that is cut."""
    found = [
        (subject, at_ms)
        for subject in OWNERS
        for at_ms in range(FIRST, BEYOND, WINDOW_MS)
    ]
    return [*found, (MOVED, CUT)]


def owner(subject: int, at_ms: int) -> str | None:
    return next(who for since, who in reversed(OWNERS[subject]) if since <= at_ms)


def calls(subject: int, at_ms: int) -> int:
    return at_ms // WINDOW_MS % 97 + subject


async def fill(database: Database) -> None:
    async with database.transaction() as tx:
        await add_generation(tx, 1, cursor=77)
        await add_group(tx, 1, "{}")
        await add_subjects(tx, [(1, "moved", None), (2, "s", None), (3, "lost", None)])
        for subject, history in OWNERS.items():
            await terms.set_owners(tx, {subject: history})
        days: Counter[tuple[int, int]] = Counter()
        for n, (subject, at_ms) in enumerate(windows(), 1):
            n_calls = calls(subject, at_ms)
            await add_window(tx, subject, at_ms, {"calls": n_calls}, last_event_id=n)
            await tx.execute(
                "INSERT INTO unique_values VALUES (1, ?, ?, 1, 'users', ?)",
                (subject, at_ms, str(n % 50)),
            )
            days[subject, at_ms // DAY_MS * DAY_MS] += n_calls
        for (subject, day_ms), n_calls in days.items():
            await add_day(tx, subject, day_ms, {"calls": n_calls})


SPANS = [
    (FIRST, BEYOND),
    (CUT, BEYOND),
    (FIRST, CUT),
    (DAY + WINDOW_MS, DAY + 2 * DAY_MS + WINDOW_MS),
    (CUT - CUT % WINDOW_MS, CUT - CUT % WINDOW_MS + WINDOW_MS),
    (CUT, CUT + 1),
    (DAY, DAY + DAY_MS),
    (DAY + DAY_MS, DAY + DAY_MS),
]


@pytest.mark.parametrize(("start", "end"), SPANS)
async def test_each_payer_has_exactly_what_was_used_in_their_time(
    database: Database, start: int, end: int
) -> None:
    await fill(database)
    expected: Counter[str | None] = Counter()
    values: dict[str | None, set[int]] = {}
    for n, (subject, at_ms) in enumerate(windows(), 1):
        if start <= at_ms < end:
            expected[owner(subject, at_ms)] += calls(subject, at_ms)
            values.setdefault(owner(subject, at_ms), set()).add(n % 50)
    span = {"start": start, "end": end}

    async with database.reading() as tx:
        both = await usage.read_sums_of(tx, 1, customers=["acme", "beta"], **span)
        for customer in ("acme", "beta"):
            rows = await usage.read_usage(tx, 1, customer=customer, **span)
            sums = [one for _, of in both[customer].rows for one in of]
            assert added(sums) == expected[customer]
            assert len(sums) == len(rows)
            assert [r.window_ms for r in rows] == sorted(r.window_ms for r in rows)
            fine = await usage.read_windows(tx, 1, customer=customer, **span)
            unique = await usage.count_unique(tx, 1, customer=customer, **span)
            assert added(row.totals for row in rows) == expected[customer]
            assert added(totals for _, _, totals in fine) == expected[customer]
            assert unique == (
                [("users", "{}", len(values[customer]))] if customer in values else []
            )
        nobodys = await usage.read_unassigned(tx, 1, limit=10_000, **span)
        some = await usage.read_unassigned(tx, 1, limit=2, **span)

    assert added(row.totals for _, row in nobodys) == expected[None]
    assert {name for name, _ in nobodys} <= {"lost"}
    assert some == nobodys[:2]


def added(totals: Iterable[Totals]) -> int:
    return sum(int(quantity(row["calls"])) for row in totals)


async def test_changes_are_told_of_whoever_paid_then(database: Database) -> None:
    await fill(database)
    changed = {
        (owner(subject, at_ms), at_ms // HOUR_MS * HOUR_MS)
        for subject, at_ms in windows()
    }
    paid = {(who, hour) for who, hour in changed if who is not None}
    numbers = [n for n, where in enumerate(windows(), 1) if where == (MOVED, CUT)]

    async with database.transaction() as tx:
        hours = await changes.changed_hours(
            tx, 1, after_event_id=0, up_to_event_id=numbers[0]
        )
        only = await changes.changed_customers(
            tx, 1, after_event_id=numbers[0] - 1, up_to_event_id=numbers[0]
        )
        await outbox_hours.note_subjects(tx, list(OWNERS), since_ms=DAY)
        noted = await outbox_hours.closed_hours(tx, closed_ms=BEYOND, limit=10_000)

    assert set(hours) == paid
    assert only == ["beta"]
    assert set(noted) == {(who, hour) for who, hour in paid if hour >= DAY}


async def test_a_cut_within_a_window_holds_for_what_is_counted_from_then_on(
    database: Database,
) -> None:
    await fill(database)

    async with database.transaction() as tx:
        await terms.set_owners(tx, {MOVED: [(0, "acme"), (CUT + 1, "beta")]})
        await tx.execute("UPDATE generations SET cursor = 99")
        await terms.set_owners(tx, {MOVED: OWNERS[MOVED]})
        cuts = await tx.fetch_all("SELECT * FROM window_cuts ORDER BY cut_ms")

    assert cuts == [(CUT, MOVED, 77), (CUT + 1, MOVED, 77)]


async def test_the_first_use_of_a_payer_is_in_their_own_time(
    database: Database,
) -> None:
    await fill(database)

    async with database.reading() as tx:
        first = {
            who: await changes.first_use(tx, 1, customer=who)
            for who in ("acme", "beta", "nobody")
        }

    # Not the day: in another calendar that may begin in the month before.
    assert first == {"acme": FIRST, "beta": DAY + HOUR_MS, "nobody": None}


async def test_who_pays_is_known_for_every_subject_and_time(
    database: Database,
) -> None:
    await fill(database)

    async with database.reading() as tx:
        payers = await owned.read_payers(tx)

    assert all(payers.at(s, at_ms) == owner(s, at_ms) for s, at_ms in windows())
    assert payers.at(0, DAY) is None


async def test_payers_can_be_asked_what_it_would_be_if_subjects_moved(
    database: Database,
) -> None:
    await fill(database)
    async with database.reading() as tx:
        payers = await owned.read_payers(tx)

    would = payers.followed_by({STAYED: [(0, "acme"), (CUT, "gamma")]})

    assert [would.at(STAYED, at_ms) for at_ms in (CUT - 1, CUT)] == ["acme", "gamma"]
    assert would.at(MOVED, CUT) == "beta"
    assert payers.at(STAYED, CUT) == "acme"
    assert payers.subjects_of({"acme"}) == {MOVED, STAYED}
    assert would.subjects_of({"gamma"}) == {STAYED}
    assert payers.subjects_of({"gamma"}) == set()
