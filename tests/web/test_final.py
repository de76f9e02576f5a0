"""What is final stays so, whatever happens to the files; each case was a fault once."""

import itertools
from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterline.portal import portal_token
from meterline_sidecar.clock import parse_time_ms
from meterline_sidecar.ledger.journal import verify_journal
from meterline_sidecar.terms.files import wanted_of
from tests.producer import event
from tests.web.conftest import OpenWeb, Web, configure

CALLS = '[[meter]]\nname = "calls"\naggregation = "count"\n'
BASIC = """
[[plan]]
name = "basic"
currency = "usd"
[[plan.price]]
meter = "calls"
model = "per_unit"
unit_amount = "0.01"
"""
PRO = """
[[plan]]
name = "pro"
currency = "usd"
[[plan.price]]
name = "fee"
model = "flat"
amount = "50"
[[plan.price]]
meter = "calls"
model = "per_unit"
unit_amount = "0.05"
"""
JAPAN = """
[[plan]]
name = "japan"
currency = "jpy"
[[plan.price]]
meter = "calls"
model = "per_unit"
unit_amount = "2"
"""


def customer(
    name: str = "acme", plan: str = "basic", subjects: str = "acme_*", more: str = ""
) -> str:
    return (
        f'[[customer]]\nid = "{name}"\nsubjects = ["{subjects}"]\nplan = "{plan}"\n'
        f"{more}\n"
    )


class Desk:
    """What a person at a sidecar does, one step after the other."""

    def __init__(self, web: Web, folder: Path) -> None:
        self.web = web
        self.folder = folder

    def clock(self, text: str) -> None:
        self.web.clock.time_ms = parse_time_ms(text)

    async def load(
        self, meterline: str, pricing: str = BASIC + PRO, *, reason: str = ""
    ) -> None:
        """Have the files read again."""
        config = configure(self.folder, meterline=meterline, pricing=pricing)
        wanted = wanted_of(config)
        await self.web.parts.terms.load(wanted, author="test", reason=reason)

    async def use(self, at: str, n: int, subject: str = "acme_1", **more: Any) -> None:
        at_ms = parse_time_ms(at)
        await self.web.ship(
            *(event(time_ms=at_ms, subject=subject, **more) for _ in range(n))
        )

    async def invoice(self, period: str, name: str = "acme") -> Any:
        return await self.web.get(f"/v1/customers/{name}/invoice", period=period)

    async def close(self, period: str, name: str = "acme") -> Any:
        answer = await self.web.http.post(
            f"/v1/customers/{name}/invoice/finalize", params={"period": period}
        )
        return answer.json()


@pytest.fixture
async def desk(open_web: OpenWeb, tmp_path: Path) -> AsyncGenerator[Desk]:
    """A sidecar in the middle of November, with one customer."""
    async with open_web(meterline=CALLS, pricing="") as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-11-15T12:00:00Z")
        yield desk


async def november_is_final(desk: Desk, n: int = 100) -> None:
    await desk.load(CALLS + customer())
    await desk.use("2026-11-10T00:00:00Z", n)
    desk.clock("2026-12-01T01:00:00Z")
    assert (await desk.close("2026-11"))["due"] == f"{n / 100:.2f}"


async def test_a_dearer_plan_does_not_reach_into_what_is_final(desk: Desk) -> None:
    await november_is_final(desk)

    await desk.load(CALLS + customer(plan="pro"))
    desk.clock("2026-12-10T00:00:00Z")
    await desk.use("2026-12-09T00:00:00Z", 10)

    december = await desk.invoice("2026-12")
    assert (december["due"], december["adjustments"]) == ("50.50", [])


async def test_late_usage_is_rated_as_its_period_was(desk: Desk) -> None:
    await november_is_final(desk)

    await desk.load(CALLS + customer(plan="pro"))
    await desk.use("2026-11-11T00:00:00Z", 10)

    december = await desk.invoice("2026-12")
    (late,) = december["adjustments"]
    assert (late["period"], late["amount"]) == ("2026-11", "0.10")


async def test_what_is_projected_has_the_adjustments_in_it(desk: Desk) -> None:
    await november_is_final(desk)
    await desk.load(CALLS + customer(plan="pro"))
    await desk.use("2026-11-11T00:00:00Z", 10)
    desk.clock("2026-12-11T00:00:00Z")
    now_s = desk.web.clock.time_ms // 1000
    token = portal_token("acme", key=desk.web.parts.portal_key, now_s=now_s)

    theirs = await desk.web.get("/portal/usage.json", token=token)
    page = (await desk.web.http.get("/customers/acme")).text

    assert (theirs["total"], theirs["projected_total"]) == ("50.10", "50.10")
    assert page.count("$50.10") == 3  # so far, projected, and on the invoice


