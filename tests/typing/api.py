"""Every public name, used the way a user would. Type-checked, never run.

``tests/unit/test_house.py`` sees to it that no name is left out.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import assert_type

from starlette.applications import Starlette

import meterline
from meterline import (
    NOISE,
    Handle,
    Meter,
    MeterMiddleware,
    Stats,
    api_key_subject,
    current,
    from_api_key,
    from_state,
    from_trusted_header,
    from_user,
    portal_token,
    read_portal_key,
    record,
    set_property,
    set_subject,
    set_total,
    skip,
)
from meterline.llm import metered
from meterline_pricing import (
    Amounts,
    Calendar,
    Catalogue,
    Charge,
    Charges,
    Group,
    Groups,
    Invoice,
    Line,
    NotFound,
    Override,
    Period,
    Plan,
    Price,
    PricingError,
    Problem,
    RateCard,
    TestFailure,
    Usage,
    invoice,
    json_schema,
    load,
    rate,
    run_tests,
)
from meterline_pricing.models import (
    ORDERS,
    BlockTier,
    BlockTiers,
    Capacity,
    Cell,
    Commitment,
    Conversion,
    Coupon,
    Credit,
    Discount,
    Dynamic,
    Flat,
    Graduated,
    GraduatedPercentage,
    Matrix,
    Order,
    Package,
    Percentage,
    PercentTier,
    PerGroup,
    PerUnit,
    PlanTest,
    PriceModel,
    Rounding,
    Stairstep,
    Step,
    Tax,
    Tier,
    Volume,
)
from meterline_pricing.tools import (
    CURRENCIES,
    Change,
    Currency,
    Difference,
    Finding,
    LineDifference,
    PlanChange,
    Point,
    Stretch,
    UnpricedGroup,
    change_fee,
    compare,
    currency_of,
    curve,
    difference_of,
    draw_svg,
    draw_text,
    findings,
    included_units,
    invoice_between,
    invoice_of,
    invoice_stretches,
    latest_incremental,
    money_text,
    nearest,
    next_unit,
    number_text,
    prorate,
    quantity_of,
    ranked,
    rate_and_base,
    rate_between,
    round_money,
    share_of,
    stripe_amount,
    time_weighted_sum,
    unbroken,
)

CENT = Decimal("0.01")


# --- the app side


def a_link_to_the_customers_page(customer: str) -> str:
    key = read_portal_key(Path("/var/lib/meterline/meterline.db.portal-key"))
    return f"/portal?token={portal_token(customer, key=key, ttl_s=900)}"


def meter_an_app(app: Starlette) -> None:
    app.add_middleware(MeterMiddleware)
    app.add_middleware(MeterMiddleware, subject=from_state("account"))
    app.add_middleware(MeterMiddleware, subject=from_user(), app_name="api")
    app.add_middleware(MeterMiddleware, subject=from_trusted_header("x-account"))
    app.add_middleware(MeterMiddleware, subject=from_api_key(key="0123456789abcdef"))
    app.add_middleware(MeterMiddleware, subject=lambda scope: scope["path"])
    app.add_middleware(MeterMiddleware, exclude=[*NOISE, "/internal/*", 404])
    metered = MeterMiddleware(app, socket=Path("meterline.sock"), disabled=False)
    assert_type(metered.stats, Stats)
    assert_type(metered.stats.excluded, int)
    assert_type(meterline.__version__, str)


def handle() -> None:
    record("tokens", 512)
    record("tokens", 512, model="large", cached=True, size=7)
    record("gpu_seconds", "1.25", id="job-17", source="farm")
    record("gpu_seconds", Decimal("1.25"), id=17)
    set_total("seats", 12, plan="free")
    set_property("tenant", "eu-1")
    event = current()
    assert_type(event, Handle)
    event.record("tokens", 512)
    event.record("tokens", 512, model="large", cached=True, size=7)
    event.set_property("tenant", "eu-1")
    event.record("gpu_seconds", "1.25", id="job-17", source="farm")
    event.set_total("seats", Decimal("12.5"))
    event.set_subject("acct_42")
    event.skip()
    skip()
    set_subject(api_key_subject("sk_1", key=b"0123456789abcdef"))


def meter_a_job() -> None:
    with Meter(app_name="nightly") as meter:
        meter.record("exports", 3, subject="acct_42", format="csv")
        meter.record("exports", "0.5", subject="acct_42", id="job-17", source="farm")
        assert_type(meter.flush(timeout_s=1.0), bool)


def ask_a_model(answer: dict[str, object], stream: AsyncIterator[bytes]) -> None:
    assert_type(metered(answer), dict[str, object])
    assert_type(metered(stream, provider="groq", tenant="eu-1"), AsyncIterator[bytes])
    metered(answer, to=current())
    with Meter(app_name="nightly") as meter:
        metered(answer, to=meter, subject="acct_42")


# --- the price models


def prices() -> list[Price]:
    tiers = (Tier(up_to=50_000), Tier(unit_amount="0.001"))
    assert_type(tiers[0].up_to, Decimal | None)
    assert_type(tiers[1].unit_amount, Decimal)
    per_unit = PerUnit(CENT)
    return [
        Flat(Decimal(9)),
        per_unit,
        Graduated(tiers),
        Volume(tiers, flat_at_zero=True),
        Package(1_000, 2, round="down"),
        Stairstep((Step(up_to=10, amount="5.50"),), on_exceed="error"),
        BlockTiers((BlockTier(block_size=10, amount=1),), mode="top"),
        Capacity(Decimal(10), Decimal(20), Decimal(3)),
        Percentage(rate="2.9", minimum=CENT),
        GraduatedPercentage((PercentTier(rate=Decimal(2)),)),
        Dynamic("1.2"),
        Matrix(("region",), (Cell(values={"region": "eu"}, price=per_unit),)),
        PerGroup(per_unit, by=("region",)),
    ]


def of_money(price: PriceModel) -> bool:
    assert_type(price.grouped_by, tuple[str, ...] | None)
    assert_type(price.inner, tuple[PriceModel, ...])
    return price.takes_amounts or any(of_money(inner) for inner in price.inner)


def usages() -> dict[str, Usage]:
    return {
        "calls": 120_000,
        "tokens": "12.5",
        "payments": Amounts([10, "19.90", Decimal(20)]),
        "requests": Groups((Group({"region": "eu"}, 5),)),
    }


def plan() -> Plan:
    card = RateCard(
        price=prices()[2],
        meter="calls",
        convert=Conversion(per=1_000, round="up"),
        free_units=Decimal(10),
    )
    rounding: Rounding = "half_even"
    order: Order = ORDERS["stripe"]
    return Plan(
        name="starter",
        currency="usd",
        effective=date(2026, 1, 1),
        prices=(card,),
        rounding=rounding,
        order=order,
        discounts=(Discount(percent=10),),
        commitment=Commitment(amount=Decimal(100)),
        coupons=(Coupon(amount=Decimal(5)),),
        credits=(Credit(amount=Decimal(5)),),
        taxes=(Tax(percent="8.25"),),
        tests=(PlanTest(usage={"calls": 1}, total="0.01"),),
    )


# --- rating, invoices


def rate_and_bill(usage: Mapping[str, Usage]) -> None:
    charges = rate(prices()[0], 120_000, currency="usd")
    assert_type(charges, Charges)
    assert_type(charges.charges[0], Charge)
    assert_type(rate_between(prices()[1], 10, 20), Charges)
    assert_type(rate_and_base(charges.charges[0]), tuple[Decimal, Decimal] | None)
    november = Calendar(time_zone="Europe/Berlin", starts=date(2026, 1, 5)).named(
        "2026-11"
    )
    assert_type(november, Period)
    drawn = invoice(plan(), usage, november)
    assert_type(drawn, Invoice)
    assert_type(drawn.lines[0], Line)
    assert_type(drawn.total, Decimal)
    assert_type(invoice_between(plan(), None, usage), Invoice)
    stretch = Stretch(plan(), november, dict(usage))
    assert_type(invoice_stretches([stretch], november), tuple[Invoice, ...])
    assert_type(unbroken([stretch]), list[frozenset[int]])
    together = invoice_of([stretch], november, time_zone="UTC")
    assert_type(together, Invoice)
    assert_type(together.unpriced_groups, tuple[UnpricedGroup, ...])
    assert_type(quantity_of(usage["calls"]), Decimal)


def split_periods(whole: Period, part: Period) -> None:
    share = share_of(part, whole, by="second")
    assert_type(share, tuple[int, int] | None)
    assert_type(prorate("30", (10, 30), currency="usd"), Decimal)
    assert_type(change_fee(10, 20, (10, 30), currency="usd"), PlanChange)
    assert_type(time_weighted_sum([(0, 5)], whole), Decimal)
    assert_type(latest_incremental([(0, 5)], whole), Change)


def read_prices(text: str) -> None:
    try:
        catalogue = load(text)
    except NotFound as error:
        print(error)
        raise
    except PricingError as error:
        assert_type(error.problems, tuple[Problem, ...])
        raise
    assert_type(catalogue, Catalogue)
    assert_type(run_tests(catalogue.plans), tuple[TestFailure, ...])
    override = Override(customer="acme", plan="starter", minimum_spend="9.99")
    print(catalogue.plan("starter", at=date(2026, 11, 1)), override, json_schema())


def look(usage: Mapping[str, Usage]) -> None:
    assert_type(included_units(plan().price_of("calls")), Decimal)
    points = curve(prices()[2], up_to=100_000)
    assert_type(points, tuple[Point, ...])
    odd = findings(prices()[3], currency="usd")
    assert_type(odd, tuple[Finding, ...])
    assert_type(next_unit(plan().prices[0], 7), Decimal)
    print(draw_text(points, currency="usd"))
    print(draw_svg(points, currency="usd", title="calls", findings=odd))
    difference = compare("acme", plan(), plan(), usage)
    assert_type(difference, Difference)
    assert_type(difference.lines, tuple[LineDifference, ...])
    before = invoice(plan(), usage)
    print(ranked([difference, difference_of("acme", before, before)]))


def write_money(amount: Decimal) -> None:
    dollars = currency_of("usd")
    assert_type(dollars, Currency)
    assert_type(CURRENCIES["jpy"], Currency)
    print(money_text(round_money(amount, dollars, "half_up"), dollars))
    print(number_text(amount), stripe_amount(amount, "usd"), nearest("usb", CURRENCIES))
