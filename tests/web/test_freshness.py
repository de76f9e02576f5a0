"""What an answer says of how far it counts is true of what it counts."""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from meterline_pricing import Period
from meterline_sidecar.billing.documents import Issuer
from meterline_sidecar.billing.invoices import Invoices
from meterline_sidecar.billing.running_totals import Standings
from meterline_sidecar.decimals import Number
from meterline_sidecar.fleet.sources import Sources
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.store.port import Tx, Work
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.usage.counted import snapshot
from meterline_sidecar.usage.series import read_series
from meterline_sidecar.web.api.invoices import (
    FinalizeQuery,
    InvoiceQuery,
    finalize_invoice,
    get_invoice,
)
from meterline_sidecar.web.api.status import read_status
from meterline_sidecar.web.api.usage import UsageQuery, list_unassigned, list_usage
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import Span
from tests.producer import NOON_MS, Connection, batch, event
from tests.web.conftest import OpenWeb, Web

# Every event is one call of acme, so that usage is the number of the last one.
FILE = """
[[meter]]
name = "calls"
aggregation = "count"

[[customer]]
id = "acme"
subjects = ["acct_1"]
plan = "starter"
"""
PRICING = """
[[plan]]
name = "starter"
currency = "usd"

[[plan.price]]
meter = "calls"
model = "per_unit"
unit_amount = 1
"""
IN_DECEMBER_MS = NOON_MS + 30 * 86_400_000


class Moving:
    """A ledger in which an event comes and is counted around every snapshot.

    Once before each snapshot or transaction, and once after a snapshot's first read.
    """

    def __init__(self, database: SqliteDatabase, go_on: Callable[[], Any]) -> None:
        self._database = database
        self._go_on = go_on

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Tx]:
        await self._go_on()
        async with self._database.reading() as tx:
            moving: Any = MovingTx(tx, self._go_on)
            yield moving

    async def read(self, work: Work[Any]) -> Any:
        # In one call of the database's thread, in which nothing can come.
        await self._go_on()
        return await self._database.read(work)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Tx]:
        await self._go_on()
        async with self._database.transaction() as tx:
            yield tx


class MovingTx:
    def __init__(self, tx: Tx, go_on: Callable[[], Any]) -> None:
        self._tx = tx
        self._go_on = go_on
        self._is_first = True

    async def fetch_one(self, *query: Any) -> Any:
        return await self._moved(self._tx.fetch_one(*query))

    async def fetch_all(self, *query: Any) -> Any:
        return await self._moved(self._tx.fetch_all(*query))

    async def _moved(self, read: Awaitable[Any]) -> Any:
        found = await read
        if self._is_first:
            self._is_first = False
            await self._go_on()
        return found


@pytest.fixture
async def moving(open_web: OpenWeb) -> AsyncGenerator[Parts]:
    """The parts of a sidecar whose usage never stands still."""
    async with open_web(meterline=FILE, pricing=PRICING) as web:
        yield moving_parts(web)


def moving_parts(web: Web, *, time_ms: int = NOON_MS) -> Parts:
    async def go_on() -> None:
        await web.ship(event(time_ms=time_ms))

    parts = web.parts
    assert isinstance(parts.database, SqliteDatabase)
    database: Any = Moving(parts.database, go_on)
    invoices = Invoices(
        database,
        parts.billing,
        parts.aggregator,
        terms=parts.terms.terms,
        spools=Sources(parts.drain),
        journal=Journal(bytes(32)),
        issuer=Issuer(lambda: parts.config, Journal(bytes(32))),
        clock=parts.clock,
        alarm=None,
    )
    return replace(
        parts,
        database=database,
        invoices=invoices,
        standings=Standings(
            database,
            invoices,
            parts.billing,
            parts.customers,
            terms=parts.terms.terms,
            quiet=parts.terms.unchanged,
            clock=parts.clock,
        ),
    )


async def test_usage_counts_just_the_events_that_it_says(moving: Parts) -> None:
    (usage,) = (await list_usage(moving, UsageQuery())).usage

    assert usage.meters[0].quantity == usage.counted_up_to_event == 1


async def test_a_draft_counts_just_the_events_that_it_says(moving: Parts) -> None:
    draft = await get_invoice(moving, InvoiceQuery(customer="acme"))

    assert draft.invoice.total == Decimal(draft.counted_up_to_event) == 1


