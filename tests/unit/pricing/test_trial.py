from decimal import Decimal

import pytest

from meterline_pricing import (
    Override,
    Period,
    Plan,
    PricingError,
    RateCard,
    invoice,
)
from meterline_pricing.models import (
    Commitment,
    Coupon,
    Credit,
    Discount,
    Flat,
    PerUnit,
)
from meterline_pricing.tools import Stretch, invoice_of

DAY_MS = 86_400_000


def plan(**more: object) -> Plan:
    card = RateCard(
        meter="calls",
        price=PerUnit("0.50"),
        minimum_spend=20,
        commitment=Commitment(amount=30),
    )
    fee = RateCard(name="fee", price=Flat(30))
    return Plan(name="pro", currency="usd", prices=(card, fee), **more)  # type: ignore[arg-type]


def test_on_trial_all_is_shown_and_costs_nothing() -> None:
    free = plan(
        minimum_spend=100,
        commitment=Commitment(amount=50),
        coupons=(Coupon(amount=5, periods=1),),
    ).on_trial

    drawn = invoice(free, {"calls": 1_200})

    assert [(line.name, line.quantity, line.amount) for line in drawn.lines] == [
        ("calls", Decimal(1_200), Decimal("0.00")),
        ("fee", None, Decimal("0.00")),
    ]
    assert "100% free trial" in drawn.lines[0].explanation
    assert drawn.total == 0


@pytest.mark.parametrize("least", [None, 10])
def test_a_maximum_of_the_plan_is_cut_to_the_days_behind_a_trial(
    least: int | None,
) -> None:
    card = RateCard(meter="calls", price=PerUnit("0.50"))
    pro = Plan(
        name="pro",
        currency="usd",
        prices=(card,),
        minimum_spend=least,
        maximum_spend=90,
    )
    stretches = [
        Stretch(terms, Period(first * DAY_MS, last * DAY_MS), {"calls": Decimal(500)})
        for terms, first, last in ((pro.on_trial, 0, 10), (pro, 10, 30))
    ]

    drawn = invoice_of(stretches, Period(0, 30 * DAY_MS))

    # Twenty days of thirty, whatever else the plan has.
    assert drawn.total == 60


def test_an_amount_off_is_for_what_costs_something() -> None:
    off = (Discount(amount=3),)
    card = RateCard(meter="calls", price=PerUnit("0.50"), discounts=off)
    fee = RateCard(name="fee", price=Flat(30))
    terms = {"discounts": (Discount(amount=10),), "credits": (Credit(amount=1),)}
    pro = Plan(name="pro", currency="usd", prices=(card, fee), **terms)  # type: ignore[arg-type]
    stretches = [
        Stretch(terms, Period(first * DAY_MS, last * DAY_MS), {"calls": Decimal(10)})
        for terms, first, last in ((pro.on_trial, 0, 10), (pro, 10, 30))
    ]

    drawn = invoice_of(stretches, Period(0, 30 * DAY_MS))

    # Of the twenty days: 5 - 3 of the calls, 20 of the fee, less 10, and 1 paid before.
    assert drawn.total == 11


def test_a_customer_may_have_a_trial_of_their_own() -> None:
    own = Override(customer="acme", plan="pro", trial_days=30)

    assert own.applied_to(plan(trial_days=14)).trial_days == 30
    assert (
        Override(customer="acme", plan="pro", trial_days=0)
        .applied_to(plan(trial_days=14))
        .trial_days
        == 0
    )


@pytest.mark.parametrize("days", [-1, 3_651])
def test_a_trial_has_a_sensible_length(days: int) -> None:
    with pytest.raises(PricingError, match="trial_days: expected 0 to"):
        plan(trial_days=days)
    with pytest.raises(PricingError, match="trial_days: expected 0 to"):
        Override(customer="acme", plan="pro", trial_days=days)
