"""Several plans at one time, as one."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_pricing import Plan, PricingError, RateCard, invoice
from meterline_pricing.combined import combined, names_in
from meterline_pricing.models import (
    Commitment,
    Coupon,
    Credit,
    Discount,
    Flat,
    PerUnit,
    Tax,
)

VAT = Tax(name="VAT", percent=20)
ONCE: dict[str, Any] = {
    "discounts": (Discount(name="friends", percent=10),),
    "coupons": (Coupon(name="spring", amount=2),),
    "credits": (Credit(name="pack", amount=3),),
}


def plan(name: str, meter: str, fee: int = 0, **more: Any) -> Plan:
    card = RateCard(meter=meter, price=PerUnit(1))
    fees = (RateCard(name="fee", price=Flat(fee)),) if fee else ()
    return Plan(name=name, currency="usd", prices=(card, *fees), **more)


def test_one_plan_is_itself() -> None:
    base = plan("base", "calls")

    assert combined([base]) is base


def test_each_plan_has_its_lines_and_the_same_names_are_told_apart() -> None:
    both = combined([plan("base", "calls", 10), plan("addon", "tokens", 5)])

    drawn = invoice(both, {"calls": 3, "tokens": 4})

    assert both.name == "base + addon"
    assert names_in(both.name) == ["base", "addon"]
    lines = [(line.name, line.description, int(line.amount)) for line in drawn.lines]
    assert lines == [
        ("calls", "calls", 3),
        ("fee", "fee", 10),
        ("tokens", "tokens", 4),
        ("addon: fee", "fee (addon)", 5),
    ]


def test_what_is_agreed_beside_prices_is_for_those_of_its_plan() -> None:
    alone = plan("base", "calls"), plan("addon", "tokens", **ONCE)
    both = combined(alone)

    only_base = invoice(both, {"calls": 100})
    only_addon = invoice(both, {"tokens": 100})

    assert only_base.total == 100
    assert only_addon.total == 100 - 10 - 2 - 3


def test_terms_of_one_name_are_told_apart() -> None:
    both = combined([plan("base", "calls", **ONCE), plan("addon", "tokens", **ONCE)])

    assert [credit.name for credit in both.credits] == ["pack", "pack (addon)"]


def test_terms_that_name_prices_still_do() -> None:
    one = plan("base", "calls", 10, discounts=(Discount(percent=50, on=("fee",)),))

    both = combined([one, plan("addon", "tokens", 10)])

    assert both.discounts[0].on == ("fee",)
    assert invoice(both, {}).total == 15


def test_taxes_that_all_have_are_charged_once_on_everything() -> None:
    both = combined(
        [plan("base", "calls", taxes=(VAT,)), plan("addon", "tokens", taxes=(VAT,))]
    )

    drawn = invoice(both, {"calls": 10, "tokens": 20})

    assert [line.name for line in drawn.lines if line.kind == "tax"] == ["VAT"]
    assert drawn.tax == 6


@pytest.mark.parametrize(
    "beside", [{"minimum_spend": 100}, {"commitment": Commitment(amount=100)}]
)
@pytest.mark.parametrize("taxes", [(), (Tax(name="reduced", percent=7),)])
def test_what_is_missing_from_a_minimum_is_taxed_as_the_plan_that_has_it(
    beside: dict[str, Any], taxes: tuple[Tax, ...]
) -> None:
    base = plan("base", "calls", taxes=(Tax(name="VAT", percent=19),), **beside)
    addon = plan("addon", "mails", fee=10, taxes=taxes)

    drawn = invoice(combined([base, addon]), {"calls": 20})

    amounts = {line.name: line.amount for line in drawn.lines if line.kind == "tax"}
    assert amounts["VAT"] == Decimal("17.10")  # of 20 and the missing 70
    assert drawn.total == 100 + Decimal("17.10") + amounts.get("reduced", 0)


def test_a_coupon_and_a_credit_of_the_first_plan_pay_for_its_minimum_too() -> None:
    base = plan(
        "base",
        "calls",
        minimum_spend=100,
        coupons=(Coupon(amount=30),),
        credits=(Credit(amount=500),),
    )
    addon = plan("addon", "mails", fee=10)

    drawn = invoice(combined([base, addon]), {"calls": 20})

    assert (int(drawn.coupons), int(drawn.credits), int(drawn.total)) == (30, 60, 10)


def test_terms_of_a_plan_without_prices_are_for_nothing() -> None:
    bare = Plan(name="bare", currency="usd", taxes=(Tax(percent=50),))

    drawn = invoice(combined([plan("base", "calls"), bare]), {"calls": 20})

    assert (int(drawn.tax), int(drawn.total)) == (0, 20)


def test_a_tax_of_one_plan_is_on_its_prices() -> None:
    both = combined([plan("base", "calls", taxes=(VAT,)), plan("addon", "tokens")])

    assert invoice(both, {"calls": 10, "tokens": 20}).tax == 2


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"currency": "eur"}, r"they differ in `currency` \(usd and eur\)"),
        ({"period": "week"}, r"they differ in `period` \(month and week\)"),
        ({"prorate": "none"}, r"they differ in `prorate` \(day and none\)"),
        ({"order": "lago"}, "they differ in `order`"),
        ({"minimum_spend": 5}, "`addon` has a `minimum_spend` of its own"),
        ({"commitment": Commitment(amount=5)}, "`addon` has a `commitment` of its own"),
    ],
)
def test_plans_that_do_not_fit_each_other_are_refused(
    other: dict[str, Any], why: str
) -> None:
    fields: dict[str, Any] = {"name": "addon", "currency": "usd", **other}

    with pytest.raises(PricingError, match=why):
        combined([plan("base", "calls"), Plan(**fields)])


def test_two_prices_for_one_meter_are_refused() -> None:
    with pytest.raises(
        PricingError,
        match="plans `base` and `addon` cannot hold at one time: both have a price for"
        " the meter `calls`",
    ):
        combined([plan("base", "calls"), plan("addon", "calls")])


@given(st.integers(0, 1_000), st.integers(0, 1_000), st.integers(0, 1_000))
def test_together_they_come_to_what_each_does(a: int, b: int, c: int) -> None:
    plans = [
        plan("base", "calls", 10),
        plan("addon", "tokens", 5, discounts=ONCE["discounts"]),
        plan("seats", "seats", coupons=ONCE["coupons"], taxes=(VAT,)),
    ]
    usage = {"calls": a, "tokens": b, "seats": c}

    together = invoice(combined(plans), usage)

    assert together.total == sum(
        (
            invoice(
                each, {m: n for m, n in usage.items() if m == each.prices[0].meter}
            ).total
            for each in plans
        ),
        Decimal(0),
    )
