"""A ledger reports to one account at Stripe: no key of another one tells or reads."""

import pytest

from meterline_sidecar.access.secret import Secret
from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.store import outbox
from meterline_sidecar.stripe.reconcile import Reconciler
from tests.integration.stripe.test_report_rules import go_live
from tests.outbox_rows import EARLIER_MS, KEY, Shop
from tests.stripe_server.faults import Fault

OTHER = "sk_test_of_another"
RESTRICTED = "rk_test_meterline"


def other_key(shop: Shop, name: str = OTHER, owner: str = "acct_2Other") -> None:
    """Put a key of another account of the same mode in the place of the first."""
    shop.keys.append(Secret(name))
    shop.server.keys.add(name)
    shop.server.owners[name] = owner


async def test_a_key_of_another_account_of_the_same_mode_tells_nothing(
    shop: Shop,
) -> None:
    await shop.add(7)
    await shop.report()
    other_key(shop)
    waiting = await shop.add(5, part=1)
    reporter = shop.reporter()

    for _ in range(3):
        shop.wall.time_ms += 1_000
        await reporter.run()
        reporter.hurry()

    assert shop.total() == 7
    row = await shop.row(waiting)
    assert (row.state, row.doubt_ms) == ("pending", None)
    assert reporter.problem == (
        "this ledger reports to acct_1Meterline, a sandbox, of Stripe but the key is of"
        " acct_2Other, a sandbox, of Stripe: put a key of the first in its place, or use"
        " a separate ledger for that one (sidecar.database)"
    )
    # The key's file is read again for each try: nobody has to restart anything.
    shop.keys.pop()
    await reporter.run()
    assert (await shop.row(waiting)).state == "confirmed"
    assert reporter.problem is None
    assert shop.total() == 12


async def test_a_new_key_of_the_same_account_goes_on(shop: Shop) -> None:
    await shop.add(7)
    await shop.report()
    other_key(shop, owner="acct_1Meterline")
    await shop.add(5, part=1)

    await shop.report()

    assert shop.total() == 12


async def test_a_key_that_was_swapped_after_a_refusal_is_looked_at_first(
    shop: Shop,
) -> None:
    """As when the old one was rolled: it is refused, and the file read again."""
    await shop.add(7)
    reporter = shop.reporter()
    await reporter.run()
    shop.server.keys.discard(KEY)
    other_key(shop)
    await shop.add(5, part=1)

    for _ in range(3):
        reporter.hurry()
        await reporter.run()

    assert shop.total() == 7
    assert "acct_2Other" in str(reporter.problem)


@pytest.mark.parametrize("owner", ["acct_1Meterline", "acct_2Other"])
async def test_a_restricted_key_tells_whose_it_is_by_its_refusal(
    shop: Shop, owner: str
) -> None:
    await shop.add(7)
    await shop.report()
    other_key(shop, RESTRICTED, owner)
    shop.server.restricted.add(RESTRICTED)
    await shop.add(5, part=1)

    await shop.reporter().run()

    assert shop.total() == (12 if owner == "acct_1Meterline" else 7)


async def test_a_key_that_hides_whose_it_is_goes_on_and_is_told_of(shop: Shop) -> None:
    await shop.add(7)
    await shop.report()
    other_key(shop, RESTRICTED, owner="(hidden)")
    shop.server.restricted.add(RESTRICTED)
    await shop.add(5, part=1)
    api = shop.stripe()

    await shop.reporter(api).run()

    assert (shop.total(), api.hides_owner) == (12, True)


async def test_totals_of_another_account_settle_no_doubt(shop: Shop) -> None:
    """There, nothing counts: what is in doubt would be sent again, and count twice."""
    row_id = await shop.add(7)
    shop.server.faults.queued.append(Fault.RESET_AFTER)
    await shop.reporter().run()
    shop.clock.time_ms += 25 * HOUR_MS
    await shop.reporter().run()
    assert (await shop.row(row_id)).state == "unresolved"
    other_key(shop)
    reconciler = Reconciler(shop.database, shop.stripe(), clock=shop.clock)
    span = {"start_ms": EARLIER_MS - DAY_MS, "end_ms": shop.clock.now_ms()}

    with pytest.raises(ConfigError, match="acct_2Other"):
        await reconciler.run(**span)

    assert (await shop.row(row_id)).state == "unresolved"
    shop.keys.pop()
    await reconciler.run(**span)
    assert ((await shop.row(row_id)).state, shop.total()) == ("confirmed", 7)


async def test_reading_binds_a_ledger_to_no_account(shop: Shop) -> None:
    other_key(shop)
    await shop.stripe().call("get", "/v1/billing/meters")
    shop.keys.pop()
    await shop.add(7)

    await shop.report()

    assert shop.total() == 7


async def test_a_ledger_that_told_before_is_bound_by_what_it_tells_next(
    shop: Shop,
) -> None:
    """The first start after an upgrade: its mode is known, and no account."""
    async with shop.database.transaction() as tx:
        await outbox.bind(tx, is_live=False)
    await shop.add(7)
    await shop.report()
    other_key(shop)
    await shop.add(5, part=1)

    await shop.reporter().run()

    assert shop.total() == 7


@pytest.mark.parametrize("status", [500, 503, 429, 409])
async def test_a_row_is_not_in_doubt_for_a_question_that_failed(
    shop: Shop, status: int
) -> None:
    shop.server.account_faults.append(status)
    row_id = await shop.add(7)

    await shop.reporter().run()

    row = await shop.row(row_id)
    assert (row.state, row.doubt_ms, row.key_no) == ("pending", None, 0)
    await shop.report()
    assert shop.total() == 7


async def test_many_rows_ask_once_whose_the_key_is(shop: Shop) -> None:
    for c in range(40):
        await shop.add(1, customer=f"c{c}")

    await shop.reporter().run()

    assert (await shop.counts())["confirmed"] == 40
    assert shop.server.asked_whose == 1


async def test_a_session_of_the_stream_that_cannot_be_opened_puts_no_row_in_doubt(
    shop: Shop,
) -> None:
    go_live(shop)
    for c in range(70):
        await shop.add(1, customer=f"c{c}")
    shop.server.streams.session_faults.extend([500, 503])
    reporter = shop.reporter(stream_above_per_s=1)

    await reporter.run()

    async with shop.database.reading() as tx:
        rows = await outbox.page(tx)
    assert {row.doubt_ms for row in rows if row.state == "pending"} == {None}
    assert (await shop.counts())["pending"] > 0
    for _ in range(10):
        shop.wall.time_ms += 1_000
        await reporter.run()
    assert (await shop.counts())["confirmed"] == 70
    assert shop.server.streams.requests == 1
