"""What Stripe gave back, and what did not get there, is kept as Stripe has it."""

from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.web.test_collected import Till, till_at
from tests.web.test_collection import left, shown, take
from tests.web.test_heard import differs, hear, paid

EVERYTHING = {"start_ms": 0, "end_ms": 2**50, "invoices_max": 9}


@pytest.fixture
async def till(tmp_path: Path) -> AsyncGenerator[Till]:
    """A sidecar whose INV-0001, of 2.03 usd, is paid at Stripe and here."""
    async with till_at(tmp_path) as till:
        await till.close()
        await till.tell()
        till.at_stripe.pay(till.only()["id"])
        await hear(till, ("invoice.paid", till.only()))
        yield till


def charge(till: Till) -> Any:
    (found,) = till.money.charges.values()
    return found


async def may_not_read(till: Till) -> list[str]:
    status = await till.desk.web.get("/status")
    return [p["text"] for p in status["problems"] if p["code"] == "stripe_may_not_read"]


@pytest.mark.parametrize("is_daily", [True, False])
async def test_a_refund_that_no_webhook_told_of_is_found_by_comparing(
    till: Till, is_daily: bool
) -> None:
    refunded = till.money.refunded(charge(till), 120)

    for _ in range(2):
        if is_daily:
            await till.parts.stripe.invoice_reconciler.watch(**EVERYTHING)
        else:
            (compared,) = (await till.reconcile())["invoices"]
            assert compared["verdict"] == "equal"

    found = await shown(till.desk)
    assert await paid(till) == ["2.03", "-1.2"]
    assert (found["state"], left(found)) == ("sent", "1.20 usd")
    await hear(till, ("charge.refunded", refunded))  # it comes after all
    assert await paid(till) == ["2.03", "-1.2"]


@pytest.mark.parametrize(
    ("status", "kept"), [("lost", ["2.03", "-2.03"]), ("under_review", ["2.03"])]
)
async def test_a_dispute_that_no_webhook_told_of_is_found_by_comparing(
    till: Till, status: str, kept: list[str]
) -> None:
    till.money.dispute(charge(till), status)

    await till.reconcile()
    (compared,) = (await till.reconcile())["invoices"]

    assert (compared["verdict"], await paid(till)) == ("equal", kept)


@pytest.mark.parametrize("takes_off", [True, False])
@pytest.mark.parametrize("kind", ["refund.failed", "charge.refund.updated"])
async def test_a_refund_that_failed_pays_the_invoice_again(
    till: Till, kind: str, takes_off: bool
) -> None:
    till.money.takes_failed_off = takes_off
    kept = till.money.refund(charge(till), 20)
    refund = till.money.refund(charge(till), 120)
    was = dict(charge(till))
    await hear(till, ("charge.refunded", was))
    assert await paid(till) == ["2.03", "-1.4"]

    failed = till.money.fail(refund)
    for _ in range(2):
        await hear(till, (kind, failed), ("charge.refunded", was))
        await hear(till, ("refund.updated", kept))

    found = await shown(till.desk)
    assert await paid(till) == ["2.03", "-1.4", "1.2"]
    assert (found["state"], left(found)) == ("sent", "0.20 usd")
    assert found["payments"][-1]["reason"].startswith("a refund of ch_")
    # What is refunded after that counts as it should.
    await hear(till, ("charge.refunded", till.money.refunded(charge(till), 5)))
    assert (await paid(till))[3:] == ["-0.05"]
    assert await differs(till) == []


async def test_a_refund_that_failed_unheard_is_found_by_comparing(till: Till) -> None:
    refund = till.money.refund(charge(till), 203)
    await till.reconcile()
    assert (await shown(till.desk))["state"] == "sent"

    till.money.fail(refund)
    await till.reconcile()
    (compared,) = (await till.reconcile())["invoices"]

    assert compared["verdict"] == "equal"
    assert await paid(till) == ["2.03", "-2.03", "2.03"]
    assert (await shown(till.desk))["state"] == "paid"