async def test_a_new_zone_makes_no_period_twice(desk: Desk) -> None:
    await november_is_final(desk)
    first = await desk.invoice("2026-11")

    await desk.load(CALLS + customer(more='time_zone = "Europe/Berlin"'))

    again = await desk.close("2026-11")
    assert {**again, "fresh_as_of": ""} == {**first, "fresh_as_of": ""}
    december = (await desk.invoice("2026-12"))["invoice"]["period"]
    assert december["start"] == first["invoice"]["period"]["end"]


async def test_a_fee_that_is_raised_in_place_leaves_what_is_final(desk: Desk) -> None:
    await desk.load(CALLS + customer(plan="pro"))
    desk.clock("2026-12-01T01:00:00Z")
    assert (await desk.close("2026-11"))["due"] == "50.00"

    await desk.load(CALLS + customer(plan="pro"), BASIC + PRO.replace('"50"', '"80"'))

    december = await desk.invoice("2026-12")
    assert (december["due"], december["adjustments"]) == ("80.00", [])


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["2026-11", "2026-12", "2027-01"]))
)
async def test_in_every_order_all_is_billed_once_and_what_was_left_out_is_named(
    desk: Desk, order: tuple[str, ...]
) -> None:
    desk.clock("2026-10-15T00:00:00Z")
    berlin = 'time_zone = "Europe/Berlin"\nstarts = 2026-10-12'
    await desk.load(CALLS + customer(more=berlin), PREPAID)
    await desk.use("2026-10-12T00:00:00Z", 70)
    desk.clock("2026-11-01T01:00:00Z")
    assert (await desk.close("2026-10"))["due"] == "0.00"
    await desk.use("2026-10-13T00:00:00Z", 50)
    for month in ("2026-11", "2026-12", "2027-01"):
        await desk.use(f"{month}-05T00:00:00Z", 10)
    desk.clock("2027-02-01T01:00:00Z")

    closed = [await desk.close(period) for period in order]

    # 150 were used, and 100 of them were paid for before.
    assert sum(Decimal(one["due"]) for one in closed) == 50
    assert [len(one["adjustments"]) for one in closed] == [1, 0, 0]
    assert [one["open_before"] for one in closed] == [
        sorted(period for period in order[i:] if period < name)
        for i, name in enumerate(order)
    ]
    assert (await desk.invoice("2027-02"))["due"] == "0.00"


@pytest.mark.parametrize("more", ["", "starts = 2026-10-01"])
async def test_a_difference_is_on_one_draft_though_a_month_was_passed_over(
    desk: Desk, more: str
) -> None:
    desk.clock("2026-10-15T00:00:00Z")
    await desk.load(CALLS + customer(more=more))
    desk.clock("2026-12-02T00:00:00Z")
    await desk.use("2026-10-20T00:00:00Z", 1)
    await desk.close("2026-11")
    await desk.use("2026-11-20T00:00:00Z", 5)

    async def shown() -> list[int]:
        months = ("2026-10", "2026-12")
        drafts = [await desk.invoice(month) for month in months]
        return [len(draft["adjustments"]) for draft in drafts]

    assert await shown() == [1, 0]
    assert (await desk.close("2026-10"))["due"] == "0.06"
    await desk.use("2026-11-21T00:00:00Z", 5)
    assert await shown() == [1, 1]


async def test_a_first_month_that_was_left_out_is_named_by_what_comes_later(
    desk: Desk,
) -> None:
    desk.clock("2026-09-20T00:00:00Z")
    await desk.load(CALLS + customer(more='time_zone = "Asia/Tokyo"'))
    await desk.use("2026-09-15T00:00:00Z", 5)
    desk.clock("2026-11-01T01:00:00Z")

    draft = await desk.invoice("2026-10")
    october = await desk.close("2026-10")

    assert (draft["status"], draft["open_before"]) == ("draft", ["2026-09"])
    assert (october["status"], october["open_before"]) == ("final", ["2026-09"])
    september = await desk.close("2026-09")
    assert (september["due"], september["open_before"]) == ("0.05", [])
    assert (await desk.invoice("2026-10"))["open_before"] == ["2026-09"]  # as it was
    assert (await desk.invoice("2026-11"))["open_before"] == []


