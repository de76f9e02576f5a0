import re
from datetime import date
from decimal import Decimal

import msgspec
import pytest

from meterline_pricing import (
    Amounts,
    Catalogue,
    Group,
    Groups,
    NotFound,
    PricingError,
    RateCard,
    load,
    run_tests,
)
from meterline_pricing.models import (
    BlockTier,
    BlockTiers,
    Cell,
    Commitment,
    Conversion,
    Coupon,
    Credit,
    Discount,
    Flat,
    Graduated,
    Matrix,
    Order,
    Package,
    Percentage,
    PerGroup,
    PerUnit,
    Stairstep,
    Step,
    Tax,
    Tier,
)
from meterline_pricing.order import STEPS
from meterline_pricing.toml.load import read_overrides
from tests.plans import STARTER

D = Decimal


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


def test_a_price_with_a_mistake_keeps_its_name_for_what_refers_to_it() -> None:
    text = (
        STARTER.replace('"graduated"', '"graduated"\nfree_units = 0.5')
        .replace(
            'currency = "usd"',
            'currency = "usd"\ndiscount = [{ amount = 1, on = ["api_calls"] }]',
        )
        .replace("{ up_to = 50_000", "{ up_to = 0")
    )

    assert [line.partition(": ")[2].partition(":")[0] for line in messages(text)] == [
        "plan[0].price[0].free_units",
        "plan[0].price[0].tiers[0].up_to",
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


def test_a_last_tier_up_to_infinity_is_told_to_leave_it_out() -> None:
    text = STARTER.replace('{ unit_amount = "0.001" }', '{ up_to = "inf" }')

    assert messages(text) == [
        "p.toml:10: plan[0].price[0].tiers[1].up_to: expected an integer or a quoted"
        ' decimal, or no up_to in the last tier, not the text "inf"'
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


EVERYTHING = """\
[[plan]]
name = "all"
currency = "EUR"
version = 2
effective = 2026-02-01
rounding = "half_even"
order = "lago"
credits_lower_tax = true
prorate = "second"
minimum_spend = 1
maximum_spend = "1000.50"
commitment = { amount = 5, overage_factor = "1.5", true_up = false }
discount = [{ name = "d", percent = 5, on = ["calls"] }, { amount = 1 }]
coupon = [{ amount = 1 }]
credit = [{ amount = 1, on = ["calls"] }]
tax = [{ name = "vat", percent = 19, per = "line" }]

[[plan.price]]
meter = "calls"
name = "calls"
description = "API calls"
model = "percentage"
rate = "2.9"
fixed = "0.30"
free_events = 1
free_amount = 10
free_rule = "first_limit"
minimum = "0.10"
maximum = 9
convert = { per = 1000, times = 2, round = "half_up", precision = 2 }
free_units = 5
discounts = [{ units = 1 }, { percent = 10 }]
minimum_spend = 1
maximum_spend = 500
commitment = { amount = 3 }

[[plan.price]]
meter = "hours"
model = "matrix"
dimensions = ["region", "size"]
cells = [
  { values = { region = "eu" }, unit_amount = "0.5" },
  { values = { size = "xl" }, model = "package", size = 10, amount = 1 },
]
default = { unit_amount = 1 }

[[plan.price]]
meter = "peak"
model = "per_group"
by = ["hour"]
price = { model = "stairstep", on_exceed = "error", tiers = [{ up_to = 5, amount = 1 }] }
commitment = { amount = 5, per = "group", groups = 24 }

[[plan.price]]
meter = "blocks"
model = "block_tiers"
mode = "top"
on_exceed = "last"
tiers = [{ block_size = 1, max_blocks = 2, amount = 3 }, { block_size = 4, amount = 5 }]
commitment = { quantity = 3 }

[[plan.test]]
name = "nothing"
usage.calls = [1, "2.5"]
usage.hours = [
  { region = "eu", quantity = 2 },
  { region = "us", amounts = [1, 2] },
]
total = 0

[[override]]
customer = "acme"
plan = "all"
minimum_spend = 2
[[override.price]]
meter = "calls"
model = "flat"
amount = 1
"""


def test_every_key_reaches_its_field() -> None:
    catalogue = load(EVERYTHING)
    (plan,) = catalogue.plans

    assert plan.currency == "eur"
    assert (plan.rounding, plan.prorate) == ("half_even", "second")
    assert plan.order.steps[-1] == "credits"
    assert plan.order.credits_lower_tax
    assert (plan.minimum_spend, plan.maximum_spend) == (D(1), D("1000.50"))
    assert plan.commitment == Commitment(
        amount=D(5), overage_factor=D("1.5"), true_up=False
    )
    assert plan.discounts == (
        Discount(name="d", percent=D(5), on=("calls",)),
        Discount(amount=D(1)),
    )
    assert plan.coupons == (Coupon(amount=D(1)),)
    assert plan.credits == (Credit(amount=D(1), on=("calls",)),)
    assert plan.taxes == (Tax(name="vat", percent=D(19), per="line"),)
    assert plan.prices[0] == RateCard(
        meter="calls",
        description="API calls",
        price=Percentage(
            rate=D("2.9"),
            fixed=D("0.30"),
            free_events=D(1),
            free_amount=D(10),
            free_rule="first_limit",
            minimum=D("0.10"),
            maximum=D(9),
        ),
        convert=Conversion(per=D(1000), times=D(2), round="half_up", precision=2),
        free_units=D(5),
        discounts=(Discount(units=D(1)), Discount(percent=D(10))),
        minimum_spend=D(1),
        maximum_spend=D(500),
        commitment=Commitment(amount=D(3)),
    )
    assert plan.prices[1].price == Matrix(
        ("region", "size"),
        (
            Cell(values={"region": "eu"}, price=PerUnit(D("0.5"))),
            Cell(values={"size": "xl"}, price=Package(D(10), D(1))),
        ),
        default=PerUnit(D(1)),
    )
    assert plan.prices[2].price == PerGroup(
        Stairstep((Step(up_to=D(5), amount=D(1)),), "error"), ("hour",)
    )
    assert plan.prices[2].commitment == Commitment(amount=D(5), per="group", groups=24)
    assert plan.prices[3].price == BlockTiers(
        (
            BlockTier(block_size=D(1), max_blocks=D(2), amount=D(3)),
            BlockTier(block_size=D(4), amount=D(5)),
        ),
        "top",
    )
    assert plan.prices[3].commitment == Commitment(quantity=D(3))
    assert plan.tests[0].usage == {
        "calls": Amounts((D(1), D("2.5"))),
        "hours": Groups(
            (
                Group({"region": "eu"}, D(2)),
                Group({"region": "us"}, Amounts((D(1), D(2)))),
            )
        ),
    }
    theirs = catalogue.plan("all", customer="acme")
    assert theirs.prices[0].price == Flat(D(1))
    assert theirs.minimum_spend == 2


def test_a_catalogue_survives_json() -> None:
    catalogue = load(EVERYTHING)

    assert msgspec.json.decode(msgspec.json.encode(catalogue), type=Catalogue) == (
        catalogue
    )


def test_an_order_may_be_written_step_by_step() -> None:
    steps = ", ".join(f'"{step}"' for step in (*STEPS[:8], "tax", "credits"))

    plan = load(STARTER.replace("version = 1", f"order = [{steps}]")).plan("starter")

    assert plan.order == Order((*STEPS[:8], "tax", "credits"))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('order = "strip"', "order: unknown order `strip`; did you mean `stripe`?"),
        ('order = ["price"]', "order: steps: missing: usage_discount, amount_discount"),
        ("order = 5", "order: expected the name of an order, or its steps, not the in"),
        ("currency = 5", 'currency: expected a currency such as "usd", not the int'),
        ("minimum_spend = 5\nmaximum_spend = 4", "maximum_spend: 4 is below minimum_s"),
        ("commitment = {}", "commitment.amount: expected an amount or a quantity"),
        ("discount = [{}]", "discount[0].percent: expected exactly one of units, amo"),
        ("coupon = [{ percent = 200 }]", "coupon[0].percent: expected at most 100, n"),
        ('tax = [{ percent = 1, on = ["x"] }]', "tax[0].on[0]: unknown price `x`; "),
        ("credit = [{}]", "credit[0].amount: missing: expected an integer of 0 or mo"),
        ("prorate = true", "prorate: expected one of day, second, none, not true"),
    ],
)
def test_terms_that_make_no_sense_are_told_with_their_key(
    line: str, problem: str
) -> None:
    text = STARTER.replace('currency = "usd"\n', "")
    if not line.startswith("currency"):
        line += '\ncurrency = "usd"'

    told = messages(text.replace("version = 1", line))

    assert len(told) == 1
    assert told[0].partition("plan[0].")[2].startswith(problem)


