"""Periods in which a plan changed."""

import itertools
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from meterline_pricing import (
    Group,
    Groups,
    Invoice,
    Period,
    Plan,
    PricingError,
    RateCard,
    Usage,
    invoice,
)
from meterline_pricing.combined import combined
from meterline_pricing.models import (
    Cell,
    Commitment,
    Coupon,
    Credit,
    Discount,
    Flat,
    Graduated,
    Matrix,
    PerUnit,
    Tax,
    Tier,
    Volume,
)
from meterline_pricing.order import ORDERS
from meterline_pricing.tools import Stretch, invoice_of, unbroken

DAY_MS = 86_400_000
NOVEMBER = Period(0, 30 * DAY_MS, "2026-11")  # 30 days from the epoch: as good as any
PER_CENT = RateCard(price=PerUnit("0.01"), meter="calls")
FEE_50 = RateCard(price=Flat("50"), name="fee")
TIERED = RateCard(
    price=Graduated((Tier(up_to=100, unit_amount=0), Tier(unit_amount="0.5"))),
    meter="calls",
)


def plan(*cards: RateCard, **terms: Any) -> Plan:
    return Plan(name="p", currency="usd", prices=cards, **terms)


def bill(*parts: tuple[Plan, int, int | Usage]) -> Invoice:
    """Invoice plans that hold up to a day of the month, each with its calls."""
    edges = [0, *(day for _, day, _ in parts)]
    stretches = [
        Stretch(
            terms,
            Period(first * DAY_MS, last * DAY_MS),
            {"calls": Decimal(used) if isinstance(used, int) else used},
        )
        for (terms, _, used), (first, last) in zip(
            parts, itertools.pairwise(edges), strict=True
        )
    ]
    return invoice_of(stretches, NOVEMBER)


def test_a_dearer_plan_from_the_20th_costs_its_days_and_its_calls() -> None:
    pro = plan(FEE_50, RateCard(price=PerUnit("0.05"), meter="calls"))

    drawn = bill((plan(PER_CENT), 19, 100), (pro, 30, 0))

    assert drawn.total == Decimal("19.33")  # 100 x 0.01 + 50 x 11/30
    assert [line.amount for line in drawn.lines] == [
        Decimal("1.00"),
        Decimal("18.33"),
        Decimal("0.00"),
    ]


def test_a_fee_that_both_plans_have_is_one_fee() -> None:
    dearer = RateCard(price=PerUnit("0.02"), meter="calls")
    thirds = (10, 20, 30)
    parts = [
        (plan(FEE_50, card), day, 100)
        for card, day in zip((PER_CENT, dearer, PER_CENT), thirds, strict=True)
    ]

    drawn = bill(*parts)

    fees = [line for line in drawn.lines if line.kind == "fee"]
    assert [line.amount for line in fees] == [Decimal("50.00")]
    assert drawn.total == Decimal("54.00")


def test_tiers_of_a_price_that_stays_go_on() -> None:
    cheap, dear = plan(TIERED), plan(TIERED, FEE_50)

    drawn = bill((cheap, 15, 80), (dear, 30, 80))

    (usage,) = [line for line in drawn.lines if line.kind == "usage"]
    assert usage.quantity == 160
    assert usage.amount == Decimal("30.00")  # 60 above the first 100, not 0


def test_tiers_of_a_new_price_begin_anew() -> None:
    other = RateCard(
        price=Graduated((Tier(up_to=100, unit_amount=0), Tier(unit_amount="0.9"))),
        meter="calls",
    )

    drawn = bill((plan(TIERED), 15, 120), (plan(other), 30, 90))

    assert [line.amount for line in drawn.lines] == [Decimal("10.00"), Decimal("0.00")]


