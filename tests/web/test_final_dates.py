"""Changes with a date, and several at once: what is final is out of their reach."""

import pytest

from meterline_sidecar.terms.keeper import TermsRefused
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

BOLT = customer("bolt", subjects="bolt_*")


async def test_a_subject_cannot_move_from_a_day_that_is_final_for_who_paid(
    desk: Desk,
) -> None:
    await november_is_final(desk)
    await desk.load(CALLS + customer() + BOLT)
    moved = CALLS + customer(subjects="other_*")
    moved += customer("bolt", subjects="acme_*", more="from = 2026-11-05")

    with pytest.raises(TermsRefused, match="it can hold from 2026-12-01 on"):
        await desk.load(moved)

    assert (await desk.invoice("2026-12"))["adjustments"] == []


@pytest.mark.parametrize("since", ["", "from = 2026-11-01"])
async def test_a_subject_that_moves_into_what_is_final_on_purpose_is_paid_once(
    desk: Desk, since: str
) -> None:
    await desk.load(CALLS + customer(more=since) + BOLT)
    await desk.use("2026-11-04T00:00:00Z", 7)
    await desk.use("2026-11-10T00:00:00Z", 100)
    desk.clock("2026-12-01T01:00:00Z")
    assert [(await desk.close("2026-11", n))["due"] for n in ("acme", "bolt")] == [
        "1.07",
        "0.00",
    ]
    moved = CALLS + customer(subjects="other_*")
    moved += customer("bolt", subjects="acme_*", more="from = 2026-11-05")

    await desk.load(moved, reason="they were bolt's from 5 November")

    dues = [(await desk.invoice("2026-12", name))["due"] for name in ("acme", "bolt")]
    assert dues == ["-1.00", "1.00"]


async def test_a_zone_moves_no_edge_of_what_is_final(desk: Desk) -> None:
    await november_is_final(desk)
    zone = 'time_zone = "America/New_York"\nfrom = 2026-11-05'

    with pytest.raises(TermsRefused, match="it can hold from 2026-12-01 on"):
        await desk.load(CALLS + customer(more=zone), reason="even on purpose")


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_subject_stays_where_it_is_until_the_day_of_its_move(
    desk: Desk, is_first: bool
) -> None:
    await desk.load(CALLS + customer() + BOLT)
    gives = customer(subjects="other_*")
    takes = customer("bolt", subjects="acme_*", more="from = 2026-11-25")

    await desk.load(CALLS + (takes + gives if is_first else gives + takes))
    await desk.use("2026-11-15T12:00:00Z", 1)

    assert (await desk.invoice("2026-11"))["due"] == "0.01"


async def test_a_plan_that_customers_are_on_keeps_its_currency(desk: Desk) -> None:
    await desk.load(CALLS + customer())

    with pytest.raises(TermsRefused, match="is in usd, and customer acme"):
        await desk.load(CALLS + customer(), BASIC.replace("usd", "eur"))


async def test_no_month_ends_in_another_currency_than_it_began_in(
    desk: Desk,
) -> None:
    await desk.load(CALLS + customer())
    japan = customer(plan="japan", more="from = 2026-11-12")

    with pytest.raises(TermsRefused, match="it can hold from 2026-12-01 on"):
        await desk.load(CALLS + japan, BASIC + JAPAN)


async def test_a_meter_that_is_renamed_counts_each_call_once(desk: Desk) -> None:
    await desk.load(CALLS + customer())
    await desk.use("2026-11-15T09:00:00Z", 10)

    await desk.load(
        CALLS.replace("calls", "requests") + customer(),
        BASIC.replace('"calls"', '"requests"'),
    )
    await desk.use("2026-11-15T12:00:00Z", 5)

    november = await desk.invoice("2026-11")
    assert (november["due"], november["invoice"]["unpriced"]) == ("0.15", [])


ZONE = 'time_zone = "Pacific/Auckland"'
DEAR = BASIC.replace("0.01", "0.09")
SECOND = DEAR.replace(
    'currency = "usd"', 'currency = "usd"\nversion = 2\neffective = 2026-10-15'
)


@pytest.mark.parametrize("since", [DEAR, BASIC + SECOND])
async def test_a_correction_on_purpose_brings_nothing_else_into_what_is_final(
    desk: Desk, since: str
) -> None:
    files = CALLS + customer(more=ZONE)
    await desk.load(files + BOLT, BASIC)
    await desk.use("2026-11-04T12:00:00Z", 7)
    await desk.use("2026-11-30T05:00:00Z", 100)
    desk.clock("2026-11-30T12:00:00Z")
    assert (await desk.close("2026-11"))["due"] == "1.07"
    # This holds from the beginning of the day, or from an earlier one.
    await desk.load(files + BOLT, since)
    moved = customer("bolt", subjects="acme_1", more="from = 2026-11-30")

    await desk.load(files + moved, since, reason="they were bolt's from the 30th")

    (adjustment,) = (await desk.invoice("2026-12"))["adjustments"]
    assert adjustment["amount"] == "-1.00"


async def test_a_correction_can_bring_a_new_plan_into_what_is_final(desk: Desk) -> None:
    await november_is_final(desk)
    plans = BASIC + DEAR.replace('"basic"', '"dear"')
    dear = customer(plan="dear", more="from = 2026-11-05")

    await desk.load(CALLS + dear, plans, reason="it was promised")

    assert (await desk.invoice("2026-12"))["due"] == "8.00"


async def test_a_correction_can_bring_a_new_version_into_what_is_final(
    desk: Desk,
) -> None:
    await desk.load(CALLS + customer(), BASIC + PRO)
    await desk.use("2026-11-10T00:00:00Z", 100)
    desk.clock("2026-12-01T01:00:00Z")
    await desk.close("2026-11")
    second = PRO.replace(
        'currency = "usd"', 'currency = "usd"\nversion = 2\neffective = 2026-11-01'
    ).replace("50", "20")
    pro = customer(plan="pro", more="from = 2026-11-01")

    await desk.load(CALLS + pro, BASIC + PRO + second, reason="promised")

    # A fee of 20, and 5.00 for calls that were 1.00.
    december = await desk.invoice("2026-12")
    assert december["adjustments"][0]["amount"] == "24.00"


async def test_a_zone_from_a_day_within_a_month_takes_no_day_off_it(desk: Desk) -> None:
    await desk.load(CALLS + customer(plan="pro"))
    zone = 'time_zone = "Europe/Berlin"\nfrom = 2026-11-20'

    await desk.load(CALLS + customer(plan="basic", more=zone))

    november = (await desk.invoice("2026-11"))["invoice"]
    assert november["period"]["end"] == 1_796_083_200_000  # 2026-12-01T00:00:00Z
    assert november["total"] == "31.67"  # 50 for 19 of 30 days
