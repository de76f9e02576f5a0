"""Customers who leave, come back, and end otherwise than was said."""

import pytest

from meterline_sidecar.billing.consequences import of_terms
from meterline_sidecar.terms.files import wanted_of
from tests.web.conftest import configure
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

STARTS = "starts = 2026-11-01"


async def test_months_of_an_absence_cost_nothing(desk: Desk) -> None:
    await desk.load(CALLS + customer(plan="pro", more=STARTS))
    await desk.load(CALLS)
    desk.clock("2027-02-10T12:00:00Z")

    await desk.load(CALLS + customer(plan="pro", more=STARTS))
    desk.clock("2027-03-01T00:00:00Z")

    assert (await desk.close("2026-11"))["due"] == "25.00"  # 15 of 30 days
    assert "had left" in (await desk.close("2026-12"))["detail"]
    assert "had left" in (await desk.close("2027-01"))["detail"]
    assert (await desk.close("2027-02"))["due"] == "33.93"  # 19 of 28 days
    problems = await desk.web.parts.attention.problems()
    assert [p.code for p in problems if p.code == "period_not_closed"] == []


async def test_who_comes_back_in_a_month_that_is_final_pays_for_the_rest(
    desk: Desk,
) -> None:
    await desk.load(CALLS + customer(plan="pro", more=STARTS))
    await desk.load(CALLS)
    desk.clock("2026-11-16T00:00:00Z")
    final = await desk.close("2026-11")
    assert final["due"] == "25.00"

    desk.clock("2026-11-21T12:00:00Z")
    await desk.load(CALLS + customer(plan="pro", more=STARTS))
    await desk.use("2026-11-21T12:00:00Z", 100)
    desk.clock("2026-12-01T00:00:00Z")

    december = await desk.invoice("2026-12")
    (rest,) = december["adjustments"]
    assert (rest["period"], rest["amount"]) == (
        "2026-11",
        "21.67",
    )  # 10 days, 100 calls
    again = await desk.invoice("2026-11")
    assert {**again, "fresh_as_of": ""} == {**final, "fresh_as_of": ""}


async def test_who_ends_later_than_was_said_pays_for_the_rest(desk: Desk) -> None:
    ends = f"{STARTS}\nends = 2026-11-15"
    await desk.load(CALLS + customer(more=ends))
    desk.clock("2026-11-16T00:00:00Z")
    assert (await desk.close("2026-11"))["due"] == "0.00"

    await desk.load(CALLS + customer(more=STARTS))
    await desk.use("2026-11-15T23:59:00Z", 1)
    await desk.use("2026-11-16T00:00:00Z", 2)
    desk.clock("2026-12-01T00:00:00Z")

    (rest,) = (await desk.invoice("2026-12"))["adjustments"]
    assert rest["amount"] == "0.03"


async def test_who_began_earlier_than_was_said_pays_for_the_days_before(
    desk: Desk,
) -> None:
    half = customer(plan="pro", more="starts = 2026-11-16")
    await desk.load(CALLS + half)
    await desk.use("2026-11-10T00:00:00Z", 7)
    await desk.use("2026-11-18T00:00:00Z", 10)
    desk.clock("2026-12-01T00:00:00Z")
    final = await desk.close("2026-11")
    assert final["due"] == "25.50"
    december = await desk.invoice("2026-12")

    earlier = CALLS + customer(plan="pro", more="starts = 2026-10-22")
    wanted = wanted_of(configure(desk.folder, meterline=earlier, pricing=BASIC + PRO))
    expected = await desk.web.parts.terms.preview(wanted)
    money = await of_terms(
        desk.web.parts.database, desk.web.parts.terms.terms, expected
    )
    await desk.load(earlier)

    # 15 more days of November and 7 calls, and 10 of 31 days of October.
    (rest,) = (await desk.invoice("2026-10"))["adjustments"]
    assert (rest["period"], rest["amount"]) == ("2026-11", "25.35")
    assert [str(owed.amount) for owed in money.adjustments] == ["25.35"]
    assert [str(owed.amount) for owed in money.open] == ["16.13"]
    await desk.load(CALLS + half)
    await desk.load(CALLS + customer(plan="pro"))
    again = await desk.invoice("2026-12")
    assert {**again, "fresh_as_of": ""} == {**december, "fresh_as_of": ""}