def test_a_minimum_that_both_plans_have_holds_for_the_period() -> None:
    dearer = RateCard(price=PerUnit("1"), meter="calls")
    one = plan(PER_CENT, minimum_spend=100)
    other = plan(dearer, minimum_spend=100)

    # All of the usage is in the second half, and enough for the whole month.
    assert bill((one, 15, 0), (other, 30, 120)).total == Decimal("120.00")
    assert bill((one, 15, 0), (other, 30, 20)).total == Decimal("100.00")


def test_a_minimum_of_one_plan_alone_is_cut_to_its_days() -> None:
    drawn = bill((plan(PER_CENT, minimum_spend=90), 10, 0), (plan(PER_CENT), 30, 0))

    assert drawn.total == Decimal("30.00")


def test_what_was_used_under_a_minimum_counts_towards_it() -> None:
    drawn = bill(
        (plan(PER_CENT, minimum_spend=90), 10, 5000), (plan(PER_CENT), 30, 1000)
    )

    assert drawn.total == Decimal("60.00")


def test_a_coupon_of_an_amount_is_given_once() -> None:
    terms = {"coupons": (Coupon(name="hello", amount=10),)}
    dearer = RateCard(price=PerUnit("0.02"), meter="calls")

    drawn = bill((plan(PER_CENT, **terms), 15, 600), (plan(dearer, **terms), 30, 1000))

    assert drawn.coupons == Decimal("10.00")
    assert drawn.total == Decimal("16.00")  # 6 + 20 - 10


@pytest.mark.parametrize(
    "terms",
    [
        {"coupons": (Coupon(name="hello", amount=10),)},
        {"credits": (Credit(name="hello", amount=10),)},
        {"discounts": (Discount(name="hello", amount=10),)},
    ],
)
def test_an_amount_is_given_once_where_each_side_is_charged_by_itself(
    terms: dict[str, Any],
) -> None:
    taxed = plan(PER_CENT, taxes=(Tax(percent=20),), **terms)

    drawn = bill((plan(PER_CENT, **terms), 15, 600), (taxed, 30, 2000))

    taken = [line.amount for line in drawn.lines if line.name == "hello"]
    assert taken == [-6, -4]
    assert drawn.total - drawn.tax == 16  # 6 - 6 + 20 - 4


def test_a_credit_pays_once() -> None:
    terms = {"credits": (Credit(name="prepaid", amount=10),)}
    dearer = RateCard(price=PerUnit("0.02"), meter="calls")

    drawn = bill((plan(PER_CENT, **terms), 15, 600), (plan(dearer, **terms), 30, 1000))

    assert drawn.credits == Decimal("10.00")


def test_a_customer_who_starts_in_the_middle_pays_a_share_of_what_holds() -> None:
    stretches = [
        Stretch(plan(FEE_50), Period(15 * DAY_MS, 24 * DAY_MS), {}),
        Stretch(plan(FEE_50, PER_CENT), Period(24 * DAY_MS, 30 * DAY_MS), {}),
    ]

    drawn = invoice_of(stretches, NOVEMBER)

    assert drawn.total == Decimal("25.00")


def test_lines_of_a_part_say_for_which_days_they_are() -> None:
    dearer = RateCard(price=PerUnit("0.02"), meter="calls")

    drawn = bill((plan(FEE_50, PER_CENT), 15, 100), (plan(FEE_50, dearer), 30, 100))

    assert [line.description for line in drawn.lines] == [
        "calls (1970-01-01 to 1970-01-15)",
        "fee",
        "calls (1970-01-16 to 1970-01-30)",
    ]


@given(
    st.lists(st.tuples(st.integers(1, 29), st.integers(0, 500)), max_size=4),
    st.booleans(),
)
def test_a_change_that_changes_nothing_changes_no_cent(
    cuts: list[tuple[int, int]], has_tax: bool
) -> None:
    taxes = (Tax(name="VAT", percent="8.25"),) if has_tax else ()
    same = plan(
        FEE_50,
        TIERED,
        taxes=taxes,
        minimum_spend="61.3",
        coupons=(Coupon(percent="7"),),
        credits=(Credit(amount=3),),
    )
    days = sorted({day for day, _ in cuts})
    used = [n for _, n in cuts[: len(days)]]

    parts = [(same, day, n) for day, n in zip(days, used, strict=True)]
    drawn = bill(*parts, (same, 30, 11))

    whole = invoice(same, {"calls": Decimal(sum(used) + 11)}, NOVEMBER)
    assert drawn.total == whole.total
    assert [(x.name, x.amount) for x in drawn.lines] == [
        (x.name, x.amount) for x in whole.lines
    ]


