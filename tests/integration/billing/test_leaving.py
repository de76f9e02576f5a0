"""Which events may leave for the archive, as far as money goes."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from meterline_sidecar.billing.leaving import Judge, Leaving
from meterline_sidecar.clock import HOUR_MS, parse_time_ms
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.store import invoices, outbox, outbox_hours
from meterline_sidecar.store.invoices import NewFinal
from meterline_sidecar.store.open import open_ledger
from meterline_sidecar.store.port import Ledger
from meterline_sidecar.terms.diff import Wanted
from meterline_sidecar.terms.keeper import TermsKeeper
from tests.clock import FakeClock
from tests.unit.terms.agreements import customer, plan

NOVEMBER = parse_time_ms("2026-11-01T00:00:00Z")
DECEMBER = parse_time_ms("2026-12-01T00:00:00Z")
JANUARY = parse_time_ms("2027-01-01T00:00:00Z")


@dataclass
class Books:
    """What was agreed, and how judges see it."""

    ledger: Ledger
    keeper: TermsKeeper
    clock: FakeClock
    stripe_bills: bool = False

    async def judge(self) -> Judge:
        leaving = Leaving(
            self.keeper.terms,
            clock=self.clock,
            is_reported=lambda who: (
                self.stripe_bills and who.stripe_customer is not None
            ),
        )
        async with self.ledger.reading() as tx:
            return await leaving.judging(tx)

    async def finalize(self, name: str, start: int, end: int, period: str) -> None:
        async with self.ledger.transaction() as tx:
            await invoices.add_final(tx, NewFinal(name, start, end, end, "{}", period))


@pytest.fixture
async def books(tmp_path: Path) -> AsyncGenerator[Books]:
    ledger = await open_ledger(tmp_path / "meterline.db")
    clock = FakeClock()
    keeper = TermsKeeper(ledger, Journal(b"key"), clock=clock)
    await keeper.start()
    await keeper.load(
        Wanted(
            customers=[
                customer("acme", subjects=("acme_*",), plan="basic"),
                customer("free", subjects=("free_*",)),
                customer("cus", subjects=("cus_*",), plan="basic", stripe_customer="c"),
                customer(
                    "new",
                    subjects=("new_*",),
                    plan="basic",
                    starts=date(2026, 12, 1),
                ),
            ],
            plans=[plan("basic")],
        ),
        author="files",
    )
    clock.time_ms = JANUARY + 1
    yield Books(ledger, keeper, clock)
    await ledger.close()


async def test_what_a_period_that_is_not_final_holds_stays(books: Books) -> None:
    open_one = (await books.judge())("acme_1", DECEMBER - 1)
    await books.finalize("acme", NOVEMBER, DECEMBER, "2026-11")
    judge = await books.judge()

    assert open_one == (
        "period 2026-11 of customer acme is not final: `meterline invoice acme"
        " --period 2026-11 --finalize`"
    )
    assert judge("acme_1", NOVEMBER) is None
    assert judge("acme_1", DECEMBER - 1) is None
    assert judge("acme_1", DECEMBER) is not None
    assert judge("acme_1", NOVEMBER - 1) is not None


@pytest.mark.parametrize("subject", [None, "stranger", "free_1"])
async def test_what_nobody_is_invoiced_for_may_leave(
    books: Books, subject: str | None
) -> None:
    assert (await books.judge())(subject, DECEMBER - 1) is None


async def test_what_happened_before_a_customer_began_is_of_no_period(
    books: Books,
) -> None:
    judge = await books.judge()

    assert judge("new_1", DECEMBER - 1) is None
    assert judge("new_1", DECEMBER) is not None


async def test_a_period_that_is_not_over_holds_its_events(books: Books) -> None:
    books.clock.time_ms = DECEMBER - 1

    assert (await books.judge())("acme_1", NOVEMBER) == (
        "period 2026-11 of customer acme is not over"
    )


async def test_where_stripe_bills_what_it_was_told_of_may_leave(books: Books) -> None:
    unless_it_bills = (await books.judge())("cus_1", DECEMBER - 1)
    books.stripe_bills = True
    told = (await books.judge())("cus_1", DECEMBER - 1)
    async with books.ledger.transaction() as tx:
        await outbox.start(tx, "install")
        hour = [("cus", DECEMBER - HOUR_MS)]
        await outbox_hours.note_hours(tx, hour, up_to_event_id=1)
    judge = await books.judge()

    assert unless_it_bills is not None
    assert "is not final" in unless_it_bills
    assert told is None
    assert judge("cus_1", DECEMBER - 1) == (
        "Stripe is not told yet of all that cus used in 2026-11"
    )
    assert judge("cus_1", NOVEMBER) is None
    assert judge("acme_1", NOVEMBER) is not None


async def test_who_paid_at_the_time_decides(books: Books) -> None:
    books.clock.time_ms = DECEMBER
    await books.keeper.load(
        Wanted(
            customers=[
                customer("acme", subjects=("acme_*",), plan="basic"),
                customer("free", subjects=("free_*", "acme_1")),
            ],
            plans=[plan("basic")],
        ),
        author="files",
    )
    books.clock.time_ms = JANUARY + 1
    judge = await books.judge()

    assert judge("acme_1", DECEMBER - 1) is not None
    assert judge("acme_1", DECEMBER) is None
    assert judge("acme_2", DECEMBER) is not None
