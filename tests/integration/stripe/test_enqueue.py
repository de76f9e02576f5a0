"""Closed hours of usage become outbox rows, and only what is missing there."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace

from meterline_sidecar.clock import DAY_MS, HOUR_MS, MINUTE_MS
from meterline_sidecar.meters import Totals
from meterline_sidecar.store import outbox, outbox_hours, terms
from meterline_sidecar.store import outbox_sending as sending
from meterline_sidecar.store.edge import usage
from meterline_sidecar.store.edge.usage import Key
from meterline_sidecar.store.outbox import NewRow, OutboxRow
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.stripe.billed import BilledMeter
from meterline_sidecar.stripe.enqueue import (
    NEW_ROWS_PER_STEP,
    SETTLE_MS,
    Enqueuer,
)
from meterline_sidecar.stripe.meter_events import PARTS_MAX, VALUE_MAX
from tests.clock import FakeClock
from tests.producer import NOON_MS

CALLS = BilledMeter("calls", "count", "api_calls", "delta")
STORAGE = BilledMeter("storage", "latest", "storage", "set")
TRAFFIC = BilledMeter("traffic", "sum", "traffic", "set")


@dataclass
class Books:
    """A ledger whose usage a test writes."""

    database: SqliteDatabase
    clock: FakeClock = field(default_factory=FakeClock)
    meters: list[BilledMeter] = field(default_factory=lambda: [CALLS])
    customers: dict[str, str | None] = field(
        default_factory=lambda: {"acme": "cus_acme"}
    )
    starts_ms: dict[str, int] = field(default_factory=dict[str, int])
    events: int = 0
    generation: int = 0

    async def open(self) -> None:
        async with self.database.transaction() as tx:
            self.generation = (await usage.add_generation(tx, "{}")).id
            group = await usage.intern_groups(tx, ["{}"])
            assert group == {"{}": 1}
            for i, name in enumerate(("acme", "acme", "beta"), start=1):
                await tx.execute(
                    "INSERT INTO subjects (id, name, customer) VALUES (?, ?, ?)",
                    (i, f"s{i}", name),
                )

    async def use(
        self, totals: Totals, *, time_ms: int = NOON_MS, subject: int = 1
    ) -> None:
        """Store what a subject's window adds up to, as the aggregation does."""
        self.events += 1
        async with self.database.transaction() as tx:
            key = Key(subject, time_ms, 1)
            await usage.put_totals(tx, self.generation, [(key, totals, self.events)])
            before = self.events - 1
            await usage.advance(
                tx, self.generation, self.events, before=before, now_ms=0
            )

    async def enqueue(self) -> list[OutboxRow]:
        """Enqueue, and return every row."""
        enqueuer = Enqueuer(
            self.database,
            meters=self.meters,
            customers=self.customers,
            starts_ms=self.starts_ms,
            clock=self.clock,
        )
        await enqueuer.run()
        async with self.database.reading() as tx:
            return await outbox.page(tx)

    def close_hour(self) -> None:
        self.clock.time_ms = NOON_MS + HOUR_MS + SETTLE_MS


@pytest.fixture
async def books(tmp_path: Path) -> AsyncGenerator[Books]:
    books = Books(await SqliteDatabase.open(tmp_path / "meterline.db"))
    await books.open()
    yield books
    await books.database.close()


async def test_an_hour_is_issued_once_it_is_closed_and_settled(books: Books) -> None:
    await books.use({"calls": 5})
    await books.use({"calls": 2}, time_ms=NOON_MS + 45 * MINUTE_MS)
    await books.use({"calls": 1}, subject=2)
    books.clock.time_ms = NOON_MS + HOUR_MS + SETTLE_MS - 1
    before = await books.enqueue()
    books.close_hour()

    (row,) = await books.enqueue()

    assert before == []
    assert (row.value, row.hour_ms, row.part) == (8, NOON_MS, 0)
    assert (row.stripe_customer, row.event_name) == ("cus_acme", "api_calls")
    assert (row.state, row.mode) == ("pending", "delta")


