"""Keys under which changes are asked for: each is kept with its change, once."""

import pytest

from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store import once as store
from meterline_sidecar.store import payments
from meterline_sidecar.store.once import KEPT_MS, Once, Used, UsedBefore, carrying_out
from meterline_sidecar.store.port import Database, Tx
from tests.store.test_payments import a_payment

KEY, OTHER = b"k" * 16, b"o" * 16


async def paid(database: Database) -> int:
    async with database.reading() as tx:
        return len(await payments.of_invoices(tx, [1]))


async def pay(tx: Tx) -> None:
    await payments.add_payment(tx, a_payment())


async def pay_badly(tx: Tx) -> None:
    await pay(tx)
    raise MeterlineError("something was wrong with it")


async def test_a_key_is_kept_with_the_first_change_that_is_committed_for_it(
    database: Database,
) -> None:
    first, second = (Once(KEY, b"asked", now_ms=7) for _ in range(2))

    with carrying_out(first):
        with pytest.raises(MeterlineError, match="something"):
            await database.write(pay_badly)
        assert not first.is_kept
        await database.write(pay)
        assert first.is_kept
        async with database.transaction() as tx:
            await pay(tx)
    with carrying_out(second):
        with pytest.raises(UsedBefore):
            await database.write(pay)
        with pytest.raises(UsedBefore):
            async with database.transaction() as tx:
                await pay(tx)
        assert not second.is_kept

    assert await paid(database) == 2
    async with database.reading() as tx:
        assert await store.find_key(tx, KEY) == Used(b"asked", 7, None, None)
        assert await store.find_key(tx, OTHER) is None


async def test_keys_are_forgotten_with_what_was_answered_after_a_week(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        assert await store.put_key(tx, KEY, b"asked", used_ms=7)
        assert not await store.put_key(tx, KEY, b"other", used_ms=8)
        for answer in (b"first", b"second"):
            await store.put_answer(tx, KEY, status=200, answer=answer)
    async with database.transaction() as tx:
        await Once(OTHER, b"asked", now_ms=7 + KEPT_MS).keep(tx)
        assert await store.find_key(tx, KEY) == Used(b"asked", 7, 200, b"first")

    async with database.transaction() as tx:
        assert await store.has_answers(tx)
        await store.forget_answers(tx)
        assert not await store.has_answers(tx)
        assert await store.find_key(tx, KEY) == Used(b"asked", 7, None, None)
        await store.put_answer(tx, KEY, status=200, answer=b"again")
        await store.forget_keys(tx, before_ms=8)

        assert await store.find_key(tx, KEY) is None
        assert await tx.fetch_all("SELECT key FROM idempotency_answers") == []
        assert await store.find_key(tx, OTHER) is not None
