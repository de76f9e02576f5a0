"""Who leads: the lease and the fence of a ledger on a server."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

import pytest

from meterline_sidecar.errors import LeaseLost
from meterline_sidecar.store import facts
from meterline_sidecar.store.fence import fenced
from meterline_sidecar.store.open import open_ledger
from meterline_sidecar.store.port import Candidate, Lease, Ledger, Turn
from tests.postgres_server import shared_database

ONE: Final = Candidate("1" * 32, "one (process 1)", "{}")
TWO: Final = Candidate("2" * 32, "two (process 2)", "{}")
LONG_S: Final = 3_600.0


@pytest.fixture
async def ledgers() -> AsyncGenerator[tuple[Ledger, Ledger]]:
    """Open one ledger twice, as two processes do."""
    url = shared_database()
    one, two = await open_ledger(url), await open_ledger(url)
    try:
        yield one, two
    finally:
        await one.close()
        await two.close()


def lease_of(ledger: Ledger) -> Lease:
    assert ledger.lease is not None
    return ledger.lease


async def age(ledger: Ledger) -> None:
    """Let the lease run out, by the database's clock."""
    async with ledger.transaction() as tx:
        await tx.execute("UPDATE lease SET until = clock_timestamp() WHERE id = 1")


async def fact(ledger: Ledger) -> str | None:
    async with ledger.reading() as tx:
        return await facts.get_fact(tx, "told")


async def test_the_first_that_asks_leads_and_another_one_is_told_so(
    ledgers: tuple[Ledger, Ledger],
) -> None:
    one, two = map(lease_of, ledgers)

    first = await one.turn(ONE, lease_s=LONG_S)
    second = await two.turn(TWO, lease_s=LONG_S)

    assert (first.fence, first.life, first.name) == (1, ONE.life, ONE.name)
    assert second._replace(left_ms=0) == first._replace(left_ms=0)
    assert LONG_S * 900 < second.left_ms <= LONG_S * 1_000


async def test_who_keeps_the_lease_leads_on_under_the_same_number(
    ledgers: tuple[Ledger, Ledger],
) -> None:
    one = lease_of(ledgers[0])
    first = await one.turn(ONE, lease_s=1)

    kept = await one.turn(ONE._replace(files="other"), lease_s=LONG_S)

    assert (kept.fence, kept.since_ms, kept.files) == (1, first.since_ms, "other")
    assert kept.left_ms > first.left_ms


@pytest.mark.parametrize("how", ["given up", "run out"])
async def test_a_lease_that_is_over_is_the_next_ones(
    ledgers: tuple[Ledger, Ledger], how: str
) -> None:
    one, two = map(lease_of, ledgers)
    await one.turn(ONE, lease_s=LONG_S)

    if how == "given up":
        await one.give_up(ONE)
    else:
        await age(ledgers[0])
    turn = await two.turn(TWO, lease_s=LONG_S)

    assert (turn.fence, turn.life) == (2, TWO.life)
    assert (await one.turn(ONE, lease_s=LONG_S)).life == TWO.life


async def test_who_had_the_seat_of_one_that_was_killed_need_not_wait_for_its_lease(
    ledgers: tuple[Ledger, Ledger],
) -> None:
    one, two = map(lease_of, ledgers)
    killed = ONE._replace(life="here-1", seat="here-")
    await one.turn(killed, lease_s=LONG_S)

    for other in (TWO, TWO._replace(life="there-1", seat="there-")):
        await two.give_up(other)
        assert (await two.turn(other, lease_s=LONG_S)).life == killed.life
    again = killed._replace(life="here-2")
    await two.give_up(again)
    turn = await two.turn(again, lease_s=LONG_S)

    assert (turn.fence, turn.life) == (2, again.life)
    with fenced(1), pytest.raises(LeaseLost, match="election 1 is over"):
        async with ledgers[0].transaction() as tx:
            await facts.put_fact(tx, "told", "by one")


async def test_of_many_that_want_it_at_once_one_gets_it(
    ledgers: tuple[Ledger, Ledger],
) -> None:
    turns: list[Turn] = await asyncio.gather(
        *(
            lease_of(ledger).turn(me, lease_s=LONG_S)
            for ledger, me in zip(ledgers, (ONE, TWO), strict=True)
        )
    )

    again = [await lease_of(ledger).turn(TWO, lease_s=LONG_S) for ledger in ledgers]

    assert {turn.fence for turn in again} == {1}
    assert turns[0].life == turns[1].life == again[0].life


async def test_a_transaction_under_an_old_number_changes_nothing(
    ledgers: tuple[Ledger, Ledger],
) -> None:
    one, two = ledgers
    await lease_of(one).turn(ONE, lease_s=LONG_S)
    await age(one)
    await lease_of(two).turn(TWO, lease_s=LONG_S)

    with fenced(1), pytest.raises(LeaseLost, match="election 1 is over"):
        async with one.transaction() as tx:
            await facts.put_fact(tx, "told", "by one")
    with fenced(2):
        async with two.transaction() as tx:
            await facts.put_fact(tx, "told", "by two")

    assert await fact(one) == "by two"


async def test_a_transaction_that_waits_while_another_is_elected_changes_nothing(
    ledgers: tuple[Ledger, Ledger],
) -> None:
    one, two = ledgers
    await lease_of(one).turn(ONE, lease_s=LONG_S)

    async def late() -> None:
        with fenced(1):
            async with one.transaction() as tx:
                await facts.put_fact(tx, "told", "by one")

    async with two.transaction() as tx:
        waiting = asyncio.create_task(late())
        await asyncio.sleep(0)
        await tx.execute("UPDATE lease SET fence = fence + 1 WHERE id = 1")
    with pytest.raises(LeaseLost):
        await waiting

    assert await fact(two) is None


async def test_a_leader_keeps_the_lease_while_its_own_transaction_goes_on(
    ledgers: tuple[Ledger, Ledger],
) -> None:
    one = ledgers[0]
    await lease_of(one).turn(ONE, lease_s=1)

    with fenced(1):
        async with one.transaction() as tx:
            await facts.put_fact(tx, "told", "by one")
            kept = await lease_of(one).turn(ONE, lease_s=LONG_S)

    assert kept.left_ms > 1_000


async def test_nobody_is_elected_before_a_transaction_of_the_last_one_has_ended(
    ledgers: tuple[Ledger, Ledger],
) -> None:
    one, two = ledgers
    await lease_of(one).turn(ONE, lease_s=0)

    with fenced(1):
        async with one.transaction() as tx:
            waiting = asyncio.create_task(lease_of(two).turn(TWO, lease_s=LONG_S))
            await facts.put_fact(tx, "told", "by one")
            assert not waiting.done()
    turn = await waiting

    assert (turn.fence, await fact(two)) == (2, "by one")


async def test_who_works_under_no_number_writes_whoever_leads(
    ledgers: tuple[Ledger, Ledger],
) -> None:
    one, two = ledgers
    await lease_of(one).turn(ONE, lease_s=LONG_S)

    async with two.transaction() as tx:
        await facts.put_fact(tx, "told", "by two")

    assert await fact(one) == "by two"
    assert one.others_write
