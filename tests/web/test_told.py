"""Each call by which Stripe is told of a final invoice meets whatever Stripe can answer."""

import itertools
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from meterline_sidecar.errors import StripeRefused
from meterline_sidecar.stripe.invoicing import Invoicer
from meterline_sidecar.stripe.pacing import Backoff
from tests.stripe_server.faults import Fault
from tests.web.test_collected import ACME, COLLECT, HOUR_MS, SEND, Till, till_at
from tests.web.test_collection import TIERS, shown, take
from tests.web.test_final import CALLS, customer

STEPS = ("draft", "fee", "calls", "finalize", "send", "credit note", "paid")
NOT_DONE = (
    *(Fault.RESET_BEFORE, Fault.PLAIN_429, Fault.LIMIT_GLOBAL_RATE, Fault.LOCK_TIMEOUT),
    *(Fault.CONFLICT, Fault.KEY_IN_USE, Fault.HTML_502_BEFORE, Fault.REFUSED),
    *(Fault.SAVED_500_BEFORE, Fault.UNSAVED_500_BEFORE, Fault.GARBAGE_200_BEFORE),
    *(Fault.UNAUTHORIZED, Fault.FORBIDDEN),
)
DONE = (
    *(Fault.RESET_AFTER, Fault.HALF_BODY, Fault.SAVED_500_AFTER),
    *(Fault.UNSAVED_500_AFTER, Fault.HTML_502_AFTER, Fault.GARBAGE_200_AFTER),
    Fault.EMPTY_200_AFTER,
)
SAVED = (Fault.SAVED_500_AFTER, Fault.UNSAVED_500_AFTER)


@pytest.fixture
async def sent(tmp_path: Path) -> AsyncGenerator[Till]:
    """A sidecar whose INV-0001 of 2.03 is credited by 0.50, and paid by transfer."""
    async with till_at(tmp_path, COLLECT + SEND) as till:
        await till.close()
        await till.parts.at_stripe.run()
        await take(till.desk, "INV-0001", "credit", amount="0.50")
        await take(till.desk, "INV-0001", "payments", amount="1.53")
        await till.parts.at_stripe.run()
        assert len(await till.calls()) == len(STEPS)
        yield till


@pytest.fixture
async def till(tmp_path: Path) -> AsyncGenerator[Till]:
    async with till_at(tmp_path) as till:
        await till.close()
        yield till


async def start_over(till: Till) -> None:
    """Let nothing have been told, here and there."""
    async with till.parts.database.transaction() as tx:
        await tx.execute(
            "UPDATE stripe_calls SET state = 'pending', attempts = 0, key_no = 0,"
            " doubt_ms = NULL, object_id = NULL, next_ms = 0, created_ms = ?",
            (till.wall.now_ms(),),
        )
    for known in (till.at_stripe.invoices, till.at_stripe.items, till.at_stripe.notes):
        known.clear()
    till.at_stripe.sent.clear()
    till.server.account.keys.clear()


async def run(till: Till) -> None:
    """Make the calls that are due; whoever is held is let go by a person."""
    try:
        await till.invoicer().run()
    except StripeRefused as error:
        assert error.status in (401, 403)  # noqa: PT017 - nothing else is raised
    if any(call.state == "held" for call in await till.calls()):
        await retry(till)


def patient(till: Till) -> Invoicer:
    """Return what tells Stripe, and waits a minute before it tries again."""
    usual = till.parts.stripe
    return Invoicer(
        usual.database,
        usual.api,
        till.parts.at_stripe,
        wall=till.wall,
        backoff=Backoff(first_s=60.0),
    )


async def retry(till: Till) -> None:
    answer = await till.desk.web.http.post("/v1/invoices/INV-0001/stripe/retry")
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("fault", NOT_DONE + DONE)
async def test_whatever_a_call_meets_it_is_made_once(sent: Till, fault: Fault) -> None:
    """Each of the calls; also where keys are forgotten before it is tried again."""
    # A draft that was refused is planned anew, and this invoice is paid by then.
    first = 1 if fault is Fault.REFUSED else 0
    for n, hours in itertools.product(range(first, len(STEPS)), (0, 25)):
        await start_over(sent)
        sent.server.write_faults = [*[None] * n, fault]
        for _ in range(3):
            await run(sent)
            sent.wall.time_ms += 61_000 + hours * HOUR_MS
            sent.desk.web.clock.time_ms += 61_000 + hours * HOUR_MS

        where = (STEPS[n], hours)
        assert sent.server.write_faults == [], where
        assert {row.state for row in await sent.calls()} == {"done"}, where
        assert sent.only()["status"] == "paid", where
        assert sent.amounts() == [("fee", 100), ("calls", 103)], where
        notes = [note["amount"] for note in sent.at_stripe.notes.values()]
        assert notes == [50], where
        # A letter that may have been sent is sent again; all else is looked for.
        is_sent_again = fault in SAVED or (hours > 0 and fault in DONE)
        most = 2 if is_sent_again and STEPS[n] == "send" else 1
        assert 1 <= len(sent.at_stripe.sent) <= most, where


