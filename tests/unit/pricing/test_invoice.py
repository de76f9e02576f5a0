from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meterline_pricing import (
    Amounts,
    Group,
    Groups,
    Invoice,
    Plan,
    Price,
    PricingError,
    RateCard,
    invoice,
)
from meterline_pricing.bill import split_amount
from meterline_pricing.models import (
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
    Tax,
    Tier,
    Volume,
)
from meterline_pricing.order import STEPS
from meterline_pricing.tools import invoice_between, rate_and_base

D = Decimal
DOLLAR = PerUnit(D(1))


def plan(*prices: RateCard, **terms: Any) -> Plan:
    terms.setdefault("currency", "usd")
    return Plan(name="pro", version=3, prices=prices, **terms)


def lines(result: Invoice) -> list[tuple[str, str, str]]:
    return [(line.kind, line.name, f"{line.amount:f}") for line in result.lines]


def calls(price: Price = DOLLAR, **terms: Any) -> RateCard:
    return RateCard(meter="calls", price=price, **terms)


def test_an_invoice_has_a_line_for_every_price_and_says_what_has_none() -> None:
    priced = plan(
        RateCard(name="base", price=Flat(D(500)), description="Base fee"),
        calls(PerUnit(D("0.35"))),
        currency="JPY",
    )

    result = invoice(priced, {"calls": 3, "tokens": 9})

    assert [line.explanation for line in result.lines] == [
        "¥500 flat = ¥500",
        "3 x ¥0.35 = ¥1 (rounded from 1.05)",
    ]
    assert [line.description for line in result.lines] == ["Base fee", "calls"]
    assert result.total == D(501)
    assert result.unpriced == ("tokens",)
    assert result.currency == "jpy"


def test_an_invoice_survives_json() -> None:
    result = invoice(plan(calls(), taxes=(Tax(percent=D(10)),)), {"calls": 3})

    assert msgspec.json.decode(msgspec.json.encode(result), type=Invoice) == result


def test_usage_that_can_not_be_rated_names_its_meter() -> None:
    with pytest.raises(PricingError, match=r"^usage\.calls: expected a number of 0"):
        invoice(plan(calls()), {"calls": -1})
    with pytest.raises(PricingError, match=r"^usage\.calls\.values\[1\]: expected"):
        invoice(plan(calls()), {"calls": [1, -1]})


def test_units_are_converted_and_free_units_come_off_what_is_converted() -> None:
    million = Conversion(per=D(1_000_000), round="up")
    priced = plan(calls(convert=million, free_units=D(1)))

    result = invoice(priced, {"calls": 2_000_001})

    assert result.lines[0].explanation == (
        "2,000,001 / 1,000,000 = 3; 1 free; 2 x $1.00 = $2.00"
    )
    assert result.lines[0].quantity == 2_000_001


@pytest.mark.parametrize(
    ("conversion", "total"),
    [
        (Conversion(per=D(3)), "33.33"),
        (Conversion(per=D(3), round="down"), "33.00"),
        (Conversion(per=D(3), round="up"), "34.00"),
        (Conversion(per=D(8), round="half_up"), "13.00"),
        (Conversion(per=D(3), round="up", precision=1), "33.40"),
        (Conversion(per=D(3), round="up", precision=-1), "40.00"),
        (Conversion(times=D("1.2")), "120.00"),
    ],
)
def test_conversions_round_as_they_say(conversion: Conversion, total: str) -> None:
    result = invoice(plan(calls(convert=conversion)), {"calls": 100})

    assert f"{result.total:f}" == total


def test_a_third_of_half_a_cent_three_times_is_half_a_cent() -> None:
    priced = plan(calls(PerUnit(D("0.015")), convert=Conversion(per=D(3))))

    assert invoice(priced, {"calls": 1}).total == D("0.01")


def test_groups_are_converted_one_by_one_where_the_price_tells_them_apart() -> None:
    tens = Conversion(per=D(10), round="up")
    usage = {"calls": {"eu": 11, "us": 11}}
    matrix = Matrix(("region",), (Cell(values={}, price=DOLLAR),))

    assert invoice(plan(calls(PerGroup(DOLLAR), convert=tens)), usage).total == 4
    assert invoice(plan(calls(matrix, convert=tens)), usage).total == 4
    assert invoice(plan(calls(convert=tens)), usage).total == 3


