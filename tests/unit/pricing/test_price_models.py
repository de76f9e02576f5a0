"""What a price says about itself, for all who would otherwise ask which model it is."""

from decimal import Decimal, localcontext
from typing import get_args

import pytest

from meterline_pricing import Price, models
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
from meterline_pricing.toml.price_shapes import MODELS
from meterline_pricing.tools import curve
from tests.unit.pricing.strategies import FALLING, RISING

D = Decimal
TIERS = (Tier(up_to=10), Tier(up_to=20), Tier(unit_amount=1, flat_amount=2))
PERCENT_TIERS = (PercentTier(up_to=50, rate=1), PercentTier(rate=1))
STEPS = (Step(up_to=5, amount=1), Step(up_to=8, amount=2))
BLOCKS = (BlockTier(block_size=2, amount=1, max_blocks=4),)
EVENTS = Percentage(rate=1, fixed=1)
EACH: tuple[Price, ...] = (
    Flat(1),
    PerUnit(1),
    Graduated(TIERS),
    Volume(TIERS),
    Package(10, 1, free_units=3),
    Stairstep(STEPS, "error"),
    BlockTiers(BLOCKS, on_exceed="error"),
    Capacity(7, 1, 1),
    Percentage(rate=1, free_amount=30),
    GraduatedPercentage(PERCENT_TIERS),
    Dynamic(),
    Matrix(("region",), (Cell(values={"region": "eu"}, price=PerUnit(1)),), EVENTS),
    PerGroup(Stairstep(STEPS, "error"), by=("hour",)),
)
BY_MODEL = {price.model: price for price in EACH}


def saying(answer: str) -> dict[str, object]:
    """Return what each model answers, but for those that say nothing."""
    answers = {name: getattr(price, answer) for name, price in BY_MODEL.items()}
    return {name: said for name, said in answers.items() if said not in (0, (), None)}


def test_every_model_is_here_and_can_be_written_in_a_price_list() -> None:
    kinds = {kind.__struct_config__.tag: kind.__name__ for kind in get_args(Price)}

    assert kinds.keys() == MODELS.keys(), "add its keys to toml/price_shapes.py"
    assert kinds.keys() == BY_MODEL.keys(), "add an example to EACH"
    assert set(kinds.values()) <= set(models.__all__), "export it in models.py"


def test_the_laws_are_tried_on_every_model_of_a_bare_quantity() -> None:
    of_groups = {price.model for price in EACH if price.inner}

    assert RISING.keys() | FALLING.keys() == BY_MODEL.keys() - of_groups, (
        "add a strategy to strategies.py"
    )


def test_only_a_fee_is_fixed() -> None:
    assert saying("is_fixed") == {"flat": True}


def test_prices_of_amounts_say_so_whatever_they_are_put_into() -> None:
    assert saying("takes_amounts") == {
        "percentage": True,
        "graduated_percentage": True,
        "dynamic": True,
        "matrix": True,  # by its default
    }
    assert PerGroup(Dynamic()).takes_amounts
    assert not PerGroup(PerUnit(1)).takes_amounts


def test_a_price_of_single_events_answers_for_itself_alone() -> None:
    inside = [price.needs_events for price in BY_MODEL["matrix"].inner]

    assert EVENTS.needs_events
    assert (BY_MODEL["matrix"].needs_events, inside) == (False, [False, True])
    assert saying("needs_events") == {}


def test_prices_that_tell_usage_apart_say_by_what() -> None:
    assert saying("grouped_by") == {"matrix": ("region",), "per_group": ("hour",)}
    assert PerGroup(PerUnit(1)).grouped_by == ()


def test_what_costs_nothing_by_the_unit_is_included() -> None:
    assert saying("included_units") == {
        "graduated": 20,
        "volume": 20,
        "package": 3,
        "capacity": 7,
    }


def test_a_price_says_where_it_can_jump_and_where_it_ends() -> None:
    edges = saying("edges")

    assert edges.pop("package") == tuple(D(3 + 10 * i) for i in range(9))
    assert edges == {
        "graduated": (10, 20),
        "volume": (10, 20),
        "stairstep": (5, 8),
        "block_tiers": (0, 8),
        "capacity": (7,),
        "percentage": (30,),
        "graduated_percentage": (50,),
        "per_group": (5, 8),
    }
    assert saying("end") == {"stairstep": 8, "block_tiers": 8, "per_group": 8}
    assert BlockTiers((BlockTier(block_size=2, amount=1),), on_exceed="error").end is (
        None
    )


def test_tiers_are_listed_where_they_say_what_a_unit_costs() -> None:
    assert saying("unit_tiers") == {"graduated": TIERS, "volume": TIERS}
    assert saying("repeated_tiers") == {
        "graduated": (1,),
        "volume": (1,),
        "graduated_percentage": (1,),
    }


def test_answers_are_exact_whatever_the_decimal_context() -> None:
    with localcontext(prec=2):
        package = Package("1.2345", 1, free_units="0.0001").edges
        blocks = BlockTiers((BlockTier(block_size="1.2345", amount=1),)).edges

    assert (package[1], blocks[1]) == (D("1.2346"), D("9.8760"))


@pytest.mark.parametrize("by", [(), ("hour",)])
def test_the_curve_of_a_price_by_group_ends_where_that_of_one_group_does(
    by: tuple[str, ...],
) -> None:
    price = PerGroup(Stairstep(STEPS, "error"), by)

    assert curve(price)[-1].quantity == 8