async def test_issuing_again_adds_nothing(books: Books) -> None:
    await books.use({"calls": 5})
    books.close_hour()
    first = await books.enqueue()

    assert await books.enqueue() == first


async def test_an_hour_of_which_nothing_is_left_is_taken_back(books: Books) -> None:
    await books.use({"calls": 5})
    books.close_hour()
    await books.enqueue()

    await books.use({})  # as a correction leaves it
    first, second = await books.enqueue()

    assert (first.value, second.value, second.part) == (5, -5, 1)


async def test_amid_a_correction_every_hour_waits(books: Books) -> None:
    await books.use({"calls": 5})
    books.close_hour()
    async with books.database.transaction() as tx:
        await usage.put_totals(
            tx, books.generation, [(Key(2, NOON_MS, 1), {"calls": 1}, 2)]
        )

    assert await books.enqueue() == []
    async with books.database.transaction() as tx:
        await usage.advance(tx, books.generation, 2, before=1, now_ms=0)
    (row,) = await books.enqueue()

    assert row.value == 6


async def test_late_usage_and_corrections_are_parts_of_the_difference(
    books: Books,
) -> None:
    books.close_hour()
    for total in (5, 9, 4):
        await books.use({"calls": total})
        await books.enqueue()

    rows = await books.enqueue()

    assert [(row.part, row.value) for row in rows] == [(0, 5), (1, 4), (2, -5)]
    assert len({row.identifier for row in rows}) == 3


async def test_a_set_meter_says_the_whole_hour_again(books: Books) -> None:
    books.meters = [TRAFFIC]
    books.close_hour()
    for total in (5, 9, 4, 4):
        await books.use({"traffic": total})
        await books.enqueue()

    rows = await books.enqueue()

    assert [(row.part, row.value) for row in rows] == [(0, 5), (1, 9), (2, 4)]


async def test_the_latest_value_of_an_hour_wins_even_if_it_is_zero(
    books: Books,
) -> None:
    books.meters = [STORAGE]
    books.close_hour()
    await books.use({"storage": [70, NOON_MS, 1]})
    await books.use({"storage": [0, NOON_MS + 1, 2]}, subject=2)

    (row,) = await books.enqueue()

    assert row.value == 0


async def test_a_customer_without_stripe_id_waits_and_then_goes(books: Books) -> None:
    books.customers["beta"] = None
    await books.use({"calls": 3}, subject=3)
    books.close_hour()
    (waiting,) = await books.enqueue()
    books.customers["beta"] = "cus_beta"

    (row,) = await books.enqueue()

    assert waiting.state == "parked"
    assert "no stripe_customer" in (waiting.reason or "")
    assert (row.state, row.stripe_customer, row.value) == ("pending", "cus_beta", 3)
    assert row.identifier == waiting.identifier


async def test_a_corrected_hour_goes_to_whom_it_was_billed_first(books: Books) -> None:
    await books.use({"calls": 5})
    books.close_hour()
    await books.enqueue()
    books.customers["acme"] = "cus_other"
    await books.use({"calls": 6})
    await books.use({"calls": 2}, time_ms=NOON_MS + HOUR_MS)
    books.clock.time_ms += HOUR_MS

    rows = await books.enqueue()

    assert [(row.value, row.stripe_customer) for row in rows] == [
        (5, "cus_acme"),
        (1, "cus_acme"),
        (2, "cus_other"),
    ]


async def test_more_than_fifteen_digits_are_split_or_refused(books: Books) -> None:
    books.meters = [CALLS, TRAFFIC]
    huge = 3 * VALUE_MAX + 12
    await books.use({"calls": huge, "traffic": huge})
    books.close_hour()

    rows = await books.enqueue()

    calls = [row for row in rows if row.meter == "calls"]
    (traffic,) = [row for row in rows if row.meter == "traffic"]
    assert sum(row.value for row in calls) == huge
    assert all(row.value <= VALUE_MAX for row in calls)
    assert traffic.state == "dead"
    assert "15" in (traffic.reason or "")