def test_free_units_are_used_up_in_order() -> None:
    by_group = plan(calls(PerGroup(DOLLAR), free_units=D(5)))
    groups = Groups((Group({"day": "1"}, D(3)), Group({"day": "2"}, D(4))))
    by_event = plan(calls(Percentage(rate=D(100), fixed=D(1)), free_units=D(5)))

    assert [
        c.quantity for c in invoice(by_group, {"calls": groups}).lines[0].charges
    ] == [0, 2]
    assert invoice(by_event, {"calls": [3, 4]}).total == D(4)
    assert invoice(by_event, {"calls": Amounts((D(3), D(4)))}).total == D(4)


def test_events_are_converted_one_by_one() -> None:
    cents = plan(
        calls(Percentage(rate=D(100), fixed=D(1)), convert=Conversion(per=D(100)))
    )

    assert invoice(cents, {"calls": [300, 400]}).total == D(9)


def test_discounts_of_a_price_are_charges_in_its_line() -> None:
    priced = plan(
        calls(
            discounts=(
                Discount(percent=D(10)),
                Discount(amount=D(20), name="welcome"),
                Discount(units=D(5)),
                Discount(percent=D(50)),
            )
        )
    )

    result = invoice(priced, {"calls": 105})

    assert lines(result) == [("usage", "calls", "36.00")]
    assert result.lines[0].explanation == (
        "5 free; 100 x $1.00 - $20.00 welcome - $8.00 10% discount - $36.00 50% "
        "discount = $36.00"
    )


def test_discounts_of_a_plan_are_lines_of_their_own() -> None:
    priced = plan(
        calls(),
        RateCard(name="fee", price=Flat(D(10))),
        discounts=(Discount(amount=D(5)), Discount(percent=D(10), on=("fee",))),
    )

    result = invoice(priced, {"calls": 10})

    assert lines(result) == [
        ("usage", "calls", "10.00"),
        ("fee", "fee", "10.00"),
        ("discount", "discount", "-5.00"),
        ("discount", "discount", "-0.75"),
    ]
    assert result.subtotal == result.total == D("14.25")


def test_a_discount_of_nothing_is_no_charge() -> None:
    priced = plan(calls(discounts=(Discount(amount=D(5)), Discount(percent=D(5)))))

    assert len(invoice(priced, {}).lines[0].charges) == 1


def test_a_discount_of_nothing_has_no_line() -> None:
    assert lines(invoice(plan(calls(), discounts=(Discount(amount=D(5)),)), {})) == [
        ("usage", "calls", "0.00")
    ]


def test_a_minimum_is_a_true_up_line_on_the_last_invoice_of_a_period() -> None:
    priced = plan(calls(minimum_spend=D(50)), minimum_spend=D(80))

    assert lines(invoice(priced, {"calls": 20})) == [
        ("usage", "calls", "20.00"),
        ("minimum", "calls: minimum", "30.00"),
        ("minimum", "minimum", "30.00"),
    ]
    assert invoice(priced, {"calls": 20}, is_last=False).total == 20
    assert invoice(priced, {"calls": 20}, billed={"calls": D(45)}).total == 35


def test_a_maximum_counts_what_was_billed_before() -> None:
    priced = plan(calls(maximum_spend=D(50)))

    assert lines(invoice(priced, {"calls": 60})) == [("usage", "calls", "50.00")]
    assert invoice(priced, {"calls": 60}, billed={"calls": D(45)}).total == 5
    assert invoice(priced, {"calls": 60}, billed={"calls": D(70)}).total == 0
    assert invoice(priced, {"calls": 60}, billed={"other": D(70)}).total == 50


def test_a_maximum_rounds_to_itself() -> None:
    priced = plan(calls(PerUnit(D("0.333")), maximum_spend=D(1)))

    result = invoice(priced, {"calls": 4})

    assert result.lines[0].explanation == (
        "4 x $0.333 - $0.33 above maximum $1.00 = $1.00"
    )


def test_the_maximum_of_a_plan_takes_from_all_lines() -> None:
    priced = plan(
        calls(),
        RateCard(name="fee", price=Flat(D(30))),
        maximum_spend=D(40),
        taxes=(Tax(percent=D(10), on=("fee",)),),
    )

    assert lines(invoice(priced, {"calls": 30})) == [
        ("usage", "calls", "30.00"),
        ("fee", "fee", "30.00"),
        ("maximum", "maximum", "-20.00"),
        ("tax", "tax", "2.00"),
    ]
    assert invoice(priced, {"calls": 30}, billed={"fee": D(10)}).subtotal == 30


