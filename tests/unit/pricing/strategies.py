"""Prices, usage and plans for Hypothesis."""

from decimal import Decimal
from typing import Final

from hypothesis import strategies as st

from meterline_pricing import Plan, Price, RateCard
from meterline_pricing.models import (
    ORDERS,
    BlockTier,
    BlockTiers,
    Capacity,
    Commitment,
    Conversion,
    Coupon,
    Credit,
    Discount,
    Dynamic,
    Flat,
    Graduated,
    GraduatedPercentage,
    Package,
    Percentage,
    PercentTier,
    PerUnit,
    Stairstep,
    Step,
    Tax,
    Tier,
    Volume,
)


def decimals(most: str = "1000", places: int = 6) -> st.SearchStrategy[Decimal]:
    return st.decimals(
        0, Decimal(most), places=places, allow_nan=False, allow_infinity=False
    )


amounts = decimals("100", 4)
quantities = st.one_of(
    st.integers(0, 2_000).map(Decimal),
    st.integers(0, 10**15).map(Decimal),
    decimals("2000", 3),
)
bounds = st.lists(st.integers(1, 1_500), min_size=0, max_size=6, unique=True).map(
    lambda numbers: [*map(Decimal, sorted(numbers)), None]
)


@st.composite
def tiers(draw: st.DrawFn) -> tuple[Tier, ...]:
    return tuple(
        Tier(up_to=bound, unit_amount=draw(amounts), flat_amount=draw(amounts))
        for bound in draw(bounds)
    )


@st.composite
def percent_tiers(draw: st.DrawFn) -> tuple[PercentTier, ...]:
    return tuple(
        PercentTier(up_to=bound, rate=draw(amounts), flat_amount=draw(amounts))
        for bound in draw(bounds)
    )


@st.composite
def steps(draw: st.DrawFn) -> tuple[Step, ...]:
    ends = draw(bounds)
    costs = sorted(draw(st.lists(amounts, min_size=len(ends), max_size=len(ends))))
    return tuple(
        Step(up_to=bound, amount=cost) for bound, cost in zip(ends, costs, strict=True)
    )


@st.composite
def block_tiers(draw: st.DrawFn) -> tuple[BlockTier, ...]:
    sizes = draw(st.lists(st.integers(1, 200), min_size=1, max_size=4))
    return tuple(
        BlockTier(
            block_size=Decimal(size),
            amount=draw(amounts),
            max_blocks=None
            if i == len(sizes) - 1
            else Decimal(draw(st.integers(1, 20))),
        )
        for i, size in enumerate(sizes)
    )


graduated = st.builds(Graduated, tiers(), st.booleans())
volume = st.builds(Volume, tiers(), st.booleans())
RISING: Final[dict[str, st.SearchStrategy[Price]]] = {
    "flat": st.builds(Flat, amounts),
    "per_unit": st.builds(PerUnit, decimals("10", 12)),
    "graduated": graduated,
    "package": st.builds(
        Package,
        st.integers(1, 500).map(Decimal),
        amounts,
        st.sampled_from(("up", "down")),
        decimals("100", 2),
    ),
    "stairstep": st.builds(Stairstep, steps(), flat_at_zero=st.booleans()),
    "block_tiers": st.builds(BlockTiers, block_tiers()),
    "capacity": st.builds(Capacity, decimals("100", 2), amounts, amounts),
    "percentage": st.builds(Percentage, rate=amounts, free_amount=decimals("100", 2)),
    "graduated_percentage": st.builds(
        GraduatedPercentage, percent_tiers(), st.booleans()
    ),
    "dynamic": st.builds(Dynamic, amounts),
}
"""Prices that promise: more usage never costs less."""

rising = st.one_of(*RISING.values())
FALLING: Final[dict[str, st.SearchStrategy[Price]]] = {
    "volume": volume,
    "block_tiers": st.builds(BlockTiers, block_tiers(), st.just("top")),
}
"""Prices of which more usage can cost less, where it reaches a cheaper tier."""

prices = st.one_of(rising, *FALLING.values())
"""Every price that can be rated by a bare quantity."""

discounts = st.one_of(
    st.builds(Discount, units=decimals("50", 1)),
    st.builds(Discount, amount=decimals("50", 2)),
    st.builds(Discount, percent=decimals("100", 2)),
)
commitments = st.builds(
    Commitment,
    amount=decimals("500", 2),
    overage_factor=decimals("3", 2),
    true_up=st.booleans(),
)


@st.composite
def rate_cards(draw: st.DrawFn, meter: str) -> RateCard:
    return RateCard(
        meter=meter,
        price=draw(prices),
        convert=draw(
            st.sampled_from(
                (
                    Conversion(),
                    Conversion(per=Decimal(3)),
                    Conversion(per=Decimal(7), round="up"),
                    Conversion(times=Decimal("1.2"), round="half_up", precision=1),
                )
            )
        ),
        free_units=draw(decimals("20", 1)),
        discounts=tuple(draw(st.lists(discounts, max_size=3))),
        minimum_spend=draw(st.none() | decimals("50", 2)),
        maximum_spend=draw(st.none() | decimals("900", 2).map(lambda d: d + 50)),
        commitment=draw(st.none() | commitments),
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    meters = ("a", "b", "c")[: draw(st.integers(1, 3))]
    on = st.sampled_from(((), (meters[0],)))
    return Plan(
        name="any",
        currency=draw(st.sampled_from(("usd", "jpy", "bhd"))),
        rounding=draw(st.sampled_from(("half_up", "half_even", "up", "down"))),
        order=draw(st.sampled_from(list(ORDERS.values()))),
        prices=(
            *(draw(rate_cards(meter)) for meter in meters),
            RateCard(name="fee", price=Flat(draw(amounts))),
        ),
        discounts=tuple(
            draw(
                st.lists(
                    st.builds(Discount, percent=decimals("100", 2), on=on)
                    | st.builds(Discount, amount=decimals("50", 2), on=on),
                    max_size=2,
                )
            )
        ),
        minimum_spend=draw(st.none() | decimals("200", 2)),
        maximum_spend=draw(st.none() | decimals("9000", 2).map(lambda d: d + 200)),
        commitment=draw(st.none() | commitments),
        coupons=tuple(
            draw(
                st.lists(
                    st.builds(Coupon, percent=decimals("100", 2), on=on)
                    | st.builds(Coupon, amount=decimals("50", 2), on=on),
                    max_size=3,
                )
            )
        ),
        credits=tuple(
            draw(
                st.lists(
                    st.builds(Credit, amount=decimals("500", 2), on=on), max_size=2
                )
            )
        ),
        taxes=tuple(
            draw(
                st.lists(
                    st.builds(
                        Tax,
                        percent=decimals("30", 3),
                        on=on,
                        per=st.sampled_from(("invoice", "line")),
                    ),
                    max_size=2,
                )
            )
        ),
    )


usages = st.fixed_dictionaries(
    {"a": quantities, "b": quantities}, optional={"c": quantities}
)