async def test_what_was_credited_for_a_refund_that_failed_is_in_their_favour(
    till: Till,
) -> None:
    refund = till.money.refund(charge(till), 120)
    await till.reconcile()
    await take(till.desk, "INV-0001", "credit", amount="1.20")

    await hear(till, ("refund.failed", till.money.fail(refund)))

    found = await shown(till.desk)
    assert (found["state"], left(found)) == ("paid", "-1.20 usd")


async def test_a_refund_that_failed_of_an_invoice_that_is_void_is_told(
    till: Till,
) -> None:
    refund = till.money.refund(charge(till), 203)
    await till.reconcile()
    await take(till.desk, "INV-0001", "void")

    await hear(till, ("refund.failed", till.money.fail(refund)))

    assert await paid(till) == ["2.03", "-2.03"]
    (text,) = await differs(till)
    assert "2.03 usd of ch_" in text
    assert "did not go back after all, and INV-0001 is void" in text


async def test_what_people_recorded_as_given_back_is_the_same_money(till: Till) -> None:
    await take(till.desk, "INV-0001", "refunds", amount="1.20")
    refunded = till.money.refunded(charge(till), 120)

    (compared,) = (await till.reconcile())["invoices"]
    await hear(till, ("charge.refunded", refunded))

    assert (compared["verdict"], await paid(till)) == ("equal", ["2.03", "-1.20"])
    till.money.refund(charge(till), 30)
    (compared,) = (await till.reconcile())["invoices"]
    assert compared["verdict"] == "different"
    (text,) = await differs(till)
    assert "of which people recorded 1.20 usd: record the rest by hand" in text
    assert "INV-0001 --refund 0.30" in text
    await take(till.desk, "INV-0001", "refunds", amount="0.30")
    (compared,) = (await till.reconcile())["invoices"]
    assert (compared["verdict"], await differs(till)) == ("equal", [])


async def test_a_key_that_may_not_read_charges_compares_all_else_and_says_so(
    till: Till,
) -> None:
    refund = till.money.refund(charge(till), 120)
    was = dict(charge(till))
    till.money.may_read_charges = False

    (compared,) = (await till.reconcile())["invoices"]

    assert (compared["verdict"], await paid(till)) == ("equal", ["2.03"])
    (text,) = await may_not_read(till)
    assert "a refund or a lost dispute whose webhook never came is not found" in text
    assert "The key may not read charges" in text
    await hear(till, ("charge.refunded", was))  # as the event has it
    assert await paid(till) == ["2.03", "-1.2"]
    with pytest.raises(Exception, match="may not read charges"):
        await hear(till, ("refund.failed", till.money.fail(refund)))
    till.money.may_read_charges = True
    await till.reconcile()
    assert await paid(till) == ["2.03", "-1.2", "1.2"]
    assert await may_not_read(till) == []


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_is_heard_and_in_whatever_order_ours_is_what_stripe_has(
    till: Till, seed: int
) -> None:
    dice = Random(seed)
    refunds: list[Any] = []
    unheard: list[tuple[str, Any]] = []
    till.money.takes_failed_off = dice.random() < 0.5
    for _ in range(12):
        alive = [one for one in refunds if one["status"] == "succeeded"]
        given = sum(one["amount"] for one in alive)
        if alive and dice.random() < 0.4:
            failed = till.money.fail(dice.choice(alive))
            unheard.append((dice.choice(["refund.failed", "refund.updated"]), failed))
        elif given < 203:
            refunds.append(
                till.money.refund(charge(till), dice.randint(1, 203 - given))
            )
            unheard.append(("charge.refunded", dict(charge(till))))
        dice.shuffle(unheard)
        some = [unheard.pop() for _ in range(dice.randint(0, len(unheard)))]
        await hear(till, *some, *some)
    await till.reconcile()

    given = sum(one["amount"] for one in refunds if one["status"] == "succeeded")
    kept = sum(map(Decimal, await paid(till)), Decimal(0))
    assert kept == Decimal(203 - given) / 100
    assert await differs(till) == []
