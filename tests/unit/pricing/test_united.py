"""What holds beside a plan that is replaced goes on as if nothing had happened."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from meterline_pricing import Invoice, Period, Plan, RateCard
from meterline_pricing.combined import combined
from meterline_pricing.models import Coupon, Discount, Flat, Graduated, Tax, Tier
from meterline_pricing.tools import Stretch, invoice_of

DAY_MS = 86_400_000
TIERS = Graduated((Tier(up_to=100), Tier(unit_amount=1)))
RATES = st.one_of(st.none(), st.sampled_from([5, 10, 19]))


def main(name: str, tax: int | None, discount: int | None, coupon: int | None) -> Plan:
    return Plan(
        name=name,
        currency="usd",
        prices=(RateCard(name=f"fee of {name}", price=Flat(30)),),
        taxes=() if tax is None else (Tax(name="VAT", percent=tax),),
        discounts=() if discount is None else (Discount(percent=discount),),
        coupons=() if coupon is None else (Coupon(percent=coupon),),
    )


def addon(tax: int | None = 10) -> Plan:
    return Plan(
        name="addon",
        currency="usd",
        prices=(RateCard(meter="calls", price=TIERS),),
        taxes=() if tax is None else (Tax(name="VAT", percent=tax),),
    )


def month(*halves: list[Plan]) -> Invoice:
    """Invoice a month of two halves with 60 calls each, which go on over 100."""
    edges = [0, 15 * DAY_MS, 30 * DAY_MS]
    stretches = [
        Stretch(
            combined(plans, halves[:i]),
            Period(edges[i], edges[i + 1]),
            {"calls": Decimal(60)},
        )
        for i, plans in enumerate(halves)
    ]
    return invoice_of(stretches, Period(0, edges[-1], "a month"))


def calls(drawn: Invoice) -> list[int]:
    return [int(line.amount) for line in drawn.lines if line.name == "calls"]


@given(
    st.tuples(RATES, RATES, RATES),
    st.one_of(st.none(), st.tuples(RATES, RATES, RATES)),
    RATES,
)
def test_tiers_of_an_addon_go_on_whatever_replaces_the_main_plan(
    before: tuple[int | None, int | None, int | None],
    after: tuple[int | None, int | None, int | None] | None,
    tax: int | None,
) -> None:
    then = [main("b", *after)] if after else []

    drawn = month([main("a", *before), addon(tax)], [*then, addon(tax)])

    assert calls(drawn) == [20]


def test_each_price_has_the_tax_of_its_own_plan() -> None:
    drawn = month(
        [main("a", 19, None, None), addon()], [main("b", 5, None, None), addon()]
    )

    taxes = [(line.name, line.amount) for line in drawn.lines if line.kind == "tax"]
    assert taxes == [
        ("VAT", Decimal("2.85")),
        ("VAT (addon)", Decimal("2.00")),
        ("VAT", Decimal("0.75")),
    ]


def test_a_tax_that_is_told_apart_no_more_is_still_that_tax() -> None:
    drawn = month([main("a", 19, None, None), addon()], [addon()])

    assert calls(drawn) == [20]
    assert [line.amount for line in drawn.lines if line.kind == "tax"] == [
        *(Decimal("2.85"), Decimal("2.00")),
    ]


@pytest.mark.parametrize("other", [Coupon(amount=15), Coupon(percent=10)])
def test_what_is_used_up_by_one_name_is_charged_on_each_side(other: Coupon) -> None:
    halves = [
        [replace(main(name, None, None, None), coupons=(coupon,)), addon()]
        for name, coupon in (("a", Coupon(amount=10)), ("b", other))
    ]

    assert calls(month(*halves)) == [0, 0]


SEATS = Plan(
    name="seats", currency="usd", prices=(RateCard(name="seats", price=Flat(200)),)
)


@pytest.mark.parametrize(
    ("seats", "off"),
    [
        (replace(SEATS, coupons=(Coupon(amount=10), Coupon(percent=10))), 19),
        (replace(SEATS, coupons=(Coupon(percent=10), Coupon(amount=10))), 20),
        (replace(SEATS, discounts=(Discount(percent=10), Discount(amount=10))), 19),
    ],
)
def test_an_addon_may_have_two_terms_that_nobody_named(seats: Plan, off: int) -> None:
    drawn = month([addon(None)], [addon(None), seats])

    # 100 for half a month, and of 120 calls 100 are free, as without it.
    assert calls(drawn) == [20]
    assert drawn.total == 20 + 100 - off


LIMITED = st.one_of(
    st.builds(Coupon, percent=st.integers(1, 99)),
    st.builds(Coupon, amount=st.integers(1, 99), periods=st.sampled_from([None, 2])),
)


@given(st.lists(LIMITED, max_size=3), st.lists(LIMITED, max_size=3))
def test_coupons_that_nobody_named_are_those_of_their_plans(
    one: list[Coupon], other: list[Coupon]
) -> None:
    """Two plans that share nothing come to what each does, whoever is there when."""
    plans = [
        Plan(
            name=name,
            currency="usd",
            prices=(RateCard(name=f"{name} fee", price=Flat(100)),),
            coupons=tuple(replace(one, name=f"{name} coupon") for one in coupons),
        )
        for name, coupons in (("a", one), ("b", other))
    ]
    nothing = Plan(name="nothing", currency="usd")

    together = month([plans[0]], plans).total

    assert together == sum(
        month(*halves).total
        for halves in (([plans[0]], [plans[0]]), ([nothing], [plans[1]]))
    )
