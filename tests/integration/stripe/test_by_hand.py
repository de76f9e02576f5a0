"""What a person may do to a row, and what is refused because it would cost."""

import pytest

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.store.outbox import State
from meterline_sidecar.stripe.by_hand import NoSuchRow, NotPossible, RowsByHand
from tests.outbox_rows import Shop
from tests.stripe_server.faults import Fault


def by_hand(shop: Shop, **customers: str) -> RowsByHand:
    return RowsByHand(shop.database, customers=customers, clock=shop.clock)


async def in_state(shop: Shop, state: State, *, is_in_doubt: bool = False) -> int:
    row_id = await shop.add(7)
    doubt_ms = shop.clock.now_ms() if is_in_doubt else None
    async with shop.database.transaction() as tx:
        await tx.execute("UPDATE outbox SET state = ?, doubt_ms = ?", (state, doubt_ms))
    return row_id


@pytest.mark.parametrize("state", ["pending", "parked", "dead", "expired"])
async def test_a_row_that_is_surely_not_counted_goes_again(
    shop: Shop, state: State
) -> None:
    row_id = await in_state(shop, state)

    row = await by_hand(shop).retry(row_id)
    await shop.report()

    assert row.id == row_id
    assert shop.total() == 7


@pytest.mark.parametrize("state", ["confirmed", "unresolved", "dead"])
async def test_a_row_that_may_be_counted_needs_certainty(
    shop: Shop, state: State
) -> None:
    row_id = await in_state(shop, state, is_in_doubt=True)

    with pytest.raises(NotPossible, match="may be counted"):
        await by_hand(shop).retry(row_id)
    row = await by_hand(shop).retry(row_id, is_certain=True)

    assert (row.state, row.part) == ("pending", 1)
    assert (await shop.row(row_id)).replaced_by == row.id


async def test_a_rejected_row_is_said_again_to_the_customer_of_now(shop: Shop) -> None:
    row_id = await in_state(shop, "rejected")

    row = await by_hand(shop, acme="cus_right").retry(row_id)
    await shop.report()

    assert row.stripe_customer == "cus_right"
    assert (await shop.row(row_id)).state == "rejected"
    assert int(shop.server.account.total("api_calls", "cus_right")) == 7
    with pytest.raises(NotPossible, match="said again"):
        await by_hand(shop).retry(row_id)


async def test_an_hour_that_was_set_again_is_not_set_back(shop: Shop) -> None:
    shop.server.account.meters.clear()
    shop.server.account.add_meter("api_calls", window="hour")
    row_id = await shop.add(7, mode="set")
    shop.server.faults.queued.append(Fault.REFUSED)
    await shop.report()
    later = await shop.add(9, mode="set", part=1)
    await shop.report()

    for is_certain in (False, True):
        with pytest.raises(NotPossible, match=f"followed by row {later}"):
            await by_hand(shop).retry(row_id, is_certain=is_certain)
    await shop.report()

    assert (await shop.row(row_id)).state == "dead"
    assert shop.total() == 9


async def test_a_row_that_is_too_old_is_not_sent_with_another_date(shop: Shop) -> None:
    row_id = await in_state(shop, "expired")
    shop.clock.time_ms += 40 * DAY_MS

    with pytest.raises(NotPossible, match="34 days"):
        await by_hand(shop).retry(row_id)


async def test_a_dropped_row_is_never_sent_and_says_why(shop: Shop) -> None:
    row_id = await in_state(shop, "pending")

    row = await by_hand(shop).drop(row_id, reason="a test account")
    await shop.report()

    assert (row.state, row.reason) == ("dead", "dropped by a person: a test account")
    assert shop.server.account.events == []


@pytest.mark.parametrize(
    ("state", "why"), [("sending", "being sent"), ("confirmed", "Stripe counts it")]
)
async def test_what_is_counted_or_on_its_way_can_not_be_dropped(
    shop: Shop, state: State, why: str
) -> None:
    row_id = await in_state(shop, state)

    with pytest.raises(NotPossible, match=why):
        await by_hand(shop).drop(row_id, reason="x")


async def test_an_unknown_row_is_named(shop: Shop) -> None:
    with pytest.raises(NoSuchRow, match="no row 99"):
        await by_hand(shop).show(99)
