from decimal import (
    ROUND_UP,
    Context,
    Decimal,
    DivisionByZero,
    FloatOperation,
    Inexact,
    InvalidOperation,
    Overflow,
    Rounded,
    Subnormal,
    Underflow,
    localcontext,
)
from fractions import Fraction
from typing import Any, cast

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meterline_pricing import Plan, Price, invoice, rate
from meterline_pricing.models import Graduated, Package, PerUnit, Tier, Volume
from meterline_pricing.tools import currency_of, invoice_between, rate_between
from tests.unit.pricing.strategies import (
    amounts,
    graduated,
    plans,
    prices,
    quantities,
    rising,
    usages,
    volume,
)

HOSTILE = Context(
    prec=5,
    rounding=ROUND_UP,
    Emin=-3,
    Emax=3,
    capitals=0,
    clamp=1,
    traps=[
        DivisionByZero,
        FloatOperation,
        Inexact,
        InvalidOperation,
        Overflow,
        Rounded,
        Subnormal,
        Underflow,
    ],
)


@given(rising, quantities, quantities)
def test_more_usage_never_costs_less(price: Price, a: Decimal, b: Decimal) -> None:
    low, high = sorted((a, b))

    assert rate(price, low).amount <= rate(price, high).amount


def test_more_usage_can_cost_less_under_a_volume_price() -> None:
    price = Volume((Tier(up_to=Decimal(10), unit_amount=Decimal(2)), Tier()))

    assert rate(price, 11).amount < rate(price, 10).amount


@given(prices, st.lists(quantities, min_size=1, max_size=5))
def test_splitting_a_period_changes_nothing(price: Price, parts: list[Decimal]) -> None:
    billed = Fraction(0)
    used: Decimal | None = None
    for part in parts:
        total = exact_sum([used or Decimal(0), part])
        billed += Fraction(rate_between(price, used, total).amount)
        used = total

    assert used is not None
    assert billed == Fraction(rate(price, used).amount)


def exact_sum(numbers: list[Decimal]) -> Decimal:
    with localcontext() as context:
        context.prec = 60
        return sum(numbers, Decimal(0))


@given(plans(), st.lists(usages, min_size=1, max_size=4))
def test_the_invoices_of_a_split_period_sum_to_the_invoice_of_the_whole(
    plan: Plan, parts: list[dict[str, Decimal]]
) -> None:
    billed = Decimal(0)
    used: dict[str, Decimal] | None = None
    for i, part in enumerate(parts):
        now = {
            meter: exact_sum([(used or {}).get(meter, Decimal(0)), amount])
            for meter, amount in ((used or {}) | part).items()
            if meter in part
        }
        now = (used or {}) | now
        part_invoice = invoice_between(plan, used, now, is_last=i == len(parts) - 1)
        assert sum(line.amount for line in part_invoice.lines) == part_invoice.total
        billed += part_invoice.total
        used = now

    assert billed == invoice(plan, used or {}).total


@given(graduated | volume, quantities, st.integers(2, 1000))
def test_prices_a_thousand_times_as_high_cost_a_thousand_times_as_much(
    price: Graduated | Volume, quantity: Decimal, factor: int
) -> None:
    scaled = type(price)(
        tuple(
            Tier(
                up_to=tier.up_to,
                unit_amount=tier.unit_amount * factor,
                flat_amount=tier.flat_amount * factor,
            )
            for tier in price.tiers
        ),
        price.flat_at_zero,
    )

    assert rate(scaled, quantity).amount == exact_product(
        rate(price, quantity).amount, factor
    )


def exact_product(number: Decimal, factor: int) -> Decimal:
    with localcontext() as context:
        context.prec = 100
        return number * factor


@given(graduated, quantities, st.integers(1, 1_400))
def test_a_tier_cut_in_two_equal_ones_changes_nothing(
    price: Graduated, quantity: Decimal, cut: int
) -> None:
    bound = Decimal(cut)
    cut_tiers: list[Tier] = []
    lower = Decimal(0)
    for tier in price.tiers:
        if lower < bound and (tier.up_to is None or bound < tier.up_to):
            first = Tier(
                up_to=bound, unit_amount=tier.unit_amount, flat_amount=tier.flat_amount
            )
            cut_tiers += [first, Tier(up_to=tier.up_to, unit_amount=tier.unit_amount)]
        else:
            cut_tiers.append(tier)
        lower = tier.up_to or lower

    cut_price = Graduated(tuple(cut_tiers), price.flat_at_zero)

    assert rate(cut_price, quantity).amount == rate(price, quantity).amount