@pytest.mark.parametrize(
    ("usage", "problem"),
    [
        ("[{ a = '1' }]", "expected a quantity or amounts beside the dimension values"),
        ("[{ quantity = 1, amounts = [1] }]", "expected a quantity or amounts beside"),
        ("[{ quantity = [{ quantity = 1 }] }]", "groups cannot be nested"),
        ("[{ a = 1, quantity = 1 }]", "expected a quantity, an array of the events'"),
        ("0.5", 'a float is not exact: write "0.5" instead of 0.5'),
        ("[0.5]", 'a float is not exact: write "0.5" instead of 0.5'),
    ],
)
def test_usage_that_makes_no_sense_is_told(usage: str, problem: str) -> None:
    (told,) = messages(STARTER.replace("120_000", usage))

    assert told.partition("usage.api_calls: ")[2].startswith(problem)


@pytest.mark.parametrize(
    ("price", "problem"),
    [
        (
            'model = "package"\nsize = 0\namount = 1',
            "size: expected more than 0, not 0",
        ),
        (
            'model = "graduated"',
            "tiers: missing: expected an array of tables [[tiers]]",
        ),
        (
            'model = "volume"\ntiers = [5]',
            "tiers[0]: expected a table, not the integer 5",
        ),
        (
            'model = "matrix"\ndimensions = ["a"]\ncells = [{ values = { b = "1" }, '
            "unit_amount = 1 }]",
            "cells[0].values: not a dimension: b",
        ),
        (
            'model = "matrix"\ndimensions = ["a"]\ncells = [{ unit_amount = 1 }]\n'
            "default = {}",
            "default.unit_amount: missing: expected an integer",
        ),
        (
            'model = "per_group"\nprice = { model = "flatt" }',
            "price.model: unknown model `flatt`; did you mean `flat`?",
        ),
        (
            'model = "flat"\namount = 1\ncommitment = { amount = 1, per = "group" }',
            "commitment.per: a commitment per group needs a per_group price",
        ),
        (
            'model = "block_tiers"\ntiers = [{ block_size = 0, amount = 1 }]',
            "tiers[0].block_size: expected more than 0, not 0",
        ),
        (
            'model = "flat"\namount = 1\nconvert = { per = 0 }',
            "convert.per: expected more than 0, not 0",
        ),
    ],
)
def test_prices_that_make_no_sense_are_told_with_their_key(
    price: str, problem: str
) -> None:
    told = messages(f'{STARTER}[[plan.price]]\nmeter = "m"\n{price}\n')

    assert any(line.partition("price[1].")[2].startswith(problem) for line in told)


