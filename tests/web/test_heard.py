"""What Stripe says of final invoices is kept once, in any order; what is not is told."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from meterline_sidecar.access.secret import Secret
from meterline_sidecar.errors import RetryLater, StripeRefused
from meterline_sidecar.stripe.api import StripeApi
from meterline_sidecar.stripe.invoice_check import InvoiceReconciler
from meterline_sidecar.stripe.pacing import Backoff
from tests.stripe_server.v2 import sign
from tests.web.test_collected import COLLECT, DIFFERS, SECRET, Till, till_at
from tests.web.test_collection import left, shown, states, take


@pytest.fixture
async def till(tmp_path: Path) -> AsyncGenerator[Till]:
    """A sidecar whose INV-0001, of 2.03 usd, is open at Stripe."""
    async with till_at(tmp_path) as till:
        await till.close()
        await till.tell()
        yield till


async def post(till: Till, body: bytes, secret: str = SECRET) -> int:
    header = sign(body, secret, at_s=till.parts.clock.now_ms() // 1000)
    answer = await till.desk.web.http.post(
        "/stripe/webhook", content=body, headers={"Stripe-Signature": header}
    )
    return answer.status_code


async def hear(till: Till, *told: tuple[str, Mapping[str, Any]], **more: Any) -> None:
    """Let several webhooks come before any is acted on."""
    for kind, about in told:
        assert await post(till, till.at_stripe.event(kind, dict(about), **more)) == 200
    await till.parts.stripe.webhooks.process()


async def paid(till: Till) -> list[str]:
    return [one["amount"] for one in (await shown(till.desk))["payments"]]


async def differs(till: Till) -> list[str]:
    status = await till.desk.web.get("/status")
    return [p["text"] for p in status["problems"] if p["code"] == DIFFERS]


async def test_a_refund_that_comes_before_its_payment_is_kept(till: Till) -> None:
    charge = till.at_stripe.pay(till.only()["id"])
    refund = ("charge.refunded", till.money.refunded(charge, 120))

    await hear(till, refund, ("invoice.paid", till.only()))
    assert await paid(till) == ["2.03", "-1.2"]
    await hear(till, ("invoice.paid", till.only()), refund)  # other events of the same

    found = await shown(till.desk)
    assert await paid(till) == ["2.03", "-1.2"]
    assert (found["state"], left(found)) == ("sent", "1.20 usd")
    assert await differs(till) == []
    (compared,) = (await till.reconcile())["invoices"]
    assert compared["verdict"] == "equal"


async def test_no_more_is_given_back_than_was_paid_here(till: Till) -> None:
    """Taxes that Stripe added were paid and refunded there alone."""
    charge = till.at_stripe.pay(till.only()["id"])
    till.money.charges[charge["id"]]["amount"] = 242
    await hear(till, ("invoice.paid", till.only()))

    await hear(till, ("charge.refunded", till.money.refunded(charge, 242)))

    assert await paid(till) == ["2.03", "-2.03"]
    await till.reconcile()  # it finds the rest, which is on no invoice here
    assert await paid(till) == ["2.03", "-2.03"]
    assert await differs(till) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"currency": None}, "unknown shape"),
        ({"amount_refunded": "1"}, "unknown shape"),
        ({"currency": "eur"}, "in eur, and the invoice in usd"),
        ({"currency": "of nobody"}, "in of nobody, and the invoice in usd"),
        ({"amount": 100}, "paid 1 usd, a part of it"),
    ],
)
async def test_what_cannot_be_taken_over_is_told_and_holds_up_nothing(
    till: Till, change: dict[str, Any], why: str
) -> None:
    charge = till.at_stripe.pay(till.only()["id"])
    till.money.may_read_charges = False

    await hear(
        till,
        ("charge.refunded", charge | {"amount_refunded": 100} | change),
        ("invoice.paid", till.only()),
    )

    assert await paid(till) == ["2.03"]
    (text,) = await differs(till)
    assert text.startswith("INV-0001: not taken over: Stripe said charge.refunded")
    assert why in text
    # The daily comparison cannot see it, and leaves it to whoever asks for one.
    everything = {"start_ms": 0, "end_ms": 2**50}
    await till.parts.stripe.invoice_reconciler.watch(**everything, invoices_max=9)
    assert await differs(till) == [text]
    await till.reconcile()
    assert await differs(till) == []


@pytest.mark.parametrize(
    "about", [{}, {"id": 7}, {"id": "in_of_somebody_else", "amount": "?"}]
)
async def test_what_is_about_nothing_of_ours_holds_up_nothing(
    till: Till, about: dict[str, Any]
) -> None:
    till.at_stripe.pay(till.only()["id"])
    kinds = ("charge.refunded", "invoice.voided", "charge.dispute.closed")

    await hear(till, *((k, about) for k in kinds), ("invoice.paid", till.only()))

    assert await paid(till) == ["2.03"]
    assert await differs(till) == []


async def test_what_stripe_does_not_know_any_more_is_asked_for_once(till: Till) -> None:
    """A thin event that is gone, and one that a key may not read."""
    gone = json.dumps({"id": "evt_gone", "type": "invoice.paid"}).encode()
    assert await post(till, gone) == 200
    before = till.server.reads
    for _ in range(5):
        await till.parts.stripe.webhooks.process()

    assert till.server.reads == before + 1


async def test_what_a_key_may_not_read_is_asked_for_ever_more_seldom(
    till: Till,
) -> None:
    charge = till.at_stripe.pay(till.only()["id"]) | {"amount_refunded": 50}
    till.money.may_read_payments = False
    for kind, about in (("charge.refunded", charge), ("invoice.paid", till.only())):
        assert await post(till, till.at_stripe.event(kind, dict(about))) == 200
    before = till.server.reads
    for _ in range(5):
        with pytest.raises(Exception, match="may not read invoice payments"):
            await till.parts.stripe.webhooks.process()

    assert till.server.reads == before + 1
    assert await paid(till) == ["2.03"]


async def test_an_event_of_a_connected_account_is_left_alone(till: Till) -> None:
    charge = till.at_stripe.pay(till.only()["id"]) | {"amount_refunded": 50}
    before = till.server.reads

    await hear(till, ("charge.refunded", charge), account="acct_other")
    await hear(till, ("invoice.voided", till.only()), account="acct_other")

    assert till.server.reads == before
    assert states(await shown(till.desk)) == ["final", "sent"]


@pytest.mark.parametrize(
    ("status", "kept"), [("lost", ["2.03", "-2.03"]), ("won", ["2.03"])]
)
async def test_a_dispute_that_is_lost_takes_the_payment_back(
    till: Till, status: str, kept: list[str]
) -> None:
    charge = till.at_stripe.pay(till.only()["id"])
    dispute = {
        "id": "dp_1",
        "object": "dispute",
        "charge": charge["id"],
        "payment_intent": charge["payment_intent"],
        "amount": 203,
        "currency": "usd",
        "status": status,
    }
    await hear(till, ("invoice.paid", till.only()))

    for _ in range(2):
        await hear(till, ("charge.dispute.closed", dispute))

    assert await paid(till) == kept
    assert (await shown(till.desk))["state"] == ("sent" if len(kept) > 1 else "paid")


async def test_what_only_stripe_credited_is_not_kept_as_paid(till: Till) -> None:
    name = till.only()["id"]
    note = till.at_stripe.credit(name, 50)
    till.at_stripe.pay(name)

    await hear(till, ("invoice.paid", till.only()))

    assert await paid(till) == ["1.53"]
    assert left(await shown(till.desk)) == "0.50 usd"
    (compared,) = (await till.reconcile())["invoices"]
    assert compared["verdict"] == "different"
    (text,) = await differs(till)
    assert "credit notes there come to 50, and to 0 here: take over those" in text
    till.at_stripe.take_back(note)
    await take(till.desk, "INV-0001", "credit", amount="0.50")
    await till.tell()
    (compared,) = (await till.reconcile())["invoices"]
    assert (compared["verdict"], await differs(till)) == ("equal", [])


async def test_each_destination_has_a_secret_of_its_own(
    till: Till, tmp_path: Path
) -> None:
    """Thin events and others come from two, and a secret may be on its way out."""
    (tmp_path / "hook").write_text(f"whsec_thin\n{SECRET}\n")
    body = till.at_stripe.event("invoice.paid", till.only())

    answers = [await post(till, body, s) for s in ("whsec_thin", SECRET, "whsec_old")]

    assert answers == [200, 200, 400]


async def test_a_payment_that_no_webhook_told_of_is_found_by_comparing(
    till: Till,
) -> None:
    till.at_stripe.pay(till.only()["id"])

    (compared,) = (await till.reconcile())["invoices"]
    await till.reconcile()

    assert compared["verdict"] == "equal"
    assert await paid(till) == ["2.03"]
    await hear(till, ("invoice.paid", till.only()))  # it comes after all
    assert await paid(till) == ["2.03"]


async def test_an_invoice_that_was_given_up_there_is_found_by_comparing(
    till: Till,
) -> None:
    till.only()["status"] = "uncollectible"
    (compared,) = (await till.reconcile())["invoices"]
    assert compared["verdict"] == "equal"
    assert (await shown(till.desk))["state"] == "uncollectible"

    till.at_stripe.pay(till.only()["id"])
    await till.reconcile()

    assert (await shown(till.desk))["state"] == "paid"


async def test_an_invoice_that_is_void_on_both_sides_is_equal(till: Till) -> None:
    till.only()["status"] = "void"
    (compared,) = (await till.reconcile())["invoices"]
    assert compared["verdict"] == "different"

    await hear(till, ("invoice.voided", till.only()))

    (compared,) = (await till.reconcile())["invoices"]
    assert (compared["verdict"], await differs(till)) == ("equal", [])


async def test_a_discount_that_was_added_there_is_told_before_it_is_final(
    tmp_path: Path,
) -> None:
    async with till_at(tmp_path, COLLECT) as till:
        await till.close()
        await till.parts.at_stripe.run()
        await till.stop_before("/lines")
        till.only()["total"] = 153

        await till.tell()

        (*_, held) = await till.calls()
        assert "it comes to 153 usd and should come to 203 usd" in str(held.reason)
        assert till.only()["status"] == "draft"
        till.only()["total"] = 203
        await till.desk.web.http.post("/v1/invoices/INV-0001/stripe/retry")
        await till.tell()
        assert till.only()["status"] == "open"
        till.only()["total"] = 242
        (compared,) = (await till.reconcile())["invoices"]
        assert compared["verdict"] == "different"


async def test_what_the_balance_at_stripe_paid_is_said_so(till: Till) -> None:
    till.at_stripe.pay(till.only()["id"])
    balance = {"starting_balance": -150, "ending_balance": 0}

    await hear(till, ("invoice.paid", till.only() | balance))

    found = await shown(till.desk)
    assert "1.5 usd of it by the customer's balance" in found["steps"][-1]["cause"]
    assert await paid(till) == ["2.03"]


@asynccontextmanager
async def comparing(till: Till) -> AsyncGenerator[InvoiceReconciler]:
    """Compare without waiting between the tries of a read."""
    base = till.parts.config.stripe.api_base
    key = Secret("sk_test_meterline")
    api = StripeApi(lambda: key, api_base=base, read_backoff=Backoff(first_s=0.0))
    yield InvoiceReconciler(till.parts.database, api, clock=till.parts.clock)
    await api.close()


async def test_one_invoice_that_stripe_does_not_tell_of_holds_up_no_other(
    till: Till,
) -> None:
    await till.close("2026-11")
    await till.tell()
    (*_, last) = till.at_stripe.items.values()
    last["amount"] += 1

    async with comparing(till) as invoices:
        till.server.read_faults.extend([503] * 4)  # all tries of the first read
        found = await invoices.run(start_ms=0, end_ms=2**50)
        assert [one.verdict for one in found] == ["refused", "different"]
        assert "HTTP 503" in found[0].differences[0]
        (text,) = await differs(till)  # not of the one that nobody knows of
        assert text.startswith("INV-0002:")
        till.server.read_faults.extend([503] * 8)
        with pytest.raises(RetryLater):
            await invoices.run(start_ms=0, end_ms=2**50)
        till.server.read_faults[:] = [403]
        with pytest.raises(StripeRefused):
            await invoices.run(start_ms=0, end_ms=2**50)
    assert await differs(till) == [text]
