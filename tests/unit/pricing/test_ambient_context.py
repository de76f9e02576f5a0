"""Every public calculation, where any use of the ambient decimal context is an error."""

from collections.abc import Generator
from decimal import (
    ROUND_FLOOR,
    Clamped,
    Context,
    Decimal,
    FloatOperation,
    Inexact,
    Rounded,
    Subnormal,
    localcontext,
)

import pytest

from meterline_pricing import Period, Plan, RateCard, invoice, rate
from meterline_pricing.included import included_units
from meterline_pricing.models import (
    Commitment,
    Conversion,
    Coupon,
    Credit,
    Discount,
    Flat,
    PerUnit,
    Tax,
    Tier,
    Volume,
)
from meterline_pricing.tools import (
    Stretch,
    change_fee,
    compare,
    currency_of,
    curve,
    draw_svg,
    draw_text,
    findings,
    invoice_between,
    invoice_stretches,
    latest_incremental,
    money_text,
    next_unit,
    number_text,
    prorate,
    quantity_of,
    ranked,
    rate_between,
    round_money,
    stripe_amount,
    time_weighted_sum,
)

D = Decimal
TRAPS = [Clamped, FloatOperation, Inexact, Rounded, Subnormal]


@pytest.fixture(autouse=True)
def _hostile_context() -> Generator[None]:
    with localcontext(Context(prec=5, rounding=ROUND_FLOOR, traps=TRAPS)):
        yield


def card() -> RateCard:
    tiers = (Tier(up_to=1_234_567, unit_amount="0.33333333"), Tier(unit_amount="0.2"))
    return RateCard(
        meter="calls",
        price=Volume(tiers),
        convert=Conversion(per=7, round="up"),
        free_units="1.5",
        discounts=(Discount(units="3.3"), Discount(percent="3.3"), Discount(amount=1)),
        minimum_spend="1.23",
        maximum_spend="99999.99",
        commitment=Commitment(amount="777.77", overage_factor="1.37"),
    )


def plan() -> Plan:
    return Plan(
        name="p",
        currency="usd",
        prices=(card(), RateCard(name="fee", price=Flat("1234567.89"))),
        coupons=(Coupon(percent="12.345"),),
        credits=(Credit(amount="123456.78"),),
        taxes=(Tax(percent="8.875"), Tax(percent=3, per="line")),
    )


def test_invoices_do_not_use_the_ambient_context() -> None:
    used = {"calls": "7654321.5"}

    whole = invoice(plan(), used, share=(10, 31), billed={"calls": "12345.678"})
    assert whole.total == sum_exactly(line.amount for line in whole.lines)
    assert invoice_between(plan(), {"calls": "1234567.5"}, used).total > 0
    stretch = Stretch(plan(), Period(0, 86_400_000), {"calls": 5})
    assert len(invoice_stretches([stretch], stretch.period)) == 1
    assert ranked([compare("acme", plan(), plan(), used)])[0].difference == 0


def test_ratings_do_not_use_the_ambient_context() -> None:
    price = PerUnit("0.123456789012")

    assert rate(price, 10**15).amount == D("123456789012000")
    assert rate_between(price, 1, 10**15).amount == D("123456789011999.876543210988")
    assert quantity_of(["1234567.5", "2345678.75"]) == D("3580246.25")
    assert next_unit(RateCard(meter="m", price=price), 10**9) == D("0.123456789012")
    assert included_units(card()) == D("10.5")


def test_money_does_not_use_the_ambient_context() -> None:
    usd = currency_of("usd")

    assert round_money(D("1234567.895"), usd, "half_up") == D("1234567.90")
    assert stripe_amount(D("1234567.89"), "usd") == 123_456_789
    assert money_text(D("-1234567.891"), usd) == "-$1,234,567.891"
    assert number_text(D("12345678.90")) == "12,345,678.9"
    assert prorate("1234567.89", (10, 31), currency="usd") == D("398247.71")
    changed = change_fee("1234567.89", "2234567.89", (10, 31), currency="usd")
    assert changed.net == D("322580.64")


def test_quantities_and_curves_do_not_use_the_ambient_context() -> None:
    held = time_weighted_sum([(0, "123456.789"), (5, "-3.5")], Period(0, 7))
    assert held == D("123455.789")
    change = latest_incremental([(1, "1234567.5")], Period(0, 10), before=2)
    assert change.quantity == D("1234565.5")
    points, found = curve(card(), points=50), findings(card(), currency="usd")
    assert draw_text(points, currency="usd")
    assert draw_svg(points, currency="usd", title="calls", findings=found)


def sum_exactly(amounts: Generator[Decimal]) -> Decimal:
    cents = sum(int(amount.scaleb(2, Context(prec=50))) for amount in amounts)
    return D(cents).scaleb(-2, Context(prec=50))