def test_a_commitment_of_a_price() -> None:
    priced = plan(calls(commitment=Commitment(amount=D(100), overage_factor=D("1.5"))))

    assert lines(invoice(priced, {"calls": 60})) == [
        ("usage", "calls", "60.00"),
        ("commitment", "calls: commitment", "40.00"),
    ]
    assert lines(invoice(priced, {"calls": 100})) == [("usage", "calls", "100.00")]
    assert lines(invoice(priced, {"calls": 120})) == [("usage", "calls", "130.00")]
    assert invoice(priced, {"calls": 60}, is_last=False).total == 60
    # 90 were billed, so 20 of these 30 are above what was committed to.
    assert invoice(priced, {"calls": 30}, billed={"calls": D(90)}).total == 40


def test_a_commitment_counts_what_discounts_left_of_its_price() -> None:
    committed = Commitment(amount=D(100), overage_factor=D(2))
    priced = plan(
        calls(commitment=committed), discounts=(Discount(percent=D(50), name="half"),)
    )

    # 120 are 60 after the discount, so 40 are missing, as 20 are of 160.
    totals = [invoice(priced, {"calls": n}).total for n in (80, 120, 160, 200, 220)]
    assert totals == [100, 100, 100, 100, 120]


def test_an_overage_line_is_taxed_with_its_price() -> None:
    priced = plan(
        calls(
            minimum_spend=D(100), commitment=Commitment(amount=40, overage_factor=D(2))
        ),
        taxes=(Tax(percent=D(10), on=("calls",)),),
    )

    result = invoice(priced, {"calls": 30})

    assert [(line.kind, line.of, line.amount) for line in result.lines] == [
        ("usage", "calls", D(30)),
        ("minimum", "calls", D(70)),
        ("overage", "calls", D(60)),
        ("tax", "", D(16)),
    ]


def test_a_commitment_to_a_quantity_is_an_amount_at_its_price() -> None:
    tiered = Graduated((Tier(up_to=D(10), unit_amount=D(2)), Tier(unit_amount=D(1))))
    priced = plan(calls(tiered, commitment=Commitment(quantity=D(20))))

    assert invoice(priced, {"calls": 0}).total == 30


def test_a_commitment_of_a_plan() -> None:
    priced = plan(
        calls(),
        RateCard(name="fee", price=Flat(D(10))),
        commitment=Commitment(amount=D(100), overage_factor=D(2)),
    )

    assert lines(invoice(priced, {"calls": 60}))[2:] == [
        ("commitment", "commitment", "30.00")
    ]
    assert lines(invoice(priced, {"calls": 110}))[2:] == [
        ("overage", "overage", "20.00")
    ]


def test_an_overage_factor_below_one_takes_something_off() -> None:
    one = plan(calls(commitment=Commitment(amount=D(100), overage_factor=D("0.8"))))
    two = plan(
        calls(),
        RateCard(name="fee", price=Flat(D(10))),
        commitment=Commitment(amount=D(100), overage_factor=D("0.5")),
    )

    assert lines(invoice(one, {"calls": 110})) == [("usage", "calls", "108.00")]
    assert lines(invoice(two, {"calls": 110}))[2:] == [("overage", "overage", "-10.00")]


def test_no_step_takes_more_than_the_steps_before_it_left() -> None:
    free = Commitment(amount=D(0), overage_factor=D(0))
    priced = plan(
        calls(minimum_spend=D("0.04"), commitment=free),
        RateCard(meter="bytes", price=DOLLAR),
        maximum_spend=D(200),
        commitment=free,
    )

    result = invoice(priced, {"calls": 0, "bytes": D("228.54")})

    # The maximum took a cent of the four, so the first overage can take three.
    assert lines(result)[-3:] == [
        ("maximum", "maximum", "-28.58"),
        ("overage", "overage", "-0.03"),
        ("overage", "overage", "-199.97"),
    ]
    assert result.total == 0


def test_what_is_lost_by_rounding_is_not_taken_again() -> None:
    free = Commitment(amount=D(0), overage_factor=D(0))
    priced = plan(calls(minimum_spend=D("20.0049"), commitment=free))

    result = invoice(priced, {"calls": D("10.0049")})

    # Two lines of 10.0049 are 10.00 each, and not 20.01 together.
    assert [line.amount for line in result.lines] == [D(10), D(10), D(-20)]