async def test_what_nobody_bills_of_who_ends_later_than_was_said_is_told(
    desk: Desk,
) -> None:
    await desk.load(CALLS + customer(plan="pro", more=f"{STARTS}\nends = 2026-11-15"))
    desk.clock("2026-11-16T00:00:00Z")
    await desk.close("2026-11")

    later = customer(plan="pro", more=f"{STARTS}\nends = 2026-11-24")
    await desk.load(CALLS + later)
    desk.clock("2027-01-10T00:00:00Z")

    problems = await desk.web.parts.attention.problems()
    (told,) = [p.text for p in problems if p.code == "removed_not_billed"]
    assert "acme (15.00 usd of 2026-11)" in told


@pytest.mark.parametrize("day", ["starts = 2027-01-01", "ends = 2026-10-31"])
async def test_a_final_invoice_is_shown_whatever_days_are_said_later(
    desk: Desk, day: str
) -> None:
    await november_is_final(desk)
    final = await desk.invoice("2026-11")

    await desk.load(CALLS + customer(more=day))

    for again in (await desk.invoice("2026-11"), await desk.close("2026-11")):
        assert {**again, "fresh_as_of": ""} == {**final, "fresh_as_of": ""}
    page = await desk.web.http.get("/customers/acme", params={"period": "2026-11"})
    assert page.status_code == 200


async def test_who_comes_back_on_another_currency_pays_in_it_from_the_next_month(
    desk: Desk,
) -> None:
    await desk.load(CALLS + customer(more=STARTS))
    await desk.use("2026-11-10T00:00:00Z", 100)
    await desk.load(CALLS)

    desk.clock("2026-11-20T12:00:00Z")
    await desk.load(CALLS + customer(plan="japan", more=STARTS), BASIC + JAPAN)
    await desk.use("2026-11-20T12:00:00Z", 50)

    november = (await desk.invoice("2026-11"))["invoice"]
    assert (november["total"], november["currency"]) == ("1.50", "usd")
    desk.clock("2026-12-01T00:00:00Z")
    assert (await desk.invoice("2026-12"))["invoice"]["currency"] == "jpy"


async def test_a_zone_that_changes_after_the_last_day_moves_no_edge(
    desk: Desk,
) -> None:
    ends = f"{STARTS}\nends = 2026-11-10"
    await desk.load(CALLS + customer(more=ends))
    await desk.load(CALLS + customer(more=f'{ends}\ntime_zone = "Europe/Berlin"'))

    await desk.load(CALLS + customer(more=f'{STARTS}\ntime_zone = "Europe/Berlin"'))

    november = (await desk.invoice("2026-11"))["invoice"]["period"]
    assert november["end"] == 1_796_083_200_000  # 2026-12-01T00:00:00Z


async def test_what_is_learned_of_who_left_is_told(desk: Desk) -> None:
    await november_is_final(desk)
    await desk.load(CALLS)
    desk.clock("2026-12-02T00:00:00Z")
    assert (await desk.close("2026-12"))["due"] == "0.00"

    await desk.use("2026-11-11T00:00:00Z", 500)

    problems = await desk.web.parts.attention.problems()
    (told,) = [p.text for p in problems if p.code == "removed_not_billed"]
    assert "acme (5.00 usd of 2026-11)" in told


async def test_what_is_learned_of_who_has_ended_is_told(desk: Desk) -> None:
    await november_is_final(desk)
    await desk.load(CALLS + customer(more="ends = 2026-11-30"))
    desk.clock("2027-01-10T00:00:00Z")

    await desk.use("2026-11-11T00:00:00Z", 500)

    problems = await desk.web.parts.attention.problems()
    (told,) = [p.text for p in problems if p.code == "removed_not_billed"]
    assert "acme (5.00 usd of 2026-11)" in told
