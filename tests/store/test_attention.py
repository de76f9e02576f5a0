"""What nobody has billed is found by who pays, or ever paid."""

from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.store import attention, terms
from meterline_sidecar.store.port import Database
from tests.store.rows import DAY, add_day, add_subjects, add_window


async def test_a_subject_without_a_payer_is_told_if_it_used_something_lately(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        await add_subjects(
            tx,
            [(1, "theirs", "acme"), (2, "b", None), (3, "a", None), (4, "old", None)],
        )
        for subject_id in (1, 2, 3):
            await add_day(tx, subject_id, DAY, {"calls": 1})
        await add_day(tx, 4, DAY - DAY_MS, {"calls": 1})
        await add_day(tx, 4, DAY, {"calls": 1}, generation=2)

    async with database.reading() as tx:
        assert await attention.unassigned_subjects(
            tx, 1, since_day_ms=DAY, limit=9
        ) == ["b", "a"]
        assert await attention.unassigned_subjects(
            tx, 1, since_day_ms=DAY, limit=1
        ) == ["b"]


async def test_a_subject_whose_payer_left_is_told_of_what_came_later(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        await add_subjects(tx, [(1, "quiet", "acme"), (2, "goes_on", "acme")])
        for subject_id in (1, 2):
            await terms.set_owners(
                tx, {subject_id: [(0, "acme"), (DAY + HOUR_MS, None)]}
            )
            await add_day(tx, subject_id, DAY, {"calls": 1})
        await add_day(tx, 2, DAY + DAY_MS, {"calls": 1})

    async with database.reading() as tx:
        assert await attention.unassigned_subjects(
            tx, 1, since_day_ms=DAY, limit=9
        ) == ["goes_on"]


async def test_the_first_use_of_a_span_is_that_of_whoever_paid_or_pays(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        await add_subjects(tx, [(1, "stays", "acme"), (2, "left", "acme")])
        await terms.set_owners(tx, {2: [(0, "beta"), (DAY, None)]})
        await add_window(tx, 1, DAY + HOUR_MS, {"calls": 1})
        await add_window(tx, 2, DAY - HOUR_MS, {"calls": 1})

    async with database.reading() as tx:

        async def first(customer: str, start: int, end: int) -> int | None:
            return await attention.first_use_between(
                tx, 1, customer=customer, start=start, end=end
            )

        assert await first("acme", 0, DAY + DAY_MS) == DAY + HOUR_MS
        assert await first("acme", 0, DAY + HOUR_MS) is None
        assert await first("beta", 0, DAY) == DAY - HOUR_MS
        assert await first("beta", DAY - HOUR_MS, DAY) == DAY - HOUR_MS
        assert await first("beta", DAY, DAY + DAY_MS) is None
        assert await first("nobody", 0, DAY + DAY_MS) is None
