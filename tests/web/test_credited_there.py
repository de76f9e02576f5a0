"""A credit note that was made at Stripe is made here by one command, and told to nobody."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from tests.web.test_collected import COLLECT, Till, till_at
from tests.web.test_collection import left, shown, take
from tests.web.test_heard import differs, hear

TAXED_THERE = COLLECT + 'tax = "stripe"\n'


@pytest.fixture
async def till(tmp_path: Path) -> AsyncGenerator[Till]:
    """A sidecar whose INV-0001, of 2.03 usd, is open at Stripe."""
    async with till_at(tmp_path) as till:
        await till.close()
        await till.tell()
        yield till


async def take_over(till: Till, status: int = 200) -> Any:
    answer = await till.desk.web.http.post("/v1/invoices/INV-0001/stripe/credit-notes")
    assert answer.status_code == status, answer.text
    return answer.json() if status == 200 else answer.json()["detail"]


async def verdict(till: Till) -> str:
    (compared,) = (await till.reconcile())["invoices"]
    return str(compared["verdict"])


async def test_what_was_credited_there_is_credited_here_once(till: Till) -> None:
    name = till.only()["id"]
    note = till.at_stripe.credit(name, 50)
    till.at_stripe.notes[note]["memo"] = "as agreed by phone"
    assert await verdict(till) == "different"
    assert "outbox invoice NUMBER --take-credit-notes" in (await differs(till))[0]

    told = await take_over(till)

    assert told["calls"][-1]["stripe_id"] == note
    credited = await shown(till.desk, "CN-0001")
    assert (credited["amount"], credited["invoice"]) == ("-0.50", "INV-0001")
    assert credited["reason"] == f"credit note {note} of Stripe: as agreed by phone"
    assert left(await shown(till.desk)) == "1.53 usd"
    assert (await verdict(till), await differs(till)) == ("equal", [])
    again = await take_over(till, 409)
    assert "nothing was credited at Stripe that is not credited here" in again
    await till.tell()
    assert len(till.at_stripe.notes) == 1  # Stripe is not told what it said
    till.at_stripe.pay(name)
    await hear(till, ("invoice.paid", till.only()))
    assert (await shown(till.desk))["state"] == "paid"
    assert await verdict(till) == "equal"


async def test_those_of_ours_and_void_ones_are_left_alone(till: Till) -> None:
    await take(till.desk, "INV-0001", "credit", amount="0.10")
    await till.tell()
    gone = till.at_stripe.credit(till.only()["id"], 20)
    till.at_stripe.notes[gone]["status"] = "void"
    theirs = till.at_stripe.credit(till.only()["id"], 30)

    told = await take_over(till)

    notes = [c for c in told["calls"] if c["step"] == "credit_note"]
    assert [c["what"] for c in notes] == ["CN-0001", "CN-0002"]
    assert notes[-1]["stripe_id"] == theirs
    assert left(await shown(till.desk)) == "1.63 usd"


async def test_one_of_ours_that_is_on_its_way_is_not_taken_for_theirs(
    till: Till,
) -> None:
    """Its answer was lost, so that only its metadata says whose it is."""
    await take(till.desk, "INV-0001", "credit", amount="0.10")
    await till.parts.at_stripe.run()
    till.at_stripe.credit(till.only()["id"], 10)
    (made,) = till.at_stripe.notes.values()
    made["metadata"] = {"meterline_credit_note": "CN-0001"}

    assert "nothing was credited" in await take_over(till, 409)


async def test_what_may_be_in_the_place_of_one_of_ours_is_left_to_people(
    till: Till,
) -> None:
    await take(till.desk, "INV-0001", "credit", amount="0.10")
    await till.tell()
    (ours,) = till.at_stripe.notes
    till.at_stripe.take_back(ours)
    assert await verdict(till) == "different"
    assert "one was voided at Stripe; credit 10 there again" in (await differs(till))[0]
    till.at_stripe.credit(till.only()["id"], 10)

    assert await verdict(till) == "equal"
    assert "CN-0001 is void at Stripe" in await take_over(till, 409)


async def test_more_than_is_left_here_is_refused_and_changes_nothing(
    till: Till,
) -> None:
    till.at_stripe.credit(till.only()["id"], 50)
    (note,) = till.at_stripe.notes.values()
    note["amount"] = 500
    n_calls = len(await till.calls())

    assert "at most 2.03 usd can be" in await take_over(till, 409)

    assert len(await till.calls()) == n_calls
    assert (await shown(till.desk))["credit_notes"] == []


async def test_taxes_of_stripes_are_not_credited_here(tmp_path: Path) -> None:
    async with till_at(tmp_path, TAXED_THERE) as till:
        await till.close()
        await till.tell()
        till.at_stripe.credit(till.only()["id"], 119)
        (note,) = till.at_stripe.notes.values()
        note["total_excluding_tax"] = 100

        await take_over(till)

        assert left(await shown(till.desk)) == "1.03 usd"
        assert await verdict(till) == "equal"


async def test_an_invoice_that_is_not_at_stripe_has_nothing_to_take(
    tmp_path: Path,
) -> None:
    async with till_at(tmp_path, "") as till:
        await till.close()

        assert "INV-0001 is not at Stripe" in await take_over(till, 409)