DOLLAR = RateCard(price=PerUnit(1), meter="calls")
SAME_DOLLAR = RateCard(price=Graduated((Tier(unit_amount=1),)), meter="calls")
"""Another price, which costs the same."""


def test_a_limit_of_all_prices_counts_what_discounts_left() -> None:
    half = {"discounts": (Discount(percent=50),)}
    most = {"maximum_spend": 90, **half}
    least = {"minimum_spend": 100, **half}

    capped = bill((plan(DOLLAR, **most), 15, 80), (plan(SAME_DOLLAR, **most), 30, 80))
    raised = bill((plan(DOLLAR, **least), 15, 80), (plan(SAME_DOLLAR, **least), 30, 80))

    assert capped.total == 80  # half of 160 is below the maximum
    assert raised.total == 100  # and below the minimum


def test_a_tax_is_one_line_over_a_change_and_rounded_once() -> None:
    taxes = {"taxes": (Tax(name="VAT", percent=19),)}
    dearer = RateCard(price=PerUnit("0.02"), meter="calls")

    drawn = bill((plan(PER_CENT, **taxes), 15, 2), (plan(dearer, **taxes), 30, 1))

    (tax,) = [line for line in drawn.lines if line.kind == "tax"]
    assert tax.amount == Decimal("0.01")  # 19% of 0.04, not of 0.02 and of 0.02
    assert drawn.lines[-1] == tax


def test_each_credit_pays_for_what_is_charged_while_the_plan_has_it() -> None:
    least, fee = {"minimum_spend": 30}, RateCard(price=Flat(30), name="fee")
    old = Credit(name="old", amount=7)
    new = Credit(name="new", amount=90)
    grown = Credit(name="old", amount=10)

    left = bill(
        (plan(DOLLAR, credits=(old,), **least), 15, 5),
        (plan(SAME_DOLLAR, fee, credits=(new,), **least), 30, 4),
    )
    kept = bill(
        (plan(DOLLAR, credits=(old,)), 15, 8),
        (plan(SAME_DOLLAR, credits=(grown,)), 30, 8),
    )

    # Half of the fee, 4, and what is missing from the minimum.
    assert paid_by(left) == ["old -5.00", "new -25.00"]
    assert left.total == 0
    assert paid_by(kept) == ["old -7.00", "old -3.00"]


def test_terms_of_some_prices_are_of_what_is_charged_by_these_at_any_time() -> None:
    terms = {
        "taxes": (Tax(name="VAT", percent=10, on=("fee",)),),
        "coupons": (Coupon(percent=50, on=("calls",)),),
    }

    drawn = bill(
        (plan(FEE_50, DOLLAR, **terms), 15, 6),
        (plan(FEE_50, SAME_DOLLAR, **terms), 30, 4),
    )

    assert drawn.coupons == 5  # of all calls, before and behind
    assert drawn.tax == 5
    assert drawn.total == 50 + 10 - 5 + 5


def paid_by(drawn: Invoice) -> list[str]:
    return [f"{x.name} {x.amount}" for x in drawn.lines if x.kind == "credit"]