async def test_a_credit_note_whose_answer_was_lost_is_found_whatever_came_since(
    till: Till,
) -> None:
    """The customer paid meanwhile: what would be asked for now is another thing."""
    await till.tell()
    await take(till.desk, "INV-0001", "credit", amount="0.50")
    await till.parts.at_stripe.run()
    till.server.write_faults = [Fault.RESET_AFTER]
    await patient(till).run()
    till.at_stripe.pay(till.only()["id"])
    till.wall.time_ms += HOUR_MS

    await till.tell()

    assert len(till.at_stripe.notes) == 1
    assert {row.state for row in await till.calls()} == {"done"}


async def test_what_is_credited_while_an_invoice_is_held_is_told_with_it(
    tmp_path: Path,
) -> None:
    nobody = customer(more="starts = 2026-10-01")
    async with till_at(tmp_path, more=nobody) as till:
        await till.close()
        await till.tell()
        await take(till.desk, "INV-0001", "credit", amount="0.50")
        await till.tell()
        await till.desk.load(CALLS + ACME, TIERS)

        await retry(till)
        await till.tell()

        assert till.only()["amount_remaining"] == 153


async def test_another_customer_at_stripe_is_told_when_the_first_is_not_known(
    tmp_path: Path,
) -> None:
    wrong = customer(more='starts = 2026-10-01\nstripe_customer = "cus_typo"')
    async with till_at(tmp_path, more=wrong) as till:
        till.server.account.customers = {"cus_1"}
        await till.close()
        await till.tell()
        assert "No such customer: 'cus_typo'" in str((await till.calls())[0].reason)
        await till.desk.load(CALLS + ACME, TIERS)

        await retry(till)
        await till.tell()

        assert (till.only()["customer"], till.only()["status"]) == ("cus_1", "open")


async def test_a_draft_that_goes_amid_its_items_is_told_to_be_gone(till: Till) -> None:
    await till.parts.at_stripe.run()
    await till.stop_before("/v1/invoiceitems")
    till.at_stripe.delete(till.only()["id"])

    await till.tell()

    held = next(row for row in await till.calls() if row.state == "held")
    assert "somebody deleted its draft at Stripe" in str(held.reason)
    await retry(till)
    await till.tell()
    assert till.amounts() == [("fee", 100), ("calls", 103)]


async def test_what_is_paid_before_it_is_sent_is_not_sent(tmp_path: Path) -> None:
    """As by what the customer has in favour at Stripe."""
    async with till_at(tmp_path, COLLECT + SEND) as till:
        await till.close()
        await till.parts.at_stripe.run()
        await till.stop_before("/send")
        till.at_stripe.pay(till.only()["id"])

        await till.tell()

        assert {row.state for row in await till.calls()} == {"done"}
        assert till.at_stripe.sent == []
        assert (await shown(till.desk))["state"] == "sent"


async def test_nothing_is_told_to_another_account(till: Till, tmp_path: Path) -> None:
    await till.parts.stripe.report()  # which binds the ledger to a sandbox
    live = "sk_live_meterline"
    till.server.keys.add(live)
    (tmp_path / "stripe.key").write_text(live)
    till.server.keys.discard("sk_test_meterline")
    with pytest.raises(StripeRefused, match="Invalid API Key"):
        await till.tell()
    till.wall.time_ms += 61_000  # from when on it is tried again

    await till.tell()
    await till.parts.stripe.report()

    assert till.at_stripe.invoices == {}
    status = await till.desk.web.get("/status")
    texts = [p["text"] for p in status["problems"] if p["code"] == "stripe_not_sending"]
    assert "a sandbox of Stripe but the key is of live mode" in texts[0]


async def test_what_does_not_get_to_stripe_is_named_with_the_reason(
    till: Till,
) -> None:
    async def named() -> list[str]:
        status = await till.desk.web.get("/status")
        code = "stripe_invoice_waiting"
        return [p["text"] for p in status["problems"] if p["code"] == code]

    await till.parts.at_stripe.run()
    invoicer = patient(till)
    till.parts.stripe.invoicer = invoicer
    till.server.write_faults = [Fault.UNSAVED_500_BEFORE]
    await invoicer.run()
    assert await named() == []
    till.wall.time_ms += HOUR_MS

    (text,) = await named()
    await invoicer.run()

    assert text.startswith("INV-0001: /v1/invoices: HTTP 500")
    assert await named() == []


async def test_a_clock_that_was_ahead_lets_no_call_wait(till: Till) -> None:
    await till.parts.at_stripe.run()
    till.server.write_faults = [Fault.PLAIN_429]
    till.wall.time_ms += 30 * 24 * HOUR_MS
    await patient(till).run()
    till.wall.time_ms -= 30 * 24 * HOUR_MS

    await patient(till).run()

    assert till.only()["status"] == "open"