@given(amounts, quantities)
def test_a_graduated_price_with_one_tier_is_a_price_per_unit(
    unit_amount: Decimal, quantity: Decimal
) -> None:
    tiered = Graduated((Tier(unit_amount=unit_amount),))
    volumed = Volume((Tier(unit_amount=unit_amount),))

    expected = rate(PerUnit(unit_amount), quantity).amount
    assert rate(tiered, quantity).amount == expected
    assert rate(volumed, quantity).amount == expected


@given(prices, quantities)
def test_charges_sum_to_the_amount(price: Price, quantity: Decimal) -> None:
    charges = rate(price, quantity)

    assert charges.charges
    assert sum(Fraction(charge.amount) for charge in charges.charges) == Fraction(
        charges.amount
    )


@given(plans(), usages)
def test_charges_round_to_lines_and_lines_sum_to_the_total(
    plan: Plan, usage: dict[str, Decimal]
) -> None:
    result = invoice(plan, usage)

    unit = Fraction(currency_of(plan.currency).minor_unit)
    most = unit / 2 if plan.rounding.startswith("half") else unit
    for line in result.lines:
        exact = sum((Fraction(charge.amount) for charge in line.charges), Fraction(0))
        assert abs(exact - Fraction(line.amount)) <= most
        assert Fraction(line.amount) % unit == 0
    assert sum(line.amount for line in result.lines) == result.total
    assert (
        result.subtotal - result.coupons - result.credits + result.tax == result.total
    )


@given(plans(), usages)
def test_nobody_is_ever_owed_money_by_an_invoice(
    plan: Plan, usage: dict[str, Decimal]
) -> None:
    result = invoice(plan, usage)

    assert result.total >= 0
    assert result.tax >= 0


@given(plans(), usages)
def test_nothing_depends_on_the_ambient_decimal_context(
    plan: Plan, usage: dict[str, Decimal]
) -> None:
    expected = msgspec.json.encode(invoice(plan, usage))
    with localcontext(HOSTILE):
        actual = invoice(plan, usage)

    assert msgspec.json.encode(actual) == expected


@given(prices, quantities, quantities)
def test_rating_in_parts_does_not_depend_on_the_ambient_context_either(
    price: Price, a: Decimal, b: Decimal
) -> None:
    low, high = sorted((a, b))
    expected = rate_between(price, low, high, currency="usd")
    with localcontext(HOSTILE):
        actual = rate_between(price, low, high, currency="usd")

    assert actual == expected


@given(plans(), usages)
def test_nothing_is_ever_a_float(plan: Plan, usage: dict[str, Decimal]) -> None:
    assert not list(floats(msgspec.structs.asdict(invoice(plan, usage))))
    assert not list(floats(msgspec.to_builtins(invoice(plan, usage))))


def floats(value: Any) -> Any:
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict):
        yield from floats(list(cast("dict[str, Any]", value).values()))
    elif isinstance(value, list | tuple):
        for inner in cast("list[Any]", value):
            yield from floats(inner)
    elif isinstance(value, msgspec.Struct):
        yield from floats(msgspec.structs.asdict(value))


@given(
    st.lists(
        st.tuples(
            st.integers(1, 10**12),
            st.integers(0, 10**13),
        ),
        min_size=1,
        max_size=1_000,
    ),
    st.integers(0, 10**15),
)
def test_a_thousand_tiers_of_twelve_decimals_are_exact_up_to_10_to_the_15_units(
    spans: list[tuple[int, int]], quantity: int
) -> None:
    upper = 0
    tiers: list[Tier] = []
    expected = Fraction(0)
    left = quantity
    for i, (span, picos) in enumerate(spans):
        upper += span
        is_last = i == len(spans) - 1
        unit_amount = Decimal(picos).scaleb(-12)
        tiers.append(
            Tier(up_to=None if is_last else Decimal(upper), unit_amount=unit_amount)
        )
        units = left if is_last else min(left, span)
        expected += Fraction(picos, 10**12) * units
        left -= units

    assert Fraction(rate(Graduated(tuple(tiers)), quantity).amount) == expected


@given(st.integers(1, 10**6), amounts, st.integers(0, 10**15), st.integers(0, 10**6))
def test_packages_are_counted_exactly(
    size: int, amount: Decimal, quantity: int, free: int
) -> None:
    price = Package(Decimal(size), amount, free_units=Decimal(free))

    packages = -(-max(quantity - free, 0) // size)

    assert Fraction(rate(price, quantity).amount) == Fraction(amount) * packages