def test_a_commitment_per_group_holds_each_group_against_it() -> None:
    commitment = Commitment(quantity=D(5), overage_factor=D(2), per="group", groups=4)
    priced = plan(calls(PerGroup(PerUnit(D(2))), commitment=commitment))
    usage = {"calls": {"1": 2, "2": 8}}

    # Hour 1: 4, lacks 6. Hour 2: 16, 6 above, twice. Two hours without usage.
    assert lines(invoice(priced, usage)) == [
        ("usage", "calls", "26.00"),
        ("commitment", "calls: commitment", "26.00"),
    ]
    assert invoice(priced, usage, is_last=False).total == 26


def test_a_price_has_its_percentage_off_what_the_plans_amount_left() -> None:
    priced = plan(
        calls(discounts=(Discount(percent=D(50)),)),
        discounts=(Discount(amount=D(60), name="launch"),),
    )

    result = invoice(priced, {"calls": 100})

    # The amount comes first: half of 40 is left, and the line says what it is half of.
    assert [(line.amount, line.explanation) for line in result.lines] == [
        (D(80), "100 x $1.00 - $20.00 50% discount = $80.00"),
        (D(-60), "- $60.00 launch = -$60.00"),
    ]


def test_coupons_are_chained_and_never_take_more_than_there_is() -> None:
    priced = plan(
        calls(),
        coupons=(
            Coupon(percent=D(20)),
            Coupon(amount=D(10)),
            Coupon(amount=D(100), name="big"),
        ),
    )

    result = invoice(priced, {"calls": 50})

    assert lines(result)[1:] == [
        ("coupon", "coupon", "-10.00"),
        ("coupon", "coupon", "-10.00"),
        ("coupon", "big", "-30.00"),
    ]
    assert (result.subtotal, result.coupons, result.total) == (D(50), D(50), D(0))


TAXED = {
    "credits": (Credit(amount=D(30)),),
    "taxes": (Tax(percent=D(10)),),
}


@pytest.mark.parametrize(
    ("order", "tax", "total"),
    [
        (Order(), "5.00", "25.00"),
        (Order(credits_lower_tax=True), "2.00", "22.00"),
        (Order((*STEPS[:8], "tax", "credits")), "5.00", "25.00"),
    ],
)
def test_credits_pay_before_or_after_tax(order: Order, tax: str, total: str) -> None:
    result = invoice(plan(calls(), order=order, **TAXED), {"calls": 50})

    assert (f"{result.tax:f}", f"{result.total:f}") == (tax, total)
    assert result.credits == 30