def terms() -> st.SearchStrategy[dict[str, Any]]:
    """Return what stands beside the prices of a plan, of all of them together."""
    money, percent = st.integers(1, 90), st.integers(1, 99)
    discount = st.one_of(
        st.builds(Discount, amount=money), st.builds(Discount, percent=percent)
    )
    coupon = st.one_of(
        st.builds(Coupon, amount=money), st.builds(Coupon, percent=percent)
    )
    commitment = st.builds(
        Commitment, amount=money, overage_factor=st.sampled_from(("0.5", "1", "1.5"))
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "minimum_spend": st.integers(1, 60),
            "maximum_spend": st.integers(60, 200),
            "commitment": commitment,
            "discounts": st.tuples(discount),
            "coupons": st.tuples(coupon),
            "credits": st.tuples(st.builds(Credit, amount=money)),
            "taxes": st.tuples(st.builds(Tax, percent=percent)),
            "order": st.sampled_from(sorted(ORDERS)),
        },
    )


@given(terms(), st.lists(st.integers(0, 120), min_size=2, max_size=4))
def test_where_a_price_changes_to_one_that_costs_the_same_no_cent_does(
    beside: dict[str, Any], used: list[int]
) -> None:
    cards = itertools.cycle((DOLLAR, SAME_DOLLAR))
    parts = [
        (plan(FEE_50, card, **beside), day, n)
        for card, day, n in zip(
            cards, (3, 15, 22, 30)[-len(used) :], used, strict=False
        )
    ]

    drawn = bill(*parts)

    whole = invoice(plan(FEE_50, DOLLAR, **beside), {"calls": Decimal(sum(used))})
    assert drawn.total == whole.total
    assert (drawn.tax, drawn.credits) == (whole.tax, whole.credits)


def test_a_price_in_other_words_goes_on() -> None:
    off = {"discounts": (Discount(amount=1),), "minimum_spend": 40}
    said = [
        replace(TIERED, description=words, source=words, **off) for words in ("a", "b")
    ]
    fees = [RateCard(price=Flat("10.01"), name="fee", source=s) for s in ("a", "b")]

    drawn = bill((plan(said[0], fees[0]), 15, 80), (plan(said[1], fees[1]), 30, 80))

    # 100 of 160 are free: 30.00 - 1.00, and 11.00 to the minimum.
    assert [(line.description, line.amount) for line in drawn.lines] == [
        ("b", 29),
        ("fee", Decimal("10.01")),
        ("calls: minimum", 11),
    ]


def test_an_amount_off_a_price_is_given_once_over_a_change_of_the_price() -> None:
    off = (Discount(amount=30), Discount(amount=5), Discount(percent=50))
    cheap, dear = (
        RateCard(price=PerUnit(unit), meter="calls", discounts=off) for unit in (1, 2)
    )

    drawn = bill((plan(cheap), 15, 32), (plan(dear), 30, 50))

    # 32 - 30 - 2 = 0; 100 - 3 = 97, and half of it.
    assert [line.amount for line in drawn.lines] == [0, Decimal("48.50")]


def test_amounts_of_one_name_are_each_given_once_where_sides_are_charged_by_themselves() -> (
    None
):
    terms = {
        "discounts": (
            Discount(amount=60, on=("fee",)),
            Discount(percent=10, on=("calls",)),
            Discount(amount=15, on=("calls",)),
        )
    }
    fee = RateCard(price=Flat("100"), name="fee")

    drawn = bill(
        (plan(fee, DOLLAR, minimum_spend=0, **terms), 15, 10),
        (plan(fee, DOLLAR, minimum_spend=1, **terms), 30, 105),
    )

    # 50 - 50 and 50 - 10 of the fee; 10 - 10, and 105 - 5 - 10% of the calls.
    assert drawn.total == 0 + 40 + 0 + 90


def test_a_gap_and_two_currencies_are_refused() -> None:
    gap = [
        Stretch(plan(PER_CENT), Period(0, 5), {}),
        Stretch(plan(PER_CENT), Period(6, 9), {}),
    ]
    with pytest.raises(PricingError, match="gap"):
        invoice_of(gap, NOVEMBER)

    yen = Plan(name="j", currency="jpy", prices=(PER_CENT,))
    with pytest.raises(PricingError, match="currency"):
        bill((plan(PER_CENT), 5, 0), (yen, 30, 0))


