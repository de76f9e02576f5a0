"""What a change within a period gives, or asks for, once."""

from decimal import Decimal
from typing import Any

import pytest

from meterline_pricing import Invoice, Period, Plan, RateCard, Usage
from meterline_pricing.models import (
    Commitment,
    Credit,
    Discount,
    PerGroup,
    PerUnit,
)
from meterline_pricing.price import Price
from meterline_pricing.tools import Stretch, invoice_of

DAY_MS = 86_400_000


def plan(
    price: Price, *, name: str = "", credit: Credit | None = None, **more: Any
) -> Plan:
    card = RateCard(meter="calls", name=name, price=price, **more)
    return Plan(
        name="p", currency="usd", prices=(card,), credits=(credit,) if credit else ()
    )


def halves(one: Plan, other: Plan, used: Usage) -> Invoice:
    """Invoice a month with as much used under each of two plans."""
    middle, end = 15 * DAY_MS, 30 * DAY_MS
    stretches = [
        Stretch(one, Period(0, middle), {"calls": used}),
        Stretch(other, Period(middle, end), {"calls": used}),
    ]
    return invoice_of(stretches, Period(0, end, "a month"))


@pytest.mark.parametrize("name", ["", "calls v2"])
def test_an_amount_off_a_price_is_given_once_whatever_the_price_is_called(
    name: str,
) -> None:
    off = (Discount(amount=30),)

    drawn = halves(
        plan(PerUnit(1), discounts=off),
        plan(PerUnit(2), name=name, discounts=off),
        Decimal(20),
    )

    assert drawn.total == 60 - 30


def test_a_credit_once_and_one_in_each_period_of_its_name_are_two() -> None:
    once, each = Credit(amount=100), Credit(amount=20, every="period")

    drawn = halves(
        plan(PerUnit(1), credit=once), plan(PerUnit(2), credit=each), Decimal(15)
    )

    paid = [
        (line.every, int(line.amount)) for line in drawn.lines if line.kind == "credit"
    ]
    assert paid == [("once", -15), ("period", -20)]


def test_a_part_of_a_period_has_its_share_of_the_groups_that_a_commitment_counts() -> (
    None
):
    committed = Commitment(amount=10, per="group", groups=4)
    one, other = (
        plan(PerGroup(PerUnit(amount)), commitment=committed) for amount in (2, 3)
    )

    drawn = halves(one, other, {"eu": 2})

    # Of two groups in each half, one lacks 6 of 10 and then 4, and one all of it.
    assert [(line.kind, int(line.amount)) for line in drawn.lines] == [
        *(("usage", 4), ("usage", 6), ("commitment", 16), ("commitment", 14)),
    ]
