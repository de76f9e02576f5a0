from decimal import Decimal
from xml.etree import ElementTree

import pytest

from meterline_pricing import Plan, Price, PricingError, RateCard, invoice
from meterline_pricing.models import (
    BlockTier,
    BlockTiers,
    Capacity,
    Conversion,
    Discount,
    Flat,
    Graduated,
    GraduatedPercentage,
    Package,
    Percentage,
    PercentTier,
    PerGroup,
    PerUnit,
    Stairstep,
    Step,
    Tier,
    Volume,
)
from meterline_pricing.tools import (
    Difference,
    LineDifference,
    Point,
    compare,
    curve,
    difference_of,
    draw_svg,
    draw_text,
    findings,
    ranked,
)

D = Decimal
CLIFF = Volume((Tier(up_to=D(100), unit_amount=D(2)), Tier(unit_amount=D(1))))


@pytest.mark.parametrize(
    ("price", "end"),
    [
        (CLIFF, 125),
        (PerUnit(D(1)), 125),
        (Flat(D(1)), 125),
        (Graduated((Tier(unit_amount=D(1)),)), 125),
        (Package(D(10), D(1), free_units=D(5)), D("106.25")),
        (Capacity(D(40), D(1), D(1)), 50),
        (Percentage(rate=D(1), free_amount=D(8)), 10),
        (PerGroup(CLIFF), 125),
        (Stairstep((Step(up_to=D(8), amount=D(1)),), "error"), 8),
        (Stairstep((Step(up_to=D(8), amount=D(1)),)), 10),
        (
            BlockTiers((BlockTier(block_size=D(2), max_blocks=D(4), amount=D(1)),)),
            10,
        ),
        (
            BlockTiers(
                (BlockTier(block_size=D(2), max_blocks=D(4), amount=D(1)),),
                on_exceed="error",
            ),
            8,
        ),
        (
            GraduatedPercentage((PercentTier(up_to=D(80), rate=D(1)), PercentTier())),
            100,
        ),
    ],
)
def test_a_curve_goes_a_little_beyond_the_last_edge(price: Price, end: Decimal) -> None:
    points = curve(price)

    assert points[0].quantity == 0
    assert points[-1].quantity == end
    assert [p.quantity for p in points] == sorted(p.quantity for p in points)


def test_a_curve_has_points_on_both_sides_of_a_jump() -> None:
    costs = {point.quantity: point.amount for point in curve(CLIFF, points=2)}

    assert (costs[D(100)], costs[D(101)]) == (D(200), D(101))
    assert curve(CLIFF, up_to=50)[-1].amount == 100


def test_a_curve_has_limits() -> None:
    with pytest.raises(PricingError, match="expected 2 to 2000 points"):
        curve(CLIFF, points=1)
    with pytest.raises(PricingError, match="up to more than 0"):
        curve(CLIFF, up_to=0)


def test_a_cliff_and_a_dead_tier_are_found() -> None:
    dead = Graduated(
        (
            Tier(up_to=D(10), unit_amount=D(1)),
            Tier(up_to=D(20), unit_amount=D(1)),
            Tier(unit_amount=D(1), flat_amount=D(5)),
        )
    )
    same = Volume((Tier(up_to=D(10), flat_amount=D(1)), Tier(flat_amount=D(1))))
    percent = GraduatedPercentage(
        (PercentTier(up_to=D(10), rate=D(1)), PercentTier(rate=D(1)))
    )

    assert [f.message for f in findings(CLIFF, currency="usd")] == [
        "a cliff at 100: one more unit costs $99.00 less"
    ]
    assert [f.message for f in findings(dead)] == [
        "tier 2 costs what tier 1 costs: leave one out"
    ]
    assert [f.kind for f in findings(same)] == ["dead tier"]
    assert [f.quantity for f in findings(percent)] == [10]
    assert findings(Stairstep((Step(up_to=D(8), amount=D(1)),), "error")) == ()