MATRIX = RateCard(
    price=Matrix(
        dimensions=("method",),
        cells=(
            Cell(values={"method": "GET"}, price=PerUnit("0.01")),
            Cell(values={"method": "POST"}, price=PerUnit("0.02")),
        ),
    ),
    meter="calls",
)


def by_method(**used: int) -> Groups:
    return Groups(tuple(Group({"method": m}, Decimal(n)) for m, n in used.items()))


def test_what_nobody_priced_is_shown_and_refuses_nothing() -> None:
    drawn = bill((plan(MATRIX), 30, by_method(GET=1000, PROPFIND=1, POST=1000)))

    assert drawn.total == Decimal("30.00")
    (odd,) = drawn.unpriced_groups
    assert odd.values == {"method": "PROPFIND"}
    assert odd.quantity == 1


def test_usage_by_group_goes_on_over_a_change() -> None:
    drawn = bill(
        (plan(MATRIX), 15, by_method(GET=1)),
        (plan(MATRIX, FEE_50), 30, by_method(GET=2, POST=3, HEAD=4)),
    )

    assert drawn.total == Decimal("25.09")
    assert [group.quantity for group in drawn.unpriced_groups] == [4]


def test_a_fee_says_the_days_that_it_is_for_where_only_a_coupon_came() -> None:
    drawn = bill(
        (plan(FEE_50), 15, 0),
        (plan(FEE_50, coupons=(Coupon(percent="10"),)), 30, 0),
    )

    fees = [line.description for line in drawn.lines if line.kind == "fee"]
    assert fees == [
        "fee (1970-01-01 to 1970-01-15)",
        "fee (1970-01-16 to 1970-01-30)",
    ]


SEATS = RateCard(price=PerUnit(10), meter="seats")
BY_SEATS = RateCard(
    price=Volume((Tier(up_to=10, unit_amount=2), Tier(unit_amount=1)), tier_by="seats"),
    meter="calls",
)


def level(terms: Plan, first: int, last: int, seats: int, **since: Any) -> Stretch:
    """Return days with calls as many as days, and so many seats."""
    calls = Decimal(last - first)
    used: dict[str, Usage] = {"seats": Decimal(seats), "calls": calls}
    return Stretch(terms, Period(first * DAY_MS, last * DAY_MS), used, **since)


@pytest.mark.parametrize(("most", "due"), [(12, 120), (0, 0)])
def test_what_does_not_add_up_is_taken_as_it_is_over_a_change_elsewhere(
    most: int, due: int
) -> None:
    stretches = [
        level(plan(SEATS), 0, 15, 12),
        level(plan(SEATS, FEE_50), 15, 30, 5, since={0: {"seats": Decimal(most)}}),
    ]

    drawn = invoice_of(stretches, NOVEMBER)

    assert unbroken(stretches) == [frozenset(), {0}]
    (seats,) = [line for line in drawn.lines if line.meter == "seats"]
    assert seats.amount == due
    assert drawn.total == due + 25


def test_a_price_that_changes_has_nothing_from_before_the_change() -> None:
    dearer = RateCard(price=PerUnit(20), meter="seats")
    stretches = [
        level(plan(SEATS, FEE_50), 0, 10, 3),
        level(plan(dearer, FEE_50), 10, 20, 3),
        level(plan(dearer, FEE_50), 20, 30, 4, since={10 * DAY_MS: {"seats": 4}}),
    ]

    drawn = invoice_of(stretches, NOVEMBER)

    assert unbroken(stretches) == [frozenset(), frozenset(), {0, 10 * DAY_MS}]
    assert drawn.total == 30 + 80 + 50


def test_nothing_goes_on_where_the_terms_of_a_whole_plan_change() -> None:
    stretches = [
        level(plan(SEATS), 0, 15, 3),
        level(plan(SEATS, minimum_spend=Decimal(1)), 15, 30, 3),
    ]

    assert unbroken(stretches) == [frozenset(), frozenset()]