@pytest.mark.parametrize("passed_over", ["2026-11", "2026-12"])
async def test_who_was_taken_out_is_named_with_the_month_that_was_passed_over(
    desk: Desk, passed_over: str
) -> None:
    await desk.load(CALLS + customer() + customer("beta", subjects="beta_*"))
    months = ["2026-11", "2026-12", "2027-01"]
    for month in months:
        desk.clock(f"{month}-20T00:00:00Z")
        await desk.use(f"{month}-15T00:00:00Z", 5)
    desk.clock("2027-02-01T01:00:00Z")
    for month in months:
        if month != passed_over:
            await desk.close(month)

    await desk.load(CALLS + customer("beta", subjects="beta_*"))

    problems = (await desk.web.get("/status"))["problems"]
    told = [one["text"] for one in problems if one["code"] == "removed_not_billed"]
    assert [f"acme ({passed_over})" in text for text in told] == [True]


async def test_an_invoice_says_when_its_period_begins_and_ends(desk: Desk) -> None:
    await desk.load(CALLS + customer(more='time_zone = "Europe/Berlin"'))

    invoice = await desk.invoice("2026-11")

    assert invoice["invoice"]["period"] == invoice["period"]
    assert invoice["period"]["start_time"] == "2026-10-31T23:00:00.000Z"
    assert invoice["period"]["end_time"] == "2026-11-30T23:00:00.000Z"


@pytest.mark.parametrize("order", [("2026-12", "2026-11"), ("2026-11", "2026-12")])
async def test_late_usage_is_billed_once_in_whatever_order_periods_close(
    desk: Desk, order: tuple[str, str]
) -> None:
    desk.clock("2026-10-15T00:00:00Z")
    await desk.load(CALLS + customer())
    await desk.use("2026-10-10T00:00:00Z", 1000)
    desk.clock("2026-11-01T01:00:00Z")
    assert (await desk.close("2026-10"))["due"] == "10.00"
    await desk.use("2026-10-11T00:00:00Z", 500)
    desk.clock("2027-01-01T01:00:00Z")

    dues = [(await desk.close(period))["due"] for period in order]

    assert dues == ["5.00", "0.00"]
    assert (await desk.invoice("2027-01"))["adjustments"] == []


async def test_currencies_are_never_added_up(desk: Desk) -> None:
    await november_is_final(desk)
    await desk.load(CALLS + customer(plan="japan"), BASIC + JAPAN)
    assert (await desk.invoice("2026-12"))["due"] == "0"

    await desk.use("2026-11-12T00:00:00Z", 100)

    december = await desk.invoice("2026-12")
    assert (december["due"], december["invoice"]["currency"]) == ("0", "jpy")
    assert december["also_due"] == [{"amount": "1.00", "currency": "usd"}]


async def test_a_version_that_was_deleted_still_rates_its_time(desk: Desk) -> None:
    await november_is_final(desk)
    second = BASIC.replace("0.01", "0.02").replace(
        'currency = "usd"', 'currency = "usd"\nversion = 2\neffective = 2026-12-01'
    )

    await desk.load(CALLS + customer(), second)
    await desk.use("2026-11-12T00:00:00Z", 100)
    await desk.use("2026-12-01T00:30:00Z", 100)

    december = await desk.invoice("2026-12")
    assert december["invoice"]["total"] == "2.00"
    assert [late["amount"] for late in december["adjustments"]] == ["1.00"]


PREPAID = (
    BASIC.replace("0.01", "1") + '[[plan.credit]]\nname = "prepaid"\namount = 100\n'
)


async def test_what_is_projected_has_only_what_is_left_of_a_credit(desk: Desk) -> None:
    desk.clock("2026-10-15T00:00:00Z")
    await desk.load(CALLS + customer(), PREPAID)
    await desk.use("2026-10-10T00:00:00Z", 80)
    desk.clock("2026-11-16T00:00:00Z")
    await desk.close("2026-10")
    await desk.use("2026-11-10T00:00:00Z", 80)
    now_s = desk.web.clock.time_ms // 1000
    token = portal_token("acme", key=desk.web.parts.portal_key, now_s=now_s)

    theirs = await desk.web.get("/portal/usage.json", token=token)

    # 80 in half of the month are 160 in all of it, and 20 are paid for.
    assert (theirs["total"], theirs["projected_total"]) == ("60.00", "140.00")


async def test_a_credit_is_used_up(desk: Desk) -> None:
    desk.clock("2026-10-15T00:00:00Z")
    await desk.load(CALLS + customer(), PREPAID)
    await desk.use("2026-10-10T00:00:00Z", 80)
    desk.clock("2026-12-01T01:00:00Z")
    await desk.use("2026-11-10T00:00:00Z", 80)

    dues = [(await desk.close(period))["due"] for period in ("2026-10", "2026-11")]

    assert dues == ["0.00", "60.00"]


