"""Stripe is told quantities that are not whole to the last digit, and compared so."""

from decimal import Decimal

import pytest

from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.ledger.seals import SealingDatabase, verify_seals
from meterline_sidecar.store.port import Tx
from meterline_sidecar.stripe.billed import BilledMeter
from meterline_sidecar.stripe.expected import is_equal
from meterline_sidecar.stripe.meter_events import VALUE_MAX
from meterline_sidecar.stripe.totals import Span, StripeTotals
from tests.integration.stripe.test_enqueue import Books, books
from tests.integration.stripe.test_reconcile import reconcile
from tests.integration.stripe.test_report_rules import go_live
from tests.outbox_rows import EARLIER_MS, Shop
from tests.producer import NOON_MS

GPU = BilledMeter("gpu", "sum", "gpu_seconds", "delta")
LEVEL = BilledMeter("level", "latest", "level", "set")

__all__ = ["books"]


async def told(books: Books) -> list[str]:
    """Return what the rows say, in their order."""
    return [str(row.quantity) for row in await books.enqueue()]


async def test_an_hour_is_told_with_all_its_digits(books: Books) -> None:
    books.meters = [GPU, LEVEL]
    await books.use({"gpu": Decimal("1.234"), "level": [Decimal("0.000"), NOON_MS, 1]})
    await books.use({"gpu": Decimal("5.000")}, subject=2)
    books.close_hour()

    assert await told(books) == ["6.234", "0.000"]
    assert await told(books) == ["6.234", "0.000"]


async def test_a_correction_is_the_exact_difference(books: Books) -> None:
    books.meters = [GPU]
    await books.use({"gpu": Decimal("0.3")})
    books.close_hour()
    await books.enqueue()

    await books.use({"gpu": Decimal("0.1")})
    assert await told(books) == ["0.3", "-0.2"]
    await books.use({"gpu": Decimal("1.00")}, subject=2)  # of a finer scale by now
    assert await told(books) == ["0.3", "-0.2", "1.00"]
    assert await told(books) == ["0.3", "-0.2", "1.00"]


async def test_an_hour_from_before_the_scale_is_corrected_with_digits(
    books: Books,
) -> None:
    books.meters = [GPU]
    await books.use({"gpu": 7})
    books.close_hour()
    await books.enqueue()

    await books.use({"gpu": Decimal("7.000")})
    assert await told(books) == ["7"]
    await books.use({"gpu": Decimal("7.001")})
    assert await told(books) == ["7", "0.001"]


@pytest.mark.parametrize(("parts", "n_rows"), [(1, 1), (3, 3), (21, 1)])
async def test_no_value_has_more_digits_than_stripe_takes(
    books: Books, parts: int, n_rows: int
) -> None:
    books.meters = [GPU]
    await books.use({"gpu": Decimal(VALUE_MAX * parts).scaleb(-6)})
    books.close_hour()

    rows = await books.enqueue()

    assert len(rows) == n_rows
    if parts <= 3:
        assert {str(row.quantity) for row in rows} == {"999999999.999999"}
    else:
        assert [row.state for row in rows] == ["dead"]
        assert "20999999999.999979 has more digits" in str(rows[0].reason)


async def test_stripe_counts_what_was_told_exactly(shop: Shop) -> None:
    for hour in range(30):  # whose sum as floats is not 3.3
        await shop.add(11, scale=2, hour_ms=EARLIER_MS - hour * HOUR_MS)
    await shop.report()

    (line,) = await reconcile(shop)

    account = shop.server.account
    assert account.total("api_calls", "cus_acme") == Decimal("3.30")
    assert (line.verdict, str(line.ours), line.hours) == ("equal", "3.30", ())
    totals = StripeTotals(shop.stripe())
    meter = (await totals.meters())["api_calls"]
    start_ms = EARLIER_MS - DAY_MS * 2
    span = Span("api_calls", "cus_acme", start_ms, EARLIER_MS + HOUR_MS)
    theirs = await totals.total(span, meter)
    assert theirs != line.ours
    assert is_equal(theirs, line.ours)


async def test_one_smallest_unit_that_is_missing_shows(shop: Shop) -> None:
    await shop.add(1234, scale=3)
    await shop.report()
    await shop.add(-1, scale=3, part=1)
    async with shop.database.transaction() as tx:
        await tx.execute("UPDATE outbox SET state = 'confirmed' WHERE part = 1")

    (line,) = await reconcile(shop)

    assert (line.verdict, str(line.ours)) == ("extra", "1.233")
    assert [str(hour.ours) for hour in line.hours] == ["1.233"]


def test_totals_are_equal_within_half_a_smallest_unit() -> None:
    six = Decimal("6.234")

    assert is_equal(Decimal("6.2340000000000009"), six)
    assert is_equal(Decimal("6.2344999"), six)
    assert not is_equal(Decimal("6.2345"), six)
    assert not is_equal(Decimal("6.2335"), six)
    assert not is_equal(Decimal("5.9999999"), 6)
    assert is_equal(Decimal("5.9999999"), Decimal("6.000"))
    large = Decimal(9 * 10**15 + 1).scaleb(-6)
    assert is_equal(large + Decimal("0.000001"), large)
    assert not is_equal(large + Decimal("0.00001"), large)


async def test_fractions_go_one_by_one_where_others_are_streamed(shop: Shop) -> None:
    go_live(shop)
    fraction = await shop.add(1234, scale=3)
    others = [await shop.add(5, customer=f"customer_{i}") for i in range(70)]

    await shop.reporter(stream_above_per_s=1).run()

    told = {str(event.value) for event in shop.server.account.events}
    assert told == {"1.234", "5"}
    assert (await shop.row(fraction)).batch_key is None
    assert all([(await shop.row(row_id)).batch_key for row_id in others])


async def test_seals_cover_the_point_and_hold_where_there_is_none(shop: Shop) -> None:
    await shop.add(5)
    await shop.add(1234, scale=3, part=1)
    key = b"k" * 32
    sealing = SealingDatabase(shop.database, key)
    await sealing.adopt()

    assert await findings(shop, key) == []
    async with shop.database.transaction() as tx:
        await tx.execute("UPDATE outbox SET scale = 0 WHERE part = 1")
    assert await findings(shop, key) == ["row 2 of outbox is not what was written"]
    async with shop.database.transaction() as tx:
        await tx.execute("UPDATE outbox SET scale = 3")
    assert await findings(shop, key) == ["row 1 of outbox is not what was written"]


async def findings(shop: Shop, key: bytes) -> list[str]:
    found: list[str] = []
    tx: Tx
    async with shop.database.reading() as tx:
        await verify_seals(tx, key, found.append, lambda _table, _done, _all: None)
    return found