@pytest.mark.parametrize("meter", [CALLS, TRAFFIC], ids=lambda meter: meter.mode)
async def test_an_hour_of_absurd_usage_is_one_row_and_is_said_once(
    books: Books, meter: BilledMeter
) -> None:
    """What one client's number says must never be how many rows are written."""
    books.meters = [meter]
    await books.use({meter.name: 1_000 * (2**63 - 1)})
    books.close_hour()

    (first,) = await books.enqueue()
    await books.use({meter.name: 1_001 * (2**63 - 1)})
    again = await books.enqueue()
    await books.use({meter.name: 700})
    *_, corrected = await books.enqueue()

    assert (first.state, first.value) == ("dead", 2**63 - 1)
    assert "9223372036854775807000 has more digits" in (first.reason or "")
    assert again == [first]
    assert (corrected.state, corrected.value) == ("pending", 700)


async def test_a_value_of_more_parts_than_an_hour_may_have_is_one_row(
    books: Books,
) -> None:
    books.meters = [CALLS]
    await books.use({"calls": PARTS_MAX * VALUE_MAX + 1})
    books.close_hour()

    (row,) = await books.enqueue()

    assert (row.state, row.value) == ("dead", PARTS_MAX * VALUE_MAX + 1)


async def test_hours_of_many_rows_are_written_in_pieces(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ingest writes to the same database, and waits for every transaction."""
    n_hours = 2 * NEW_ROWS_PER_STEP // PARTS_MAX
    for i in range(n_hours):
        at_ms = NOON_MS - i * HOUR_MS
        await books.use({"calls": PARTS_MAX * VALUE_MAX}, time_ms=at_ms)
    books.close_hour()
    added = [0]
    transaction, add = SqliteDatabase.transaction, outbox.add

    def counting(database: SqliteDatabase) -> AbstractAsyncContextManager[Tx]:
        added.append(0)
        return transaction(database)

    async def counted(tx: Tx, row: NewRow) -> int:
        added[-1] += 1
        return await add(tx, row)

    monkeypatch.setattr(SqliteDatabase, "transaction", counting)
    monkeypatch.setattr(outbox, "add", counted)
    await books.enqueue()

    assert sum(added) == n_hours * PARTS_MAX
    assert max(added) == NEW_ROWS_PER_STEP


async def test_nothing_is_issued_while_usage_is_counted_anew(books: Books) -> None:
    await books.use({"calls": 5})
    books.close_hour()
    before = await books.enqueue()
    async with books.database.transaction() as tx:
        books.generation = (await usage.add_generation(tx, "{2}")).id
    during = await books.enqueue()
    books.events = 0
    await books.use({"calls": 5})

    after = await books.enqueue()

    assert before == during == after


async def test_a_meter_that_counts_something_else_corrects_what_was_told(
    books: Books,
) -> None:
    await books.use({"calls": 5})
    await books.use({"calls": 3}, time_ms=NOON_MS - HOUR_MS)
    books.close_hour()
    await books.enqueue()
    async with books.database.transaction() as tx:
        books.generation = (await usage.add_generation(tx, "{2}")).id
    books.events = 0
    await books.use({"calls": 4})
    await books.use({"other": 1}, time_ms=NOON_MS - 2 * HOUR_MS)

    rows = await books.enqueue()
    again = await books.enqueue()

    assert [row.value for row in rows] == [3, 5, -3, -1]
    assert again == rows


async def test_a_meter_that_is_billed_from_now_on_is_told_of_what_was(
    books: Books,
) -> None:
    books.meters = []
    await books.use({"calls": 5})
    await books.use({"calls": 3}, time_ms=NOON_MS - 40 * DAY_MS)
    books.close_hour()
    before = await books.enqueue()
    books.meters = [CALLS]

    rows = await books.enqueue()

    assert before == []
    assert [row.value for row in rows] == [5], "and nothing that Stripe takes no more"


async def test_what_is_used_while_nothing_is_billed_is_told_once_it_is_again(
    books: Books,
) -> None:
    await books.use({"calls": 5})
    books.close_hour()
    await books.enqueue()
    books.meters = []
    await books.use({"calls": 3}, time_ms=NOON_MS - HOUR_MS)
    meanwhile = await books.enqueue()
    async with books.database.reading() as tx:
        noted = await outbox_hours.closed_hours(
            tx, closed_ms=books.clock.time_ms, limit=9
        )
    books.meters = [CALLS]

    rows = await books.enqueue()

    assert [row.value for row in meanwhile] == [5]
    assert noted == []
    assert sorted(row.value for row in rows) == [3, 5]


async def test_usage_before_the_day_that_a_customer_starts_is_not_told(
    books: Books,
) -> None:
    await books.use({"calls": 5})
    await books.use({"calls": 3}, time_ms=NOON_MS + 15 * MINUTE_MS)
    await books.use({"calls": 2}, time_ms=NOON_MS - HOUR_MS)
    books.close_hour()
    books.starts_ms = {"acme": NOON_MS + 15 * MINUTE_MS}
    late = await books.enqueue()
    books.starts_ms = {}

    rows = await books.enqueue()

    assert [row.value for row in late] == [3]
    assert sorted(row.value for row in rows) == [2, 3, 5]


async def test_usage_of_a_meter_that_is_not_billed_is_not_issued(books: Books) -> None:
    await books.use({"other": 5})
    books.close_hour()

    assert await books.enqueue() == []


async def correct_owner(books: Books, subject_id: int, customer: str) -> None:
    """Give all that a subject ever used to another customer, as a correction does."""
    async with books.database.transaction() as tx:
        await outbox_hours.note_subjects(tx, [subject_id], since_ms=0)
        await terms.set_owners(tx, {subject_id: [(0, customer)]})
        await outbox_hours.note_subjects(tx, [subject_id], since_ms=0)


async def test_a_subject_that_moves_takes_its_hours_along(books: Books) -> None:
    books.customers["beta"] = "cus_beta"
    await books.use({"calls": 5})
    await books.use({"calls": 2}, subject=2)
    books.close_hour()
    await books.enqueue()
    await correct_owner(books, 1, "beta")

    rows = await books.enqueue()

    assert [(row.customer, row.value) for row in rows] == [
        ("acme", 7),
        ("acme", -5),
        ("beta", 5),
    ]


async def test_usage_that_finds_its_customer_late_is_issued_then(books: Books) -> None:
    await books.use({"calls": 3}, subject=3)
    books.close_hour()
    await books.enqueue()
    await correct_owner(books, 3, "acme")

    rows = await books.enqueue()

    assert [(row.customer, row.value) for row in rows] == [("acme", 3)]


async def test_an_older_copy_holds_the_hours_it_issues_again(books: Books) -> None:
    await books.use({"calls": 5})
    await books.use({"calls": 2}, time_ms=NOON_MS + HOUR_MS)
    async with books.database.transaction() as tx:
        await outbox.start(tx, "install")
        await sending.suspect(tx, before_ms=NOON_MS + HOUR_MS, reason="a copy")
    books.clock.time_ms = NOON_MS + 2 * HOUR_MS + SETTLE_MS

    rows = await books.enqueue()

    assert [(row.value, row.state) for row in rows] == [
        (5, "unresolved"),
        (2, "pending"),
    ]


async def test_an_hour_that_nobody_was_told_follows_its_meter_into_another_mode(
    books: Books,
) -> None:
    await books.use({"calls": 5})
    books.close_hour()
    await books.enqueue()
    await books.use({"calls": 7})
    await books.enqueue()
    books.meters = [replace(CALLS, mode="set")]

    rows = await books.enqueue()

    (said,) = [row for row in rows if row.replaced_by is None]
    assert (said.mode, said.value) == ("set", 7)
    assert {row.state for row in rows if row.id != said.id} == {"dead"}


async def test_an_hour_that_was_sent_stays_in_its_mode(books: Books) -> None:
    await books.use({"calls": 5})
    books.close_hour()
    await books.enqueue()
    async with books.database.transaction() as tx:
        await tx.execute("UPDATE outbox SET attempts = 1")
    books.meters = [replace(CALLS, mode="set")]

    rows = await books.enqueue()

    assert [(row.mode, row.replaced_by) for row in rows] == [("delta", None)]
