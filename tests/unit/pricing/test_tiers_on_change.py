"""Tiers of a price that is new in mid-period: they restart, or continue."""

import itertools
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_pricing import (
    Group,
    Groups,
    Invoice,
    Period,
    Plan,
    Price,
    RateCard,
    Usage,
    invoice,
)
from meterline_pricing.models import (
    BlockTier,
    BlockTiers,
    Capacity,
    Commitment,
    Flat,
    Graduated,
    PerGroup,
    PerUnit,
    Stairstep,
    Step,
    Tier,
    Volume,
)
from meterline_pricing.tools import Stretch, invoice_of
from tests.unit.pricing.strategies import prices

DAY_MS = 86_400_000
NOVEMBER = Period(0, 30 * DAY_MS, "2026-11")
Mode = Literal["restart", "continue"]
OLD = (Tier(up_to=100, unit_amount=1), Tier(unit_amount="0.5"))
NEW = (Tier(up_to=100, unit_amount=2), Tier(unit_amount="0.25"))
BLOCK = BlockTier(block_size=1000, amount=1)


def plan(price: Price, mode: Mode = "continue", **more: Any) -> Plan:
    card = RateCard(meter="calls", price=price, **more)
    return Plan(name="p", currency="usd", prices=(card,), tiers_on_change=mode)


def bill(*parts: tuple[Plan, Usage], levels: frozenset[str] = frozenset()) -> Invoice:
    """Invoice plans that hold for ten days each."""
    return invoice_of(
        [
            Stretch(
                terms,
                Period(10 * i * DAY_MS, 10 * (i + 1) * DAY_MS),
                {"calls": used},
                {},
                levels,
            )
            for i, (terms, used) in enumerate(parts)
        ],
        NOVEMBER,
    )


def amounts(drawn: Invoice) -> list[str]:
    return [f"{line.amount:f}" for line in drawn.lines]


@pytest.mark.parametrize(
    ("mode", "second"), [("restart", "120.00"), ("continue", "55.00")]
)
def test_new_tiers_begin_anew_or_behind_what_was_used_before(
    mode: Mode, second: str
) -> None:
    # Of 60 units 20 are left of the first tier, at 2 each, and 60 are at 0.25 each.
    used = Decimal(60) if mode == "restart" else Decimal(80)

    drawn = bill(
        (plan(Graduated(OLD)), Decimal(80)), (plan(Graduated(NEW), mode), used)
    )

    assert amounts(drawn) == ["80.00", second]
    assert drawn.lines[1].quantity == used


def test_what_a_line_says_has_what_was_charged_elsewhere() -> None:
    drawn = bill(
        (plan(Graduated(OLD)), Decimal(80)), (plan(Graduated(NEW)), Decimal(80))
    )

    assert drawn.lines[1].explanation.startswith(
        "100 x $2.00 + 60 x $0.25 - 80 x $2.00 before = $55.00"
    )


def test_free_units_are_given_once() -> None:
    one, other = (plan(PerUnit(price), free_units=100) for price in ("1", "2"))

    assert amounts(bill((one, Decimal(80)), (other, Decimal(50)))) == ["0.00", "60.00"]


def test_over_two_changes_all_that_was_used_before_counts() -> None:
    one, two, three = (
        plan(Graduated((Tier(up_to=100, unit_amount=0), Tier(unit_amount=price))))
        for price in ("1", "2", "3")
    )

    drawn = bill((one, Decimal(60)), (two, Decimal(60)), (three, Decimal(60)))

    assert amounts(drawn) == ["0.00", "40.00", "180.00"]


def test_a_price_that_stays_is_not_charged_for_what_came_before_twice() -> None:
    same = plan(Graduated(OLD))
    other = plan(Graduated(NEW))

    drawn = bill((same, Decimal(80)), (other, Decimal(10)), (other, Decimal(10)))

    assert amounts(drawn) == ["80.00", "40.00"]


@pytest.mark.parametrize(
    "price",
    [
        Volume(NEW),
        PerGroup(Volume(NEW), by=("model",)),
        BlockTiers(
            (BlockTier(block_size=10, max_blocks=10, amount=9), BLOCK), mode="top"
        ),
        Flat(5),
    ],
)
def test_what_goes_by_a_whole_quantity_begins_anew(price: Price) -> None:
    used = Groups((Group({"model": "a"}, 80),)) if isinstance(price, PerGroup) else 80
    alone = invoice(plan(price), {"calls": used})

    drawn = bill((plan(Graduated(OLD)), used), (plan(price), used))

    assert drawn.lines[-1].amount == alone.lines[0].amount


