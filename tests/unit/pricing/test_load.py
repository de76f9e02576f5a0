from datetime import date
from decimal import Decimal

import pytest

from meterline_pricing import (
    Graduated,
    NotFound,
    PricingError,
    Tier,
    load,
    run_tests,
)

STARTER = """\
[[plan]]
name = "starter"
version = 1
effective = 2026-01-01
currency = "usd"

[[plan.price]]
meter = "api_calls"
model = "graduated"
tiers = [ { up_to = 50_000, unit_amount = "0" }, { unit_amount = "0.001" } ]

[[plan.test]]
usage = { api_calls = 120_000 }
total = "70.00"
"""


def messages(text: str) -> list[str]:
    with pytest.raises(PricingError) as caught:
        load(text, file="p.toml")
    return str(caught.value).splitlines()


def test_the_plan_of_the_readme_is_read() -> None:
    plan = load(STARTER).plan("starter")

    assert (plan.version, plan.effective) == (1, date(2026, 1, 1))
    assert plan.currency == "usd"
    assert plan.price_of("api_calls").price == Graduated(
        (
            Tier(up_to=Decimal(50_000), unit_amount=Decimal(0)),
            Tier(unit_amount=Decimal("0.001")),
        )
    )


def test_examples_that_hold_give_no_failure() -> None:
    assert run_tests(load(STARTER).plans) == ()


def test_an_example_that_does_not_hold_tells_what_came_out_and_why() -> None:
    (failure,) = run_tests(load(STARTER.replace("70.00", "71.00")).plans)

    assert str(failure) == (
        "plan starter version 1, test on line 12: expected 71.00, got 70.00: "
        "api_calls: 50,000 x $0.00 + 70,000 x $0.001 = $70.00"
    )
    assert failure.line == 12


def test_an_example_that_uses_a_meter_without_price_fails() -> None:
    text = STARTER.replace("api_calls = 120_000", "api_calls = 120_000, tokens = 1")

    (failure,) = run_tests(load(text).plans)

    assert failure.explanation == "not charged for: tokens"


def test_an_example_with_usage_that_can_not_be_rated_fails() -> None:
    text = STARTER.replace('"graduated"', '"percentage"').replace(
        "tiers = [ { up_to = 50_000", "rate = 1, fixed = 1 #"
    )
    text = text.replace("rate = 1, fixed = 1", "rate = 1\nfixed = 1\n")

    (failure,) = run_tests(load(text).plans)

    assert failure.actual is None
    assert failure.explanation == (
        "usage.api_calls: this price needs the amount of every event, in order, not "
        "their total"
    )


def test_an_example_with_negative_usage_is_refused() -> None:
    assert messages(STARTER.replace("120_000", "-1")) == [
        "p.toml:13: plan[0].test[0].usage.api_calls: expected a quantity, an array of "
        "the events' amounts, or an array of groups, not the integer -1"
    ]


def test_the_version_of_a_plan_is_chosen_by_the_day() -> None:
    second = STARTER.replace("version = 1", "version = 2")
    second = second.replace("2026-01-01", "2026-07-01")
    catalogue = load(second + STARTER)

    assert catalogue.plan("starter").version == 2
    assert catalogue.plan("starter", at=date(2026, 6, 30)).version == 1
    assert catalogue.plan("starter", at=date(2026, 7, 1)).version == 2
    with pytest.raises(NotFound, match="its first version starts on 2026-01-01"):
        catalogue.plan("starter", at=date(2025, 12, 31))
    with pytest.raises(NotFound, match="did you mean `starter`"):
        catalogue.plan("startr")


def test_problems_of_plans_and_prices_are_told_together() -> None:
    text = STARTER.replace('currency = "usd"', 'curency = "usd"')
    text = text.replace('model = "graduated"', 'model = "gradated"')

    assert messages(text) == [
        'p.toml:1: plan[0].currency: missing: expected a currency such as "usd"',
        "p.toml:5: plan[0].curency: unknown key `curency`; did you mean `currency`?",
        "p.toml:9: plan[0].price[0].model: unknown model `gradated`; "
        "did you mean `graduated`?",
    ]


def test_tiers_that_overlap_or_do_not_end_are_told_with_their_line() -> None:
    text = STARTER.replace(
        "{ unit_amount =",
        '{ up_to = 50_000, unit_amount = "0" }, { up_to = 1, unit_amount =',
    )

    assert messages(text) == [
        "p.toml:10: plan[0].price[0].tiers[1].up_to: tiers overlap: 50000 is not above "
        "50000",
        "p.toml:10: plan[0].price[0].tiers[2].up_to: tiers overlap: 1 is not above 50000",
    ]


def test_a_float_price_does_not_hide_what_else_is_wrong_with_the_tiers() -> None:
    text = STARTER.replace('"0.001" }', "0.001, up_to = 60_000 }")

    assert messages(text) == [
        "p.toml:10: plan[0].price[0].tiers[1].unit_amount: a float is not exact: write "
        '"0.001" instead of 0.001',
        "p.toml:10: plan[0].price[0].tiers[1].up_to: the last tier is missing: add one "
        "without up_to, for all usage above 60000",
    ]


def test_a_plan_written_twice_is_told_once_for_version_and_date() -> None:
    assert messages(STARTER + STARTER) == [
        "p.toml:17: plan[1].version: plan `starter` has version 1 already",
        "p.toml:18: plan[1].effective: plan `starter` has effective 2026-01-01 already",
    ]


def test_two_prices_for_one_meter_are_refused() -> None:
    price = '[[plan.price]]\nmeter = "api_calls"\nmodel = "per_unit"\nunit_amount = 1\n'

    assert messages(STARTER + price) == [
        "p.toml:16: plan[0].price[1].meter: two prices for one meter `api_calls`"
    ]


def test_two_fees_of_one_name_and_a_price_without_meter_are_refused() -> None:
    fee = '[[plan.price]]\nname = "seat"\nmodel = "flat"\namount = 1\n'
    bare = '[[plan.price]]\nmodel = "flat"\namount = 1\n'
    unit = '[[plan.price]]\nname = "u"\nmodel = "per_unit"\nunit_amount = 1\n'

    assert messages(STARTER + fee + fee + bare + unit) == [
        "p.toml:20: plan[0].price[2].name: two prices of one name `seat`",
        "p.toml:23: plan[0].price[3].meter: missing: expected a meter, or a name for a "
        "fee",
        "p.toml:26: plan[0].price[4].meter: missing: only a flat price needs none",
    ]