async def test_a_final_invoice_counts_just_the_events_that_it_says(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=FILE, pricing=PRICING) as web:
        await web.ship(event(), event())
        web.clock.time_ms = IN_DECEMBER_MS
        query = FinalizeQuery(customer="acme", period="2026-11")

        final = await finalize_invoice(moving_parts(web), query, "finance")

    assert final.status == "final"
    assert final.invoice.total == Decimal(final.counted_up_to_event) > 2


async def test_adjustments_count_just_the_events_that_the_draft_says(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=FILE, pricing=PRICING) as web:
        await web.ship(event())
        web.clock.time_ms = IN_DECEMBER_MS
        query = FinalizeQuery(customer="acme", period="2026-11")
        await finalize_invoice(web.parts, query, "finance")

        draft = await get_invoice(moving_parts(web), InvoiceQuery(customer="acme"))

    (adjustment,) = draft.adjustments
    assert adjustment.billed == adjustment.amount == Decimal(1)
    assert adjustment.now == draft.counted_up_to_event == 2


async def test_a_series_counts_just_the_events_that_its_snapshot_says(
    moving: Parts,
) -> None:
    meter = moving.config.meters[0].meter
    hour_ms = 3_600_000
    span = Period(NOON_MS, NOON_MS + hour_ms)
    async with snapshot(moving.database) as (tx, at):
        all_of_them = await read_series(tx, at, meter, span, step_ms=hour_ms)
        acmes = await read_series(tx, at, meter, span, step_ms=hour_ms, customer="acme")

    assert all_of_them.total == acmes.total == at.up_to_event == 1


async def test_the_status_is_of_one_moment(moving: Parts) -> None:
    status = await read_status(moving)

    # Whatever is stored is counted before anything else happens.
    assert (status.last_event_id, status.aggregation.behind_events) == (1, 0)


async def test_running_totals_are_made_anew_when_a_step_came_in_between(
    moving: Parts,
) -> None:
    seen: list[Number] = []
    for _ in range(3):
        await moving.standings.refresh()
        standing = moving.standings.get("acme")
        assert standing is not None
        seen.append(standing.quantities["calls"])

    # Two events a round: before what changed is asked for, and before it is drawn.
    assert seen == [2, 4, 6]


async def test_an_answer_says_when_what_it_counts_was_counted(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=FILE, pricing=PRICING) as web:

        async def later() -> None:
            web.clock.time_ms += 1_000
            await web.ship(event(subject="nobody"))

        assert isinstance(web.parts.database, SqliteDatabase)
        parts = replace(web.parts, database=Moving(web.parts.database, later))
        unassigned = await list_unassigned(parts, Span())

    (subject,) = unassigned.unassigned
    assert subject.meters[0].quantity == 1
    assert unassigned.fresh_as_of == "2026-11-06T12:00:01.000Z"


async def test_a_page_says_how_far_usage_was_counted_before_it_read(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=FILE, pricing=PRICING) as web:
        await web.ship(event())
        web.clock.time_ms += 5_000
        told = [(await web.http.get(path)).text for path in ("/", "/events")]
        lost = await web.http.get("/nowhere", headers={"Accept": "text/html"})

    assert all(re.search("Counted <time [^>]*>5 s ago</time>", text) for text in told)
    assert lost.status_code == 404
    assert "Counted" not in lost.text


async def test_fresh_as_of_is_the_time_up_to_which_all_is_counted(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=FILE, pricing=PRICING) as web:

        async def as_of_ms() -> int | None:
            async with snapshot(web.parts.database) as (_tx, at):
                return at.as_of_ms

        async with Connection(web.parts.receiver.path) as app:
            await app.hello()
            await app.ship(batch(event()))
            assert await as_of_ms() is None  # of one event, none is counted
            await web.parts.aggregator.run()
            assert await as_of_ms() == NOON_MS

            web.clock.time_ms = NOON_MS + 1_000
            await app.ship(batch(event(), first_seq=2))
            web.clock.time_ms = NOON_MS + 2_000
            await app.ship(batch(event(), first_seq=3))
            async with web.parts.database.transaction() as tx:
                # As after a step that ended before these.
                await tx.execute("UPDATE generations SET last_success_ms = ?", (2**50,))
            assert await as_of_ms() == NOON_MS + 1_000

            await web.parts.aggregator.run()
            assert await as_of_ms() == NOON_MS + 2_000
