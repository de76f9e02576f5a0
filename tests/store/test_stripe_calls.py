"""Calls by which Stripe is told of final invoices: in order, and each known for ever."""

import pytest

from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store import documents, invoice_states, invoices
from meterline_sidecar.store import stripe_calls as store
from meterline_sidecar.store.documents import NewDocument
from meterline_sidecar.store.invoice_states import NewState
from meterline_sidecar.store.invoices import NewFinal
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.stripe_calls import CallRow, NewCall

DRAFT = NewCall(1, "invoice", "", "cus_1", '{"a":1}', 5)
CALLS = [
    DRAFT,
    DRAFT._replace(step="item", ref="line-1"),
    DRAFT._replace(step="finalize"),
    DRAFT._replace(invoice_id=2),
]


async def add(tx: Tx) -> list[CallRow]:
    await store.add_calls(tx, CALLS)
    return await store.calls_of(tx, [1, 2])


def steps(rows: list[CallRow]) -> list[tuple[int, str]]:
    return [(row.invoice_id, row.step) for row in rows]


async def test_of_each_invoice_the_first_call_that_is_not_done_is_due(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        first, item, *_ = await add(tx)
        assert (first.state, first.key_no, first.params) == ("pending", 0, '{"a":1}')
        both = [(1, "invoice"), (2, "invoice")]
        assert steps(await store.due(tx, wall_ms=0, limit=9)) == both
        await store.finish_call(tx, first.id, object_id="in_1")
        assert (await store.call_of_object(tx, "in_1")) is not None
        assert (await store.call_of_object(tx, "in_2")) is None
        await store.hold_call(tx, item.id, reason="odd")
        assert steps(await store.due(tx, wall_ms=0, limit=9)) == [(2, "invoice")]


async def test_a_call_is_made_once_at_a_time_and_put_off_under_its_key(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        first, *_ = await add(tx)
        assert await store.mark_calling(tx, first, now_ms=7)
        assert not await store.mark_calling(tx, first, now_ms=8)
        assert await store.recover_calls(tx) == 1
        assert await store.mark_calling(tx, first, now_ms=9)
        await store.put_off(tx, first.id, reason="slow", next_ms=50)

        (row, *_) = await store.calls_of(tx, [1])
        assert (row.state, row.attempts, row.doubt_ms, row.key_no) == (
            "pending",
            2,
            7,
            0,
        )
        assert steps(await store.due(tx, wall_ms=49, limit=9)) == [(2, "invoice")]
        await store.put_off(tx, first.id, reason="500", next_ms=0, doubt_ms=0)
        assert (await store.calls_of(tx, [1]))[0].doubt_ms == 0
        await store.renew_key(tx, first.id, now_ms=60)
        (row, *_) = await store.calls_of(tx, [1])
        assert (row.key_no, row.doubt_ms, row.created_ms) == (1, None, 60)


async def test_what_is_held_goes_again_from_the_start_until_it_is_final(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        first, item, final, _ = await add(tx)
        await documents.add(
            tx,
            NewDocument("INV-", "invoice", 1, "acme", "2026-10", "usd", "5", 1, "{}"),
        )
        for row in (first, item):
            await store.finish_call(tx, row.id, object_id="x")
        await store.hold_call(tx, final.id, reason="edited")
        ((number, held),) = await store.held_calls(tx, limit=9)
        assert (number, held.reason) == ("INV-0001", "edited")

        await store.release_calls(tx, 1)

        assert {row.state for row in await store.calls_of(tx, [1])} == {"pending"}
        for row in (first, item, final):
            await store.finish_call(tx, row.id, object_id="x")
        await store.release_calls(tx, 1)
        assert {row.state for row in await store.calls_of(tx, [1])} == {"done"}


async def test_calls_that_fail_often_or_have_failed_for_long_are_named(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        first, item, *_ = await add(tx)
        for row, reason, n_attempts in ((first, "500", 3), (item, "503", 1)):
            for _ in range(n_attempts):
                (row,) = [r for r in await store.calls_of(tx, [1]) if r.id == row.id]
                assert await store.mark_calling(tx, row, now_ms=7)
                await store.put_off(tx, row.id, reason=reason, next_ms=9)

        async def failing(attempts_min: int, before_ms: int) -> list[str | None]:
            found = await store.failing_calls(
                tx, attempts_min=attempts_min, before_ms=before_ms, limit=9
            )
            assert {number for number, _ in found} <= {"INV-0001"}
            return [row.reason for _, row in found]

        await documents.add(
            tx,
            NewDocument("INV-", "invoice", 1, "acme", "2026-10", "usd", "5", 1, "{}"),
        )
        assert await failing(3, 0) == ["500"]
        assert await failing(4, 0) == []
        assert await failing(4, first.created_ms + 1) == ["500", "503"]


async def test_calls_are_taken_back_or_forgotten(database: Database) -> None:
    async with database.transaction() as tx:
        first, item, *_ = await add(tx)
        await store.finish_call(tx, first.id, object_id="in_1")
        await store.hold_call(tx, item.id, reason="odd")
        await store.drop_calls(tx, 1, reason="void")
        dropped = [row.state for row in await store.calls_of(tx, [1])]
        assert dropped == ["done", "dropped", "dropped"]
        await store.forget_calls(tx, 1)
        assert await store.calls_of(tx, [1]) == []
        assert len(await store.calls_of(tx, [2])) == 1


async def test_one_call_stands_for_one_thing(database: Database) -> None:
    async def twice() -> None:
        async with database.transaction() as tx:
            await store.add_calls(tx, [DRAFT, DRAFT])

    with pytest.raises(MeterlineError):
        await twice()


async def test_what_is_to_be_told_is_found_behind_what_was_looked_at(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        assert await store.newest_rows(tx) == (0, 0, 0)
        for i in (1, 2, 3):
            final = NewFinal(f"c{i}", 5, 10 + i, 9, "{}", "2026-10")
            await invoices.add_final(tx, final)
        assert await store.untold_invoices(tx, after_id=1, limit=9) == [2, 3]
        await store.add_calls(tx, [DRAFT, DRAFT._replace(invoice_id=2)])
        assert await store.untold_invoices(tx, after_id=0, limit=9) == [3]
        assert await store.told_invoices(tx, start_ms=11, end_ms=12) == [(2, "2026-10")]
        await invoice_states.add_state(tx, NewState(1, "void", 5, "me", ""))
        await invoice_states.add_state(tx, NewState(3, "void", 5, "me", ""))
        note = NewDocument("CN-", "credit_note", 2, "b", "2026-10", "usd", "5", 1, "{}")
        await documents.add(tx, note)
        assert await store.newest_rows(tx) == (3, 2, 1)
        for state, document, found in ((0, 0, [1, 2]), (1, 0, [2]), (2, 1, [])):
            assert found == await store.changed_invoices(
                tx, after_state=state, after_document=document
            )