def test_a_curve_is_drawn_as_text() -> None:
    drawn = draw_text(curve(CLIFF, points=6), currency="usd", width=26, height=5)

    assert drawn == (
        "$200.00 |                    *\n"
        "        |               *\n"
        "        |          *         *    *\n"
        "        |     *\n"
        "  $0.00 |*\n"
        "        +--------------------------\n"
        "         0                      125\n"
    )


def test_a_curve_of_nothing_and_a_free_price_can_be_drawn() -> None:
    assert "$1.00 |" in draw_text(curve(PerUnit(D(0))), currency="usd")
    with pytest.raises(PricingError, match="expected at least one point"):
        draw_text([], currency="usd")
    with pytest.raises(PricingError, match="expected 10 to 500 by 3 to 200"):
        draw_text(curve(CLIFF), currency="usd", width=5)


def test_an_svg_is_well_formed_whatever_the_title() -> None:
    points = curve(CLIFF)
    svg = draw_svg(
        points,
        currency="usd",
        title='<script>"&',
        findings=findings(CLIFF),
    )

    root = ElementTree.fromstring(svg)

    names = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert names.count("line") == 1
    assert names.count("script") == 0
    assert root[0].text == '<script>"&'


def test_the_curve_of_a_rate_card_counts_what_its_meter_counts() -> None:
    tiers = (
        Tier(up_to=5, unit_amount=2),
        Tier(up_to=8, unit_amount=1),
        Tier(unit_amount=1),
    )
    card = RateCard(
        meter="tokens",
        price=Volume(tiers),
        convert=Conversion(per=1_000, round="up"),
        free_units=2,
        discounts=(Discount(units=1), Discount(percent=10)),
    )

    at = {point.quantity: point.amount for point in curve(card)}

    # 3 of 8 thousand are free; the 8,001st token begins the sixth that is paid.
    assert [at[D(8_000)], at[D(8_001)], max(at)] == [10, 6, 13_750]
    assert [finding.message for finding in findings(card, currency="usd")] == [
        "a cliff at 8,000: one more unit costs $4.00 less",
        "tier 3 costs what tier 2 costs: leave one out",
    ]
    assert [finding.quantity for finding in findings(card)] == [8_000, 11_000]


def test_the_curve_of_a_rate_card_ends_where_its_price_ends() -> None:
    price = Stairstep((Step(up_to=10, amount=5),), on_exceed="error")
    card = RateCard(meter="gb", price=price, convert=Conversion(per=100))

    assert curve(card)[-1] == Point(D(1_000), D(5))
    assert findings(card) == ()
    assert curve(RateCard(meter="gb", price=PerUnit(2)))[-1] == Point(D(125), D(250))


def test_prices_are_compared_customer_by_customer_and_line_by_line() -> None:
    def plan(unit_amount: str, *, currency: str = "usd") -> Plan:
        return Plan(
            name="p",
            currency=currency,
            prices=(
                RateCard(meter="calls", price=PerUnit(D(unit_amount))),
                RateCard(name="fee", price=Flat(D(5))),
            ),
        )

    old, new = plan("0.01"), plan("0.02")
    small = compare("small", old, new, {"calls": 100})
    big = compare("big", old, new, {"calls": 10_000})

    assert (big.before, big.after, big.difference) == (D(105), D(205), D(100))
    assert [(line.name, line.difference) for line in big.lines] == [("calls", D(100))]
    assert [one.customer for one in ranked([small, big])] == ["big", "small"]
    assert big.unpriced == ()
    assert compare("c", old, Plan(name="p", currency="usd"), {"calls": 5, "gb": 1}) == (
        Difference(
            customer="c",
            currency="usd",
            before=D("5.05"),
            after=D(0),
            difference=D("-5.05"),
            lines=(
                LineDifference("calls", D("0.05"), D(0), D("-0.05")),
                LineDifference("fee", D(5), D(0), D(-5)),
            ),
            unpriced=("calls",),
        )
    )
    with pytest.raises(PricingError, match="usd and eur do not compare"):
        difference_of("c", invoice(old, {}), invoice(plan("0.01", currency="eur"), {}))