@given(
    st.integers(0, 10**6),
    st.lists(st.integers(-(10**6), 10**6), min_size=1).filter(lambda n: sum(n) > 0),
)
@example(2, [3, 10, 1])
@example(1, [-1, -1, 4])
def test_what_is_missing_of_a_split_goes_to_the_largest_fractions(
    cents: int, weights: list[int]
) -> None:
    cent = Decimal("0.01")
    cents = min(cents, sum(weights))

    parts = split_amount(cents * cent, [n * cent for n in weights], cent)

    exact = [Fraction(cents * n, sum(weights)) for n in weights]
    down = [part // 1 for part in exact]
    missing = cents - sum(down)
    first = sorted(range(len(exact)), key=lambda i: (down[i] - exact[i], i))[:missing]
    wanted = [n + (i in first) for i, n in enumerate(down)]
    assert parts == [n * cent for n in wanted]


def test_credits_after_tax_pay_the_tax_too() -> None:
    order = Order((*STEPS[:8], "tax", "credits"))

    assert invoice(plan(calls(), order=order, **TAXED), {"calls": 20}).total == 0
    assert invoice(plan(calls(), **TAXED), {"calls": 20}).total == 2


def test_taxes_are_by_line_or_by_invoice_and_on_what_coupons_left() -> None:
    fee = RateCard(name="fee", price=Flat(D("10.05")))
    by_line = plan(
        calls(PerUnit(D("10.05"))),
        fee,
        coupons=(Coupon(amount=D(10), on=("fee",)),),
        taxes=(
            Tax(percent=D(10), per="line"),
            Tax(percent=D(5), on=("fee",), name="local"),
        ),
    )

    result = invoice(by_line, {"calls": 1})

    assert lines(result)[3:] == [("tax", "tax", "1.02"), ("tax", "local", "0.00")]
    assert result.lines[3].explanation == ("10% of $10.05 + 10% of $0.05 = $1.02")


def test_coupons_after_tax_take_from_the_tax_too() -> None:
    order = Order((*STEPS[:7], "tax", "coupon", "credits"))
    priced = plan(
        calls(),
        order=order,
        coupons=(Coupon(percent=D(10)),),
        taxes=(Tax(percent=D(10)),),
    )

    assert invoice(priced, {"calls": 100}).total == 99


@pytest.mark.parametrize(
    ("rounding", "total"),
    [("half_up", "0.13"), ("half_even", "0.12"), ("up", "0.13"), ("down", "0.12")],
)
def test_a_line_is_rounded_once_as_the_plan_says(rounding: str, total: str) -> None:
    priced = plan(calls(PerUnit(D("0.125"))), rounding=rounding)

    assert f"{invoice(priced, {'calls': 1}).total:f}" == total


@pytest.mark.parametrize(
    ("currency", "total"), [("jpy", "1"), ("usd", "1.23"), ("bhd", "1.235")]
)
def test_a_line_has_the_decimals_of_its_currency(currency: str, total: str) -> None:
    priced = plan(calls(PerUnit(D("1.2345"))), currency=currency)

    assert f"{invoice(priced, {'calls': 1}).total:f}" == total


@pytest.mark.parametrize("share", [(32, 31), (1.5, 31), (0, 0), (-1, 31), (1, True)])
def test_what_is_no_share_of_a_period_is_refused(share: Any) -> None:
    with pytest.raises(PricingError, match="expected a share of a whole, not"):
        invoice(plan(calls()), {}, share=share)


def test_what_was_billed_before_may_be_below_zero_but_is_no_float() -> None:
    priced = plan(calls(minimum_spend=D(50)))

    assert invoice(priced, {}, billed={"calls": "-5"}).total == 55
    assert invoice(priced, {}, billed={"calls": -5}).total == 55
    wrong: Any = {"calls": 1.5}
    with pytest.raises(PricingError, match=r"^billed\.calls: a float is not exact"):
        invoice(priced, {}, billed=wrong)


def test_taxes_can_be_rounded_together() -> None:
    taxes = (Tax(name="a", percent=5), Tax(name="b", percent=5), Tax(percent=0))
    priced = plan(calls(), taxes=taxes)

    apart = invoice(priced, {"calls": "0.1"})
    lago = plan(calls(), taxes=taxes, order="lago")
    together = invoice(lago, {"calls": "0.1"})

    assert [(line.name, f"{line.amount}") for line in apart.lines[1:]] == [
        ("a", "0.01"),
        ("b", "0.01"),
        ("tax", "0.00"),
    ]
    assert [(line.name, f"{line.amount}") for line in together.lines[1:]] == [
        ("a, b, tax", "0.01")
    ]
    assert len(together.lines[1].charges) == 3


def test_a_share_of_a_period_cuts_fees_and_limits_but_no_usage() -> None:
    priced = plan(
        RateCard(name="fee", price=Flat(D(31))),
        calls(minimum_spend=D(62), maximum_spend=D(620)),
        commitment=Commitment(amount=D(310)),
    )

    result = invoice(priced, {"calls": 5}, share=(10, 31))

    assert result.lines[0].explanation == "$31.00 flat x 10/31 = $10.00"
    assert lines(result) == [
        ("fee", "fee", "10.00"),
        ("usage", "calls", "5.00"),
        ("minimum", "calls: minimum", "15.00"),
        ("commitment", "commitment", "70.00"),
    ]


def test_the_parts_of_a_period_show_what_was_billed_before() -> None:
    priced = plan(
        calls(Package(D(100), D(5)), minimum_spend=D(12)),
        coupons=(Coupon(amount=D(3)),),
    )

    first = invoice_between(priced, None, {"calls": 150}, is_last=False)
    second = invoice_between(priced, {"calls": 150}, {"calls": 160})

    assert first.total == 7
    assert lines(second) == [
        ("usage", "calls", "0.00"),
        ("minimum", "calls: minimum", "2.00"),
        ("coupon", "coupon", "0.00"),
    ]
    assert second.lines[0].explanation == (
        "2 x $5.00 per 100 = $10.00 - $10.00 billed before = $0.00"
    )
    assert second.lines[0].quantity is None
    assert first.total + second.total == invoice(priced, {"calls": 160}).total
    nothing = invoice_between(priced, {"calls": 0}, {"calls": 0}, is_last=False)
    assert nothing.lines[0].explanation == "0 x $5.00 per 100 = $0.00"


def test_a_line_that_is_gone_in_the_end_is_taken_back() -> None:
    tiers = (Tier(up_to=D(10), unit_amount=D(10)), Tier(unit_amount=D(1)))
    priced = plan(calls(Volume(tiers)), maximum_spend=D(50), minimum_spend=D(1))
    two = plan(
        calls(Volume(tiers)),
        RateCard(name="fee", price=Flat(D(1))),
        maximum_spend=D(50),
    )

    first = invoice_between(two, None, {"calls": 10}, is_last=False)
    second = invoice_between(two, {"calls": 10}, {"calls": 11})

    assert lines(first)[2] == ("maximum", "maximum", "-51.00")
    assert lines(second) == [
        ("usage", "calls", "-89.00"),
        ("fee", "fee", "0.00"),
        ("maximum", "maximum", "51.00"),
    ]
    assert first.total + second.total == invoice(two, {"calls": 11}).total == 12
    assert second.lines[2].explanation == "$0.00 + $51.00 taken off before = $51.00"
    assert invoice(priced, {"calls": 10}).total == 50


@pytest.mark.parametrize(
    ("make", "kwargs", "expected"),
    [
        (
            Discount,
            {},
            "percent: expected exactly one of units, amount, percent, not 0",
        ),
        (
            Discount,
            {"amount": 1, "percent": 1},
            "percent: expected exactly one of units, amount, percent, not 2",
        ),
        (Coupon, {"percent": 101}, "percent: expected at most 100, not 101"),
        (Commitment, {}, "amount: expected an amount or a quantity"),
        (
            Commitment,
            {"amount": 1, "groups": -1},
            "groups: expected 0 to 1000000, not -1",
        ),
        (Conversion, {"per": 0}, "per: expected more than 0, not 0"),
        (Conversion, {"precision": 99}, "precision: expected -12 to 12, not 99"),
        (Order, {"steps": ("price",)}, "steps: missing: usage_discount"),
        (Order, {"steps": STEPS[1:] + STEPS[:1]}, "steps: expected usage_discount and"),
        (Order, {"steps": (*STEPS, "tax")}, "steps[10]: tax stands here twice"),
        (
            Order,
            {"steps": ("pirce", *STEPS)},
            "steps[0]: unknown choice `pirce`; did you mean `price`?",
        ),
    ],
)
def test_terms_that_make_no_sense_can_not_be_built(
    make: Any, kwargs: dict[str, Any], expected: str
) -> None:
    with pytest.raises(PricingError) as caught:
        make(**kwargs)

    assert str(caught.value).startswith(expected)


SEATS = Volume(
    (Tier(up_to=10, unit_amount=2), Tier(unit_amount=1, flat_amount=5)),
    tier_by="seats",
)


def test_another_meter_finds_the_tier_and_is_not_unpriced() -> None:
    plan = Plan(
        name="p", currency="usd", prices=(RateCard(price=SEATS, meter="seat_days"),)
    )

    found = invoice(plan, {"seats": 12, "seat_days": "7.5", "other": 1})
    none = invoice(plan, {"seat_days": "7.5"})

    assert (found.total, none.total) == (Decimal("12.50"), Decimal("15.00"))
    assert found.unpriced == ("other",)


def test_a_price_inside_another_cannot_look_at_another_meter() -> None:
    with pytest.raises(PricingError, match=r"price\.tier_by: only a price that is in"):
        RateCard(price=PerGroup(SEATS), meter="seat_days")


@pytest.mark.parametrize("currency", ["usd", "jpy", "kwd", "inr"])
@pytest.mark.parametrize("percent", ["0", "7", "9.975", "1200"])
@pytest.mark.parametrize("price", ["0", "3", "12345678901"])
def test_a_charge_of_a_tax_says_its_rate_and_its_base(
    currency: str, percent: str, price: str
) -> None:
    taxes = (Tax(percent=D(percent)),)
    fee = RateCard(name="fee", price=Flat(D(price)))

    first, tax = invoice(plan(fee, currency=currency, taxes=taxes), {}).lines

    assert rate_and_base(tax.charges[0]) == (D(percent), D(price))
    assert rate_and_base(first.charges[0]) is None