async def test_late_usage_takes_what_is_left_of_a_credit_and_no_more(
    desk: Desk,
) -> None:
    desk.clock("2026-10-15T00:00:00Z")
    await desk.load(CALLS + customer(), PREPAID)
    await desk.use("2026-10-10T00:00:00Z", 80)
    desk.clock("2026-11-02T01:00:00Z")
    await desk.close("2026-10")

    await desk.use("2026-10-11T00:00:00Z", 15)
    await desk.use("2026-11-01T01:00:00Z", 10)

    # 15 of October and 5 of November are the 20 that were left.
    assert (await desk.invoice("2026-11"))["due"] == "5.00"
    desk.clock("2026-12-01T01:00:00Z")
    assert (await desk.close("2026-11"))["due"] == "5.00"
    await desk.use("2026-12-01T00:30:00Z", 7)
    assert (await desk.invoice("2026-12"))["due"] == "7.00"


async def test_credits_that_expire_soonest_are_used_first(desk: Desk) -> None:
    granted = (
        '[[plan.credit]]\nname = "for ever"\namount = 10\n'
        '[[plan.credit]]\nname = "gone"\namount = 10\nexpires = 2026-10-31\n'
        '[[plan.credit]]\nname = "soon"\namount = 10\nexpires = 2026-11-30\n'
    )
    await desk.load(CALLS + customer(), BASIC.replace("0.01", "1") + granted)

    await desk.use("2026-11-10T00:00:00Z", 15)

    lines = (await desk.invoice("2026-11"))["invoice"]["lines"]
    used = {x["name"]: x["amount"] for x in lines if x["kind"] == "credit"}
    assert used == {"soon": "-10.00", "for ever": "-5.00"}


async def test_a_coupon_lasts_for_its_periods(desk: Desk) -> None:
    coupon = '[[plan.coupon]]\nname = "hello"\npercent = 50\nperiods = 2\n'
    desk.clock("2026-09-10T00:00:00Z")
    await desk.load(CALLS + customer(plan="pro"), BASIC + PRO + coupon)
    desk.clock("2026-12-01T01:00:00Z")

    dues = [
        (await desk.close(period))["due"]
        for period in ("2026-09", "2026-10", "2026-11")
    ]

    assert dues == ["25.00", "25.00", "50.00"]


async def test_a_plan_taken_in_the_month_is_charged_from_that_day(desk: Desk) -> None:
    desk.clock("2026-11-20T00:00:00Z")
    await desk.load(CALLS + customer())
    await desk.use("2026-11-10T00:00:00Z", 100)

    await desk.load(CALLS + customer(plan="pro"))

    assert (await desk.invoice("2026-11"))["due"] == "19.33"


async def test_nothing_is_owed_before_a_customer_was_there(desk: Desk) -> None:
    await desk.load(CALLS + customer(plan="pro"))

    refused = await desk.close("2026-09")
    page = (await desk.web.http.get("/customers/acme")).text

    assert "starts" in refused["detail"]
    assert "2026-10" not in page


async def test_a_customer_who_was_taken_out_can_still_be_invoiced(desk: Desk) -> None:
    await november_is_final(desk)
    await desk.use("2026-12-01T00:30:00Z", 7)

    await desk.load(CALLS)
    desk.clock("2027-01-01T01:00:00Z")

    assert (await desk.invoice("2026-11"))["status"] == "final"
    assert (await desk.close("2026-12"))["due"] == "0.07"


async def test_a_list_shows_what_an_invoice_comes_to(desk: Desk) -> None:
    await november_is_final(desk)
    await desk.use("2026-11-12T00:00:00Z", 500)

    await desk.web.parts.standings.refresh()

    due = (await desk.invoice("2026-12"))["due"]
    standing = desk.web.parts.standings.get("acme")
    assert due == "5.00"
    assert standing is not None
    assert str(standing.total) == due


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE invoices SET document = replace(document, '\"1.00\"', '\"9.00\"')",
        "DELETE FROM invoices",
        "UPDATE invoices SET period = '2026-10'",
        "UPDATE terms SET change = replace(change, 'basic', 'pro')",
        "DELETE FROM terms WHERE id = (SELECT max(id) FROM terms)",
        "INSERT INTO invoices (customer, period_start_ms, period_end_ms, finalized_ms,"
        " document, period) VALUES ('acme', 1, 2, 3, '{}', '2020-01')",
    ],
)
async def test_what_is_final_cannot_be_changed_unseen(desk: Desk, sql: str) -> None:
    await november_is_final(desk)
    database = desk.web.parts.database
    key = desk.web.parts.config.sidecar.database.with_suffix(".db.key").read_bytes()
    found: list[str] = []
    async with database.reading() as tx:
        await verify_journal(tx, key, found.append, lambda what, done, total: None)
    assert found == []

    async with database.transaction() as tx:
        await tx.execute(sql)

    async with database.reading() as tx:
        await verify_journal(tx, key, found.append, lambda what, done, total: None)
    assert found != []