def test_the_meter_that_finds_a_tier_is_taken_over_a_change_elsewhere() -> None:
    parts = (0, 15, 12), (15, 30, 0)
    one, other = (
        level(plan(BY_SEATS, *fee), *days)
        for fee, days in zip(((), (FEE_50,)), parts, strict=True)
    )

    drawn = invoice_of([one, other], NOVEMBER)

    assert drawn.total == 30 + 25  # all 30 calls in the tier of 12 seats
    assert drawn.unpriced == ()
    charged = invoice_of(
        [
            level(plan(BY_SEATS, SEATS, *fee), *days)
            for fee, days in zip(((), (FEE_50,)), parts, strict=True)
        ],
        NOVEMBER,
    )
    assert charged.total == 30 + 120 + 25


BASE = plan(FEE_50, TIERED, taxes=(Tax(name="VAT", percent=19),))
ADDON = Plan(
    name="addon",
    currency="usd",
    prices=(RateCard(price=Flat("30"), name="seats"),),
    taxes=(Tax(name="reduced", percent=7),),
)


@pytest.mark.parametrize(
    ("days", "seats", "reduced"),
    [
        ([(0, 15, False), (15, 30, True)], "15.00", "1.05"),
        ([(0, 15, True), (15, 30, False)], "15.00", "1.05"),
        ([(0, 10, False), (10, 20, True), (20, 30, False)], "10.00", "0.70"),
    ],
)
def test_an_addon_with_another_tax_leaves_what_is_beside_it_alone(
    days: list[tuple[int, int, bool]], seats: str, reduced: str
) -> None:
    both = combined([BASE, ADDON])

    drawn = bill(*((both if has else BASE, last, 80) for _, last, has in days))

    used = 80 * len(days)
    calls = (used - 100) * Decimal("0.5")
    assert {line.name: line.amount for line in drawn.lines} == {
        "fee": Decimal("50.00"),  # one for the month
        "calls": calls,  # the first 100 are free once
        "seats": Decimal(seats),
        "VAT": (50 + calls) * Decimal("0.19"),
        "reduced": Decimal(reduced),
    }
    assert len(drawn.lines) == 5


def test_a_minimum_holds_for_the_period_where_an_addon_has_another_tax() -> None:
    base = replace(BASE, minimum_spend=Decimal(200))

    drawn = bill((base, 15, 0), (combined([base, ADDON]), 30, 0))

    assert {line.name: line.amount for line in drawn.lines if line.amount} == {
        "fee": Decimal("50.00"),
        "seats": Decimal("15.00"),
        "minimum": Decimal("135.00"),
        "VAT": Decimal("35.15"),  # on the fee, and on what is missing
        "reduced": Decimal("1.05"),
    }


def test_a_price_goes_on_where_an_addon_has_one_of_its_name() -> None:
    named = replace(
        ADDON, prices=(RateCard(price=PerUnit("1"), meter="tokens", name="calls"),)
    )

    drawn = bill((BASE, 15, 80), (combined([BASE, named]), 30, 80))

    assert [(line.name, line.quantity) for line in drawn.lines[:3]] == [
        ("fee", None),
        ("calls", 160),
        ("addon: calls", 0),
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"taxes": (Tax(name="VAT", percent=7),)},
        {"taxes": (Tax(name="other", percent=19),)},
        {"taxes": (Tax(name="VAT", percent=19, on=("fee",)),)},
        {"coupons": (Coupon(name="welcome", percent=10),)},
    ],
)
def test_a_price_with_other_terms_is_charged_by_itself_on_each_side(
    other: dict[str, Any],
) -> None:
    after = replace(BASE, **other)

    drawn = bill((BASE, 15, 80), (after, 30, 80))

    assert [line.name for line in drawn.lines if line.kind in ("fee", "usage")] == [
        *("fee", "calls", "fee", "calls"),
    ]


