"""An invoice has one currency, whatever is agreed; what is owed in two is told apart."""

import re
from typing import Any

import pytest

from tests.web.again import computed_again
from tests.web.test_final import (
    BASIC,
    CALLS,
    JAPAN,
    PRO,
    Desk,
    customer,
    desk,
    november_is_final,
)

__all__ = ["desk"]

PLANS = BASIC + PRO + JAPAN
PAID = BASIC + '[[plan.credit]]\nname = "start"\namount = "0.60"\n' + PRO + JAPAN


async def owed(desk: Desk, period: str) -> dict[str, str]:
    found = await desk.invoice(period)
    also = {one["currency"]: one["amount"] for one in found["also_due"]}
    return {found["invoice"]["currency"]: found["due"]} | also


async def account(desk: Desk) -> dict[str, str]:
    found = await desk.web.get("/v1/customers/acme/statement")
    return {one["currency"]: one["amount"] for one in found["balances"]}


async def in_yen_on_purpose(desk: Desk, pricing: str = PLANS) -> None:
    files = CALLS + customer(plan="japan", more="from = 2026-11-01")
    await desk.load(files, pricing, reason="agreed in yen from the first day on")


async def test_a_final_period_is_taken_back_in_its_currency_and_billed_in_the_other(
    desk: Desk,
) -> None:
    await november_is_final(desk)
    await in_yen_on_purpose(desk)
    await desk.use("2026-11-11T00:00:00Z", 5)

    drafted = await owed(desk, "2026-12")
    desk.clock("2027-01-01T01:00:00Z")
    await desk.close("2026-12")
    await desk.use("2026-11-12T00:00:00Z", 5)

    assert drafted == {"jpy": "210", "usd": "-1.00"}
    assert await account(desk) == {"usd": "0.00", "jpy": "210"}
    assert await owed(desk, "2027-01") == {"jpy": "10"}
    assert (await computed_again(desk.web)).findings == []


async def test_what_it_used_of_a_credit_in_the_old_currency_is_there_again(
    desk: Desk,
) -> None:
    await desk.load(CALLS + customer(), PAID)
    await desk.use("2026-11-10T00:00:00Z", 100)
    desk.clock("2026-12-01T01:00:00Z")
    assert (await desk.close("2026-11"))["due"] == "0.40"
    await in_yen_on_purpose(desk, PAID)
    assert await owed(desk, "2026-12") == {"jpy": "200", "usd": "-0.40"}
    desk.clock("2027-01-01T01:00:00Z")
    await desk.close("2026-12")

    await desk.load(CALLS + customer(more="from = 2027-01-01"), PAID)
    await desk.use("2027-01-01T00:30:00Z", 100)

    assert await owed(desk, "2027-01") == {"usd": "0.40"}


async def test_a_void_invoice_and_its_successor_can_have_different_currencies(
    desk: Desk,
) -> None:
    await november_is_final(desk)
    void = "/v1/invoices/INV-0001/void"
    answer = await desk.web.http.post(void, json={"reason": "in the wrong currency"})
    assert answer.status_code == 200
    await in_yen_on_purpose(desk)

    again: Any = await desk.close("2026-11")

    assert (again["due"], again["invoice"]["currency"]) == ("200", "jpy")
    assert await account(desk) == {"usd": "0.00", "jpy": "200"}
    assert (await computed_again(desk.web)).findings == []


async def test_a_last_day_that_is_moved_over_a_change_leaves_each_period_one_currency(
    desk: Desk,
) -> None:
    over = "ends = 2026-10-31"
    await desk.load(CALLS + customer(more=over), PLANS)
    await desk.load(CALLS + customer(plan="japan", more=over), PLANS)
    await desk.use("2026-11-10T00:00:00Z", 100)

    await desk.load(CALLS + customer(plan="japan"), PLANS)
    desk.clock("2026-12-15T00:00:00Z")
    await desk.use("2026-12-10T00:00:00Z", 100)

    assert await owed(desk, "2026-11") == {"usd": "1.00"}
    assert await owed(desk, "2026-12") == {"jpy": "200"}


async def test_an_earlier_first_day_is_billed_in_the_currency_of_the_final_invoice(
    desk: Desk,
) -> None:
    await desk.load(CALLS + customer(more="starts = 2026-11-25"), PLANS)
    await desk.use("2026-11-12T00:00:00Z", 100)
    # Until they begin they may take a plan in another currency.
    await desk.load(CALLS + customer(plan="japan", more="starts = 2026-11-25"), PLANS)
    desk.clock("2026-12-01T01:00:00Z")
    assert (await desk.close("2026-11"))["due"] == "0"

    await desk.load(CALLS + customer(plan="japan", more="starts = 2026-11-10"), PLANS)

    assert await owed(desk, "2026-12") == {"jpy": "200"}


async def test_a_version_in_another_currency_waits_for_the_next_period(
    desk: Desk,
) -> None:
    euro = PRO.replace('"pro"', '"pro"\nversion = 2\neffective = 2026-12-05')
    files = CALLS + customer(plan="pro", more="from = 2026-12-10")
    await desk.load(CALLS + customer(), PLANS)
    await desk.load(files, PLANS)
    await desk.load(files, PLANS + euro.replace("usd", "eur"))
    desk.clock("2027-01-15T00:00:00Z")
    await desk.use("2026-12-12T00:00:00Z", 100)
    await desk.use("2027-01-12T00:00:00Z", 100)

    assert await owed(desk, "2026-12") == {"usd": "1.00"}
    assert await owed(desk, "2027-01") == {"eur": "55.00"}


@pytest.mark.parametrize("first", ["acme", "zed"])
async def test_wherever_a_page_has_amounts_in_two_currencies_their_order_is_one(
    desk: Desk, first: str
) -> None:
    both = customer() + customer("zed", plan="japan", subjects="zed_*")
    await desk.load(CALLS + both, PLANS)
    await desk.use("2026-11-11T00:00:00Z", 5)
    await desk.use("2026-11-11T00:00:00Z", 5, "zed_1")
    desk.clock("2026-12-05T00:00:00Z")
    for name in sorted(("acme", "zed"), reverse=first == "zed"):
        await desk.close("2026-11", name)

    page = (await desk.web.http.get("/close")).text

    amounts = re.findall(r"[$¥][0-9.,]*[1-9]", page.partition("How long")[0])
    assert [text[0] for text in amounts] == ["¥", "$"] * 3  # net, total, left to pay
