from decimal import Decimal
from typing import Any

import pytest

from meterline_pricing import Amounts, Group, Groups, Price, PricingError, Usage, rate
from meterline_pricing.models import (
    BlockTier,
    BlockTiers,
    Capacity,
    Cell,
    Dynamic,
    Flat,
    Graduated,
    GraduatedPercentage,
    Matrix,
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
from meterline_pricing.tools import quantity_of, rate_between

D = Decimal
TIERS = (
    Tier(up_to=D(5), unit_amount=D(2), flat_amount=D(10)),
    Tier(unit_amount=D(1), flat_amount=D(20)),
)
STEPS = (Step(up_to=D(10), amount=D(5)), Step(up_to=D(20), amount=D(8)))
BLOCKS = (
    BlockTier(block_size=D(10), max_blocks=D(2), amount=D(3)),
    BlockTier(block_size=D(100), max_blocks=D(3), amount=D(20)),
)
PERCENTS = (
    PercentTier(up_to=D(100), rate=D(2), flat_amount=D(1)),
    PercentTier(rate=D(1)),
)


@pytest.mark.parametrize(
    ("price", "quantity", "amount"),
    [
        (Flat(D("49.90")), "7", "49.90"),
        (PerUnit(D("0.001")), "120000", "120"),
        (PerUnit(D("0.001")), "0", "0"),
        (Graduated(TIERS), "0", "0"),
        (Graduated(TIERS, flat_at_zero=True), "0", "10"),
        (Graduated(TIERS), "5", "20"),
        (Graduated(TIERS), "5.001", "40.001"),
        (Graduated(TIERS), "6", "41"),
        (Volume(TIERS), "0", "0"),
        (Volume(TIERS, flat_at_zero=True), "0", "10"),
        (Volume(TIERS), "5", "20"),
        (Volume(TIERS), "5.001", "25.001"),
        (Volume(TIERS), "6", "26"),
        (Package(size=D(100), amount=D(5)), "0", "0"),
        (Package(size=D(100), amount=D(5)), "100", "5"),
        (Package(size=D(100), amount=D(5)), "100.01", "10"),
        (Package(size=D(100), amount=D(5), round="down"), "199", "5"),
        (Package(size=D(100), amount=D(5), free_units=D(50)), "150", "5"),
        (Package(size=D(100), amount=D(5), free_units=D(50)), "151", "10"),
        (Package(size=D(100), amount=D(5), free_units=D(50)), "20", "0"),
        (Stairstep(STEPS), "0", "0"),
        (Stairstep(STEPS, flat_at_zero=True), "0", "5"),
        (Stairstep(STEPS), "0.5", "5"),
        (Stairstep(STEPS), "10", "5"),
        (Stairstep(STEPS), "10.1", "8"),
        (Stairstep(STEPS), "999", "8"),
        (Stairstep((*STEPS, Step(amount=D(9)))), "999", "9"),
        (BlockTiers(BLOCKS), "0", "0"),
        (BlockTiers(BLOCKS), "11", "6"),
        (BlockTiers(BLOCKS), "20", "6"),
        (BlockTiers(BLOCKS), "21", "26"),
        (BlockTiers(BLOCKS), "320", "66"),
        (BlockTiers(BLOCKS), "421", "106"),
        (BlockTiers(BLOCKS, on_exceed="free"), "421", "66"),
        (BlockTiers((BlockTier(block_size=D(7), amount=D(2)),), "top"), "8", "4"),
        (BlockTiers(BLOCKS, "top"), "11", "6"),
        (BlockTiers(BLOCKS, "top"), "21", "20"),
        (BlockTiers(BLOCKS, "top"), "421", "100"),
        (Capacity(D(100), D(50), D("0.5")), "0", "50"),
        (Capacity(D(100), D(50), D("0.5")), "100", "50"),
        (Capacity(D(100), D(50), D("0.5")), "101", "50.5"),
        (Percentage(rate=D("2.9")), "100", "2.9"),
        (Percentage(rate=D(10), free_amount=D(40)), "100", "6"),
        (Percentage(rate=D(10), free_amount=D(40)), "30", "0"),
        (Percentage(rate=D(10), fixed=D(1)), "0", "0"),
        (GraduatedPercentage(PERCENTS), "0", "0"),
        (GraduatedPercentage(PERCENTS, flat_at_zero=True), "0", "1"),
        (GraduatedPercentage(PERCENTS), "100", "3"),
        (GraduatedPercentage(PERCENTS), "300", "5"),
        (Dynamic(), "12.5", "12.5"),
        (Dynamic(D("1.2")), "10", "12"),
    ],
)
def test_each_model_at_its_edges(price: Price, quantity: str, amount: str) -> None:
    charges = rate(price, quantity)

    assert charges.amount == D(amount)
    assert sum(charge.amount for charge in charges.charges) == charges.amount


@pytest.mark.parametrize(
    ("price", "amounts", "amount"),
    [
        (Percentage(rate=D(1), fixed=D(2)), [100, 50], "5.5"),
        (Percentage(rate=D(1), fixed=D(2), free_events=D(1)), [100, 50], "2.5"),
        (Percentage(rate=D(1), fixed=D(2), free_events=D(9)), [100, 50], "0"),
        # The second event reaches the free amount to the cent.
        (Percentage(rate=D(1), fixed=D(2), free_amount=D(150)), [100, 50, 10], "4.1"),
        (
            Percentage(
                rate=D(1), fixed=D(2), free_amount=D(150), free_rule="first_limit"
            ),
            [100, 50, 10],
            "2.1",
        ),
        # The free amount ends within the second event.
        (Percentage(rate=D(1), fixed=D(2), free_amount=D(120)), [100, 50], "2.3"),
        (Percentage(rate=D(1), minimum=D(1)), [10, 500], "6"),
        (Percentage(rate=D(1), maximum=D(2)), [10, 500], "2.1"),
        (Percentage(rate=D(1), minimum=D(1), free_events=D(1)), [10, 20], "1"),
        (Dynamic(D(2)), ["0.5", 3], "7"),
        (PerUnit(D(2)), ["0.5", 3], "7"),
    ],
)
def test_events_are_rated_one_by_one_and_in_order(
    price: Price, amounts: list[Any], amount: str
) -> None:
    assert rate(price, amounts).amount == D(amount)
    assert rate(price, Amounts(tuple(amounts))).amount == D(amount)


def test_a_price_by_event_refuses_a_total() -> None:
    with pytest.raises(PricingError, match="the amount of every event, in order"):
        rate(Percentage(rate=D(1), fixed=D(1)), 10)


def test_a_price_by_event_takes_events_by_group_one_group_after_the_other() -> None:
    groups = [Group({"day": "1"}, Amounts((D(10),))), Group({"day": "2"}, D(0))]

    assert rate(Percentage(rate=D(1), fixed=D(1)), groups).amount == D("1.1")


@pytest.mark.parametrize(
    ("price", "quantity"),
    [
        (Stairstep(STEPS, on_exceed="error"), 21),
        (BlockTiers(BLOCKS, on_exceed="error"), 321),
        (BlockTiers(BLOCKS, "top", on_exceed="error"), 321),
    ],
)
def test_what_is_above_the_last_tier_is_an_error_where_the_price_says_so(
    price: Price, quantity: int
) -> None:
    rate(price, quantity - 1)
    with pytest.raises(PricingError, match="is above the last tier, which ends at"):
        rate(price, quantity)


MATRIX = Matrix(
    ("region", "size"),
    (
        Cell(values={"size": "xl"}, price=PerUnit(D(5))),
        Cell(values={"region": "eu"}, price=PerUnit(D(3))),
        Cell(values={"region": "eu", "size": "s"}, price=PerUnit(D(1))),
    ),
)


@pytest.mark.parametrize(
    ("usage", "amount"),
    [
        ({("eu", "s"): 10}, 10),
        ({("eu", "m"): 10}, 30),
        ({("us", "xl"): 10}, 50),
        # Both cells name one dimension: that of the earlier dimension wins.
        ({("eu", "xl"): 10}, 30),
        ({("eu", "s"): 1, ("eu", "m"): 1, ("eu", "l"): 1}, 7),
        ([Group({"region": "eu", "size": "s"}, D(10))], 10),
        (Groups((Group({"region": "eu", "size": "s", "host": "a"}, D(10)),)), 10),
    ],
)
def test_the_most_specific_cell_of_a_matrix_wins(usage: Usage, amount: int) -> None:
    assert rate(MATRIX, usage).amount == amount


def test_a_combination_without_price_is_an_error_or_has_the_default() -> None:
    with pytest.raises(PricingError, match="no price for region = us, size = s"):
        rate(MATRIX, {("us", "s"): 1})
    with pytest.raises(PricingError, match="no price for usage without dimensions"):
        rate(MATRIX, 1)

    with_default = Matrix(MATRIX.dimensions, MATRIX.cells, default=PerUnit(D(9)))

    charges = rate(with_default, {("us", "s"): 1, ("us", "m"): 2}, currency="usd")
    assert charges.explanation == "other: 3 x $9.00"


def test_usage_of_one_cell_is_added_up_before_it_is_rated() -> None:
    tiered = Graduated((Tier(up_to=D(10)), Tier(unit_amount=D(1))))
    price = Matrix(("region",), (Cell(values={}, price=tiered),))

    assert rate(price, {"eu": 8, "us": 8}).amount == 6
    assert rate(PerGroup(tiered), {"eu": 8, "us": 8}).amount == 0
    assert rate(PerGroup(tiered, ("region",)), {"eu": 8, "us": 12}).amount == 2


def test_groups_that_share_the_dimensions_of_a_price_are_one_group() -> None:
    price = PerGroup(Package(D(10), D(1)), by=("region",))
    groups = [
        Group({"region": "eu", "host": "a"}, D(5)),
        Group({"region": "eu", "host": "b"}, Amounts((D(2), D(3)))),
        Group({"host": "c"}, D(1)),
    ]

    charges = rate(price, groups)

    assert charges.explanation == "eu: 1 x 1 per 10 + 1 x 1 per 10"
    assert rate(PerGroup(Package(D(10), D(1))), groups).amount == 3


def test_events_of_one_group_stay_events() -> None:
    price = PerGroup(Percentage(rate=D(10), fixed=D(1)), by=("shop",))
    groups = [
        Group({"shop": "a", "till": "1"}, Amounts((D(10), D(20)))),
        Group({"shop": "a", "till": "2"}, Amounts((D(30),))),
    ]

    assert rate(price, groups).amount == 9


def test_a_price_per_group_of_a_bare_quantity_has_one_group_and_of_nothing_none() -> (
    None
):
    assert rate(PerGroup(PerUnit(D(2))), 5).amount == 10
    assert rate(PerGroup(PerUnit(D(2))), Groups(())).explanation == "nothing used"


@pytest.mark.parametrize(
    ("price", "usage", "text"),
    [
        (
            Graduated(TIERS),
            1_000_006,
            "5 x $2.00 + $10.00 flat + 1,000,001 x $1.00 + $20.00 flat",
        ),
        (Package(D(100), D(5)), 101, "2 x $5.00 per 100"),
        (Stairstep(STEPS), 12, "$8.00 for 12"),
        (Stairstep(STEPS), 0, "nothing used"),
        (Capacity(D(100), D(50), D("0.5")), 102, "$50.00 for 100 + 2 x $0.50"),
        (Percentage(rate=D("2.90")), "100.5", "2.9% of $100.50"),
        (
            Percentage(rate=D(1), fixed=D(2), maximum=D(2)),
            [100, 50],
            "1% of $150.00 + 2 x $2.00 + -$1.50 for minimum and maximum per event",
        ),
        (Dynamic(D("1.2")), [1, 2], "$3.00 x 1.2"),
    ],
)
def test_charges_explain_themselves(price: Price, usage: Any, text: str) -> None:
    assert rate(price, usage, currency="usd").explanation == text


def test_an_explanation_without_currency_has_bare_numbers() -> None:
    assert rate(PerUnit(D("0.0010")), 5).explanation == "5 x 0.001"


def test_what_was_charged_before_is_taken_off() -> None:
    charges = rate_between(Graduated(TIERS), 4, 7, currency="usd")

    assert charges.amount == 24
    assert charges.explanation == (
        "5 x $2.00 + $10.00 flat + 2 x $1.00 + $20.00 flat - 4 x $2.00 before "
        "- $10.00 flat before"
    )


def test_what_is_due_at_zero_is_charged_in_the_first_part_alone() -> None:
    price = Graduated(TIERS, flat_at_zero=True)

    assert rate_between(price, None, 0).amount == 10
    assert rate_between(price, 0, 3).amount == 6


@pytest.mark.parametrize(
    "quantity",
    [1.5, True, "1e3", "abc", "", "-1", -2, D("NaN"), D("Infinity"), None, "9" * 60],
)
def test_what_is_no_quantity_is_refused(quantity: Any) -> None:
    with pytest.raises(PricingError):
        rate(PerUnit(D(1)), quantity)
    with pytest.raises(PricingError):
        rate(Dynamic(), [quantity])


@pytest.mark.parametrize("zero", ["-0", D("-0.00")])
def test_a_negative_zero_is_zero(zero: Any) -> None:
    charge = rate(PerUnit(zero), zero).charges[0]

    assert f"{charge.amount:f} {charge.quantity:f}".count("-") == 0


def test_a_matrix_without_usage_costs_nothing_whatever_its_cells_say() -> None:
    matrix = Matrix(("region",), (Cell(values={"region": "eu"}, price=PerUnit(2)),))

    assert rate(matrix, 0).amount == 0
    assert rate(matrix, {"us": 0, "eu": 3}).amount == 6
    with pytest.raises(PricingError, match="no price for region = us"):
        rate(matrix, {"us": 1, "eu": 3})


def test_prices_by_group_can_be_put_into_each_other() -> None:
    by_size = Matrix(
        ("size",), (Cell(values={"size": "xl"}, price=PerUnit(3)),), PerUnit(1)
    )
    usage = [
        Group({"hour": "1", "region": "eu", "size": "xl"}, 2),
        Group({"hour": "1", "region": "eu", "size": "xs"}, 5),
        Group({"hour": "2", "region": "us", "size": "xl"}, 4),
    ]

    hourly = rate(PerGroup(by_size, by=("hour",)), usage)
    of_each = rate(PerGroup(by_size), usage)
    nested = Matrix(
        ("region",), (Cell(values={"region": "eu"}, price=by_size),), Flat(9)
    )
    peaks = Matrix(
        ("region",), (), default=PerGroup(Package(size=3, amount=1), by=("hour",))
    )

    assert hourly.amount == of_each.amount == 2 * 3 + 5 + 4 * 3
    assert [charge.explanation for charge in hourly.charges] == [
        "1: xl: 2 x 3",
        "1: other: 5 x 1",
        "2: xl: 4 x 3",
    ]
    assert rate(nested, usage).amount == 2 * 3 + 5 + 9
    assert rate(peaks, usage).amount == 3 + 2


def test_what_is_no_price_is_refused() -> None:
    price: Any = "0.001"

    with pytest.raises(PricingError, match=r"^expected a price, not '0\.001'$"):
        rate(price, 1)


@pytest.mark.parametrize(
    "usage", [{("eu",): 1}, {("eu", "s", "x"): 1}, {"eu": 1}, {5: 1}]
)
def test_a_mapping_needs_a_value_for_each_dimension(usage: Any) -> None:
    with pytest.raises(PricingError, match="expected a value for each of region, size"):
        rate(MATRIX, usage)


def test_the_total_of_any_usage_is_known() -> None:
    assert quantity_of("1.5") == D("1.5")
    amounts: list[int | str] = [1, "0.5"]
    assert quantity_of(amounts) == D("1.5")
    assert quantity_of({"eu": 1, "us": 2}) == 3
    assert quantity_of({("eu", "s"): 1, ("us", "m"): 2}) == 3
    groups: list[Group] = [Group({}, Amounts((D(1), D(2)))), Group({}, D(4))]
    assert quantity_of(groups) == 7


@pytest.mark.parametrize(
    "amount", [0.1, "x", D("NaN"), -1, None, "0." + "1" * 131, 10**30]
)
def test_what_is_no_amount_is_refused_with_its_field(amount: Any) -> None:
    with pytest.raises(PricingError) as caught:
        PerUnit(amount)

    assert caught.value.problems[0].key == "unit_amount"


def problems(make: Any, *args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(PricingError) as caught:
        make(*args, **kwargs)
    return [str(problem) for problem in caught.value.problems]


def test_numbers_may_be_texts_and_integers() -> None:
    loose: Any = Graduated

    assert loose([Tier(up_to=D(5)), Tier(unit_amount=D("0.001"))]) == Graduated(
        (Tier(up_to=D(5)), Tier(unit_amount=D("0.001")))
    )
    make_tier: Any = Tier
    assert make_tier(up_to=5, unit_amount="0.001").unit_amount == D("0.001")


def test_all_problems_of_the_numbers_are_told_at_once() -> None:
    assert problems(Capacity, "x", -1, 0.5) == [
        "included: expected a number, not 'x'",
        "amount: expected a number of 0 or more, not -1",
        "overage_unit_amount: a float is not exact: write Decimal('0.5')",
    ]


@pytest.mark.parametrize(
    ("make", "kwargs", "expected"),
    [
        (Graduated, {"tiers": ()}, "tiers: expected 1 to 10000 tiers, not 0"),
        (Graduated, {"tiers": 5}, "tiers: expected a tuple, not 5"),
        (Graduated, {"tiers": [5]}, "tiers[0]: expected a Tier, not 5"),
        (
            Volume,
            {"tiers": [Tier(), Tier()]},
            "tiers[0].up_to: only the last tier is without up_to",
        ),
        (
            Volume,
            {"tiers": [Tier(up_to=D(0)), Tier()]},
            "tiers[0].up_to: tiers overlap: 0 is not above 0",
        ),
        (
            Graduated,
            {"tiers": [Tier(up_to=D(5))]},
            "tiers[0].up_to: the last tier is missing: add one without up_to, for all "
            "usage above 5",
        ),
        (Package, {"size": 0, "amount": 1}, "size: expected more than 0, not 0"),
        (
            Package,
            {"size": 1, "amount": 1, "round": "sideways"},
            "round: unknown choice `sideways`; known are: down, up",
        ),
        (BlockTiers, {"tiers": ()}, "tiers: expected at least one tier"),
        (
            BlockTiers,
            {"tiers": [BlockTier(block_size=D(1), amount=D(1))] * 2},
            "tiers[0].max_blocks: only the last tier is without max_blocks",
        ),
        (
            BlockTiers,
            {"tiers": BLOCKS, "mode": "top", "on_exceed": "free"},
            "on_exceed: free is for mode = all only",
        ),
        (
            BlockTier,
            {"block_size": 0, "amount": 1},
            "block_size: expected more than 0, not 0",
        ),
        (
            BlockTier,
            {"block_size": 1, "amount": 1, "max_blocks": 0},
            "max_blocks: expected more than 0, not 0",
        ),
        (
            Percentage,
            {"rate": 1, "minimum": 5, "maximum": 4},
            "maximum: 4 is below minimum 5",
        ),
        (
            Percentage,
            {"rate": 1, "free_events": "1.5"},
            "free_events: expected a whole number, not 1.5",
        ),
        (
            BlockTier,
            {"block_size": 1, "amount": 1, "max_blocks": "0.5"},
            "max_blocks: expected a whole number, not 0.5",
        ),
        (
            Graduated,
            {"tiers": [Tier()], "flat_at_zero": "yes"},
            "flat_at_zero: expected True or False, not 'yes'",
        ),
        (Group, {"values": 5, "usage": 1}, "values: expected a dict, not 5"),
        (Group, {"values": {5: "x"}, "usage": 1}, "values: expected a text, not 5"),
        (Group, {"values": {"a": 5}, "usage": 1}, "values.a: expected a text, not 5"),
        (Groups, {"groups": [5]}, "groups[0]: expected a Group, not 5"),
        (Amounts, {"values": 5}, "values: expected a tuple, not 5"),
        (PerGroup, {"price": 5}, "price: expected a price, not 5"),
        (Cell, {"values": {}, "price": 5}, "price: expected a price, not 5"),
        (
            Matrix,
            {"dimensions": ("a",), "cells": (), "default": 5},
            "default: expected a price, not 5",
        ),
        (
            Matrix,
            {"dimensions": (), "cells": ()},
            "dimensions: expected names, each once",
        ),
        (
            Matrix,
            {
                "dimensions": ("a",),
                "cells": [Cell(values={"b": "1"}, price=Flat(D(1)))],
            },
            "cells[0].values: not a dimension: b",
        ),
        (
            Matrix,
            {
                "dimensions": ("a",),
                "cells": [Cell(values={"a": "1"}, price=Flat(D(1)))] * 2,
            },
            "cells[1].values: a second cell for these values",
        ),
    ],
)
def test_a_price_that_makes_no_sense_can_not_be_built(
    make: Any, kwargs: dict[str, Any], expected: str
) -> None:
    assert problems(make, **kwargs) == [expected]


CAPPED = (
    Tier(up_to=D(10), unit_amount=D(2), flat_amount=D(1), maximum=D(15)),
    Tier(up_to=D(20), unit_amount=D(1)),
    Tier(unit_amount=D(3), maximum=D(9)),
)


@pytest.mark.parametrize(
    ("price", "quantity", "amount"),
    [
        (Graduated(CAPPED), "0", "0"),
        (Graduated(CAPPED), "7", "15"),
        (Graduated(CAPPED), "7.1", "15"),
        (Graduated(CAPPED), "10", "15"),
        (Graduated(CAPPED), "20", "25"),
        (Graduated(CAPPED), "22", "31"),
        (Graduated(CAPPED), "1000", "34"),
        (Volume(CAPPED), "6", "13"),
        (Volume(CAPPED), "10", "15"),
        (Volume(CAPPED), "15", "15"),
        (Volume(CAPPED), "21", "9"),
    ],
)
def test_each_tier_has_a_maximum_of_its_own(
    price: Price, quantity: str, amount: str
) -> None:
    assert rate(price, quantity).amount == D(amount)


def test_where_a_tier_costs_no_more_is_an_edge() -> None:
    assert Graduated(CAPPED).edges == (D(7), D(10), D(20), D(23))
    assert Volume(CAPPED).edges == (D(7), D(10), D(20))
    assert Graduated((Tier(flat_amount=D(3), maximum=D(1)),)).edges == ()


def test_a_tier_behind_a_capped_one_repeats_nothing() -> None:
    same = Tier(up_to=D(5), unit_amount=D(2), maximum=D(3))
    tiers = (same, Tier(up_to=D(9), unit_amount=D(2)), Tier(unit_amount=D(2)))

    assert Graduated(tiers).repeated_tiers == (2,)
    assert Volume((same, Tier(unit_amount=D(2)))).repeated_tiers == ()


def test_a_tier_found_by_another_quantity_charges_this_one() -> None:
    price = Volume(TIERS, tier_by="seats")

    charges = rate(price, "3.5", tier_usage=6).charges

    assert [(c.amount, c.tier) for c in charges] == [(D("3.5"), 2), (D(20), 2)]
    assert rate(price, "3.5").amount == D(17)