def test_a_meter_with_another_price_and_tax_is_charged_by_itself() -> None:
    after = plan(
        FEE_50,
        RateCard(price=PerUnit("1"), meter="calls", name="requests"),
        taxes=(
            Tax(name="VAT", percent=19, on=("fee",)),
            Tax(name="reduced", percent=7, on=("requests",)),
        ),
    )

    drawn = bill((BASE, 15, 80), (after, 30, 80))

    assert [line.name for line in drawn.lines if line.kind in ("fee", "usage")] == [
        *("fee", "calls", "fee", "requests"),
    ]


def test_two_terms_of_one_name_are_not_taken_for_one() -> None:
    one = plan(FEE_50, coupons=(Coupon(name="gift", amount=10, on=("fee",)),))
    seats = RateCard(price=Flat("30"), name="seats")
    other = plan(seats, coupons=(Coupon(name="gift", amount=20, on=("seats",)),))

    drawn = bill((one, 15, 0), (other, 30, 0))

    # 10 of the first half, and what that left of 20 of the second.
    coupons = [line.amount for line in drawn.lines if line.kind == "coupon"]
    assert coupons == [Decimal("-10.00"), Decimal("-10.00")]


def test_an_idle_part_is_not_shown_where_another_follows() -> None:
    dearer = RateCard(price=PerUnit("0.02"), meter="calls")
    free = RateCard(price=PerUnit("0"), meter="calls")

    def shown(*parts: tuple[Plan, int, int]) -> list[str]:
        return [line.explanation for line in bill(*parts).lines_to_show]

    assert shown((plan(PER_CENT), 15, 0), (plan(dearer), 30, 7)) == [
        "7 x $0.02 = $0.14"
    ]
    # What was used for nothing is shown, and so is the last part, and what ends.
    assert len(shown((plan(free), 15, 7), (plan(dearer), 30, 0))) == 2
    assert shown((plan(PER_CENT), 15, 0), (plan(dearer), 30, 0)) == [
        "0 x $0.02 = $0.00"
    ]
    assert shown((plan(PER_CENT, FEE_50), 15, 0), (plan(FEE_50), 30, 0)) == [
        "0 x $0.01 = $0.00",
        "$50.00 flat = $50.00",
    ]
    assert shown((plan(PER_CENT), 30, 0)) == ["0 x $0.01 = $0.00"]
    assert shown((BASE, 30, 0))[-1] == "19% of $50.00 = $9.50"


@st.composite
def own_terms(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Return what an add-on, or what it comes on top of, may have for its own prices."""
    percents = st.integers(0, 60).map(Decimal)
    return {
        "taxes": tuple(
            Tax(name=f"{name} tax {i}", percent=percent)
            for i, percent in enumerate(draw(st.lists(percents, max_size=2)))
        ),
        "discounts": tuple(
            Discount(name=f"{name} discount", percent=percent)
            for percent in draw(st.lists(percents, max_size=1))
        ),
        "coupons": tuple(
            Coupon(name=f"{name} coupon {i}", amount=percent)
            for i, percent in enumerate(draw(st.lists(percents, max_size=2)))
        ),
    }


@given(
    own_terms("base"),
    own_terms("addon"),
    st.integers(1, 28),
    st.integers(1, 28),
    st.lists(st.integers(0, 300), min_size=3, max_size=3),
)
def test_an_addon_of_some_days_costs_what_it_does_alone(
    base_terms: dict[str, Any],
    addon_terms: dict[str, Any],
    first: int,
    more: int,
    used: list[int],
) -> None:
    base, addon = replace(BASE, **base_terms), replace(ADDON, **addon_terms)
    both, last = combined([base, addon]), min(first + more, 29)

    drawn = bill(
        *zip((base, both, base), (first, last, 30), used, strict=True),
    )

    alone = invoice(base, {"calls": sum(used)})
    beside = invoice(addon, {}, share=(last - first, 30))
    assert drawn.total == alone.total + beside.total
    assert drawn.tax == alone.tax + beside.tax