def test_what_does_not_add_up_begins_anew() -> None:
    drawn = bill(
        (plan(Graduated(OLD)), Decimal(80)),
        (plan(Graduated(NEW)), Decimal(80)),
        levels=frozenset({"calls"}),
    )

    assert amounts(drawn) == ["80.00", "160.00"]


def test_groups_go_on_each_by_itself() -> None:
    def used(a: int, b: int) -> Groups:
        return Groups((Group({"model": "a"}, a), Group({"model": "b"}, b)))

    old, new = (plan(PerGroup(Graduated(tiers), by=("model",))) for tiers in (OLD, NEW))

    drawn = bill((old, used(100, 0)), (new, used(4, 10)))

    assert amounts(drawn) == ["100.00", "21.00"]


@pytest.mark.parametrize("before", [0, 1, 120])
@pytest.mark.parametrize(
    "price",
    [
        Capacity(amount=7, included=100, overage_unit_amount=2),
        Graduated(
            (Tier(up_to=100, flat_amount=7), Tier(unit_amount=2)), flat_at_zero=True
        ),
        Stairstep((Step(up_to=999, amount=7),), flat_at_zero=True),
    ],
)
def test_what_is_due_at_no_usage_is_due_on_each_side(price: Price, before: int) -> None:
    drawn = bill((plan(PerUnit(0)), Decimal(before)), (plan(price), Decimal(0)))

    assert amounts(drawn) == ["0.00", "7.00"]


def test_what_is_due_at_no_usage_is_due_of_each_group_that_was_used() -> None:
    price = PerGroup(Capacity(amount=7, included=10, overage_unit_amount=2))
    before = Groups((Group({"model": "a"}, 8), Group({"model": "b"}, 8)))
    here = Groups((Group({"model": "a"}, 4), Group({"model": "c"}, 4)))

    drawn = bill((plan(PerUnit(0)), before), (plan(price), here))

    # Of each 7, and two of the units of the first one are not included any more.
    assert amounts(drawn) == ["0.00", "18.00"]


def test_a_commitment_of_each_group_is_held_against_what_was_used_since() -> None:
    committed = Commitment(amount=10, overage_factor=2, per="group", groups=4)
    old = plan(PerGroup(PerUnit(1), by=("model",)))
    new = plan(PerGroup(PerUnit(3), by=("model",)), commitment=committed)
    before = Groups((Group({"model": "a"}, 8), Group({"model": "b"}, 8)))
    here = Groups((Group({"model": "a"}, 4), Group({"model": "c"}, 2)))

    drawn = bill((old, before), (new, here))

    # 12 + 6, and 2 above 10; 4 are missing. It is a third of the month: four thirds of a
    # group are less than there were.
    assert amounts(drawn) == ["16.00", "20.00", "4.00"]


def test_what_is_used_in_a_free_trial_takes_nothing_of_tiers_and_free_units() -> None:
    terms = plan(Graduated(NEW), free_units=50)

    drawn = bill((terms.on_trial, Decimal(500)), (terms, Decimal(80)))

    assert amounts(drawn) == ["0.00", "60.00"]


@given(prices, st.integers(0, 2_000), st.integers(0, 2_000))
def test_a_side_without_usage_costs_what_none_does(
    price: Price, before: int, later: int
) -> None:
    """Whatever was used before it, and is used behind it."""
    alone = invoice(plan(price), {}).total
    one, other = (plan(price, maximum_spend=most) for most in (10**9, 10**9 + 1))

    drawn = bill(
        (plan(PerUnit(0)), Decimal(before)), (one, Decimal(0)), (other, Decimal(later))
    )

    assert drawn.lines[1].amount == alone


@given(st.lists(st.integers(0, 300), min_size=2, max_size=3))
def test_changes_that_change_no_cost_come_to_what_one_plan_does(
    quantities: list[int],
) -> None:
    """The tiers of prices that cost the same, told apart by a limit that none reaches."""
    parts = [
        (plan(Graduated(OLD), maximum_spend=10_000 + i), Decimal(used))
        for i, used in enumerate(quantities)
    ]

    drawn = bill(*parts)

    assert drawn.total == invoice(parts[0][0], {"calls": sum(quantities)}).total
    for (_, used), line in itertools.zip_longest(parts, drawn.lines):
        assert line.quantity == used