def test_an_override_is_checked_with_everything_else() -> None:
    text = '[[override]]\ncustomer = "acme"\nplan = "startr"\n'

    assert messages(STARTER + text) == [
        "p.toml:17: override[0].plan: unknown plan `startr`; did you mean `starter`?"
    ]
    assert messages(f"{STARTER}{text}minimum_spend = 5\nmaximum_spend = 4\n") == [
        "p.toml:19: override[0].maximum_spend: 4 is below minimum_spend 5"
    ]


def test_a_customer_has_a_plan_otherwise_in_one_table() -> None:
    one = '[[override]]\ncustomer = "CUSTOMER"\nplan = "starter"\nminimum_spend = 5\n'
    acme, beta = one.replace("CUSTOMER", "acme"), one.replace("CUSTOMER", "beta")

    load(STARTER + acme + beta)

    assert messages(STARTER + acme + beta + acme) == [
        "p.toml:25: override[2].plan: a second table is for acme on `starter`"
    ]


@pytest.mark.parametrize("holder", ["plan", "override"])
@pytest.mark.parametrize(
    ("first", "second", "is_told"),
    [
        ("", "", True),
        ("", 'every = "period"', True),
        ('every = "period"', "", True),
        ('every = "period"', 'every = "period"', False),
        ("", 'name = "second"', False),
    ],
)
def test_credits_of_which_nobody_can_say_what_is_left_are_told(
    holder: str, first: str, second: str, is_told: bool
) -> None:
    text = STARTER
    if holder == "override":
        text += '[[override]]\ncustomer = "acme"\nplan = "starter"\n'
    for more in (first, second):
        text += f"[[{holder}.credit]]\namount = 5\n{more}\n"

    if not is_told:
        load(text)
        return
    (told,) = messages(text)
    assert (
        f"{holder}[0].credit[1].name: two credits with the same name `credit`" in told
    )


def test_a_credit_that_ends_before_it_begins_is_told() -> None:
    days = "starts = 2026-12-01\nexpires = 2026-11-30\n"

    (told,) = messages(f"{STARTER}[[plan.credit]]\namount = 5\n{days}")

    assert told == (
        "p.toml:18: plan[0].credit[0].expires: is before the first day on which it"
        " pays, 2026-12-01"
    )


def test_what_a_customer_has_otherwise_is_read_from_json_as_from_the_file() -> None:
    price = {"meter": "calls", "model": "flat", "amount": "1"}
    credit = {"amount": 5, "name": "2026-12-31", "expires": "2026-12-31"}

    (found,) = read_overrides(
        [{"plan": "basic", "price": [price], "credit": [credit]}], customer="acme"
    )

    assert (found.customer, found.plan) == ("acme", "basic")
    assert found.credits is not None
    assert found.credits[0].expires == date(2026, 12, 31)
    assert type(found.credits[0].name) is str


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"plan": "basic", "minimum_spend": 0.5}, 'write "0.5" instead of 0.5'),
        (
            {"plan": "basic", "credit": [{"amount": 1, "expires": "2026-13-01"}]},
            "override[0].credit[0].expires: ",
        ),
        ({}, "override[0].plan: missing"),
    ],
)
def test_what_is_wrong_with_it_is_told_by_its_key(
    table: dict[str, object], why: str
) -> None:
    with pytest.raises(PricingError, match=re.escape(why)):
        read_overrides([table], customer="acme")
