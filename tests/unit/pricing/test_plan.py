from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from meterline_pricing import (
    Catalogue,
    NotFound,
    Override,
    Plan,
    PricingError,
    RateCard,
)
from meterline_pricing.models import (
    ORDERS,
    Commitment,
    Coupon,
    Discount,
    Flat,
    Matrix,
    PerUnit,
    PlanTest,
)

D = Decimal
CALLS = RateCard(meter="calls", price=PerUnit(D(1)))
PRO = Plan(name="pro", currency="usd", prices=(CALLS,), minimum_spend=D(5))


def problems(make: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(PricingError) as caught:
        make(**kwargs)
    return [str(problem) for problem in caught.value.problems]


def test_a_rate_card_is_called_like_its_meter_unless_it_has_a_name() -> None:
    assert (CALLS.name, CALLS.description) == ("calls", "calls")
    named = RateCard(meter="calls", name="api", price=PerUnit(D(1)))
    assert (named.name, named.description) == ("api", "api")


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        (
            {"price": Flat(D(1))},
            ["meter: missing: expected a meter, or a name for a fee"],
        ),
        ({"name": "x", "price": "flat"}, ["price: expected a price, not 'flat'"]),
        (
            {"name": "x", "price": PerUnit(D(1))},
            ["meter: missing: only a flat price needs none"],
        ),
        (
            {
                "meter": "x",
                "price": PerUnit(D(1)),
                "discounts": [Discount(percent=D(1), on=("y",))],
                "commitment": Commitment(amount=D(1), per="group"),
            },
            [
                "discounts[0].on: a discount of a price applies to that price alone",
                "commitment.per: a commitment per group needs a per_group price",
            ],
        ),
        (
            {
                "meter": "x",
                "price": Matrix(("region",), ()),
                "commitment": Commitment(quantity=5),
            },
            ["commitment.quantity: no price for usage without dimensions"],
        ),
        (
            {
                "meter": "x",
                "price": PerUnit(D(1)),
                "minimum_spend": 5,
                "maximum_spend": 4,
            },
            ["maximum_spend: 4 is below minimum_spend 5"],
        ),
    ],
)
def test_a_rate_card_that_makes_no_sense_can_not_be_built(
    kwargs: dict[str, Any], expected: list[str]
) -> None:
    assert problems(RateCard, **kwargs) == expected


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        (
            {"prices": (CALLS, CALLS)},
            "prices[1].meter: two prices for one meter `calls`",
        ),
        (
            {
                "prices": (
                    CALLS,
                    RateCard(meter="other", name="calls", price=PerUnit(D(1))),
                )
            },
            "prices[1].name: two prices of one name `calls`",
        ),
        (
            {"prices": (CALLS,), "coupons": (Coupon(amount=D(1), on=("cals",)),)},
            "coupons[0].on[0]: unknown price `cals`; did you mean `calls`?",
        ),
        (
            {"discounts": (Discount(units=D(1)),)},
            "discounts[0].units: only a price can have a discount in units: write it there",
        ),
        (
            {"commitment": Commitment(quantity=D(1))},
            "commitment.amount: missing: a plan commits to an amount, not to a quantity",
        ),
        (
            {"commitment": Commitment(amount=D(1), per="group")},
            "commitment.per: only the commitment of a price can be per group",
        ),
        ({"rounding": "sideways"}, "rounding: unknown choice `sideways`; known are: "),
        ({"currency": "usx"}, "currency: unknown currency `usx`; did you mean"),
        ({"currency": 5}, "currency: expected a text, not 5"),
        ({"version": "2"}, "version: expected an integer, not '2'"),
        ({"version": True}, "version: expected an integer, not True"),
        ({"effective": "2026-01-01"}, "effective: expected a date, not '2026-01-01'"),
        (
            {"effective": datetime(2026, 1, 1, tzinfo=UTC)},
            "effective: expected a date, not date",
        ),
        ({"order": "lagoo"}, "order: unknown order `lagoo`; did you mean `lago`?"),
        ({"order": 5}, "order: expected a Order, not 5"),
        ({"prices": (5,)}, "prices[0]: expected a RateCard, not 5"),
        (
            {"tests": [{"usage": {"calls": 1}, "total": 1}]},
            "tests[0]: expected a PlanTest, not {'usage'",
        ),
    ],
)
def test_a_plan_that_makes_no_sense_can_not_be_built(
    kwargs: dict[str, Any], expected: str
) -> None:
    (problem,) = problems(Plan, **({"name": "x", "currency": "usd"} | kwargs))

    assert problem.startswith(expected)


def test_everything_wrong_with_a_struct_is_told_at_once() -> None:
    assert problems(
        PlanTest, usage={"calls": 1.5, "gb": 2}, total=1.5, name=5, line="7"
    ) == [
        "usage.calls: a float is not exact: write Decimal('1.5')",
        "total: a float is not exact: write Decimal('1.5')",
        "name: expected a text, not 5",
        "line: expected an integer, not '7'",
    ]
    assert problems(RateCard, meter="x", price=PerUnit(1), convert=5, commitment=6) == [
        "convert: expected a Conversion, not 5",
        "commitment: expected a Commitment, not 6",
    ]


@pytest.mark.parametrize("name", ORDERS)
def test_a_plan_takes_the_name_of_an_order(name: str) -> None:
    assert Plan(name="x", currency="usd", order=name).order == ORDERS[name]


def test_a_plan_knows_the_price_of_a_meter() -> None:
    assert PRO.price_of("calls") is CALLS
    with pytest.raises(NotFound, match="unknown meter `cals`; did you mean `calls`"):
        PRO.price_of("cals")
    with pytest.raises(NotFound, match="there are none"):
        Plan(name="empty", currency="usd").price_of("calls")


def test_a_catalogue_has_names_and_versions() -> None:
    later = Plan(name="pro", currency="usd", version=2, effective=date(2027, 1, 1))
    catalogue = Catalogue((later, PRO, Plan(name="basic", currency="usd")))

    assert catalogue.names == ("basic", "pro")
    assert catalogue.versions("pro") == (PRO, later)
    assert catalogue.plan("pro", at=date(2026, 12, 31)) is PRO


def test_a_catalogue_refuses_two_plans_of_one_version_or_date() -> None:
    same_date = Plan(name="pro", currency="usd", version=2)

    assert problems(Catalogue, plans=(PRO, same_date)) == [
        "plans[1].effective: plan `pro` has effective 1970-01-01 already"
    ]
    assert problems(
        Catalogue, plans=(PRO,), overrides=(Override(customer="c", plan="prp"),)
    ) == ["overrides[0].plan: unknown plan `prp`; did you mean `pro`?"]


def test_an_override_replaces_what_it_names_for_its_customer_alone() -> None:
    cheaper = RateCard(meter="calls", price=PerUnit(D("0.5")))
    extra = RateCard(name="support", price=Flat(D(9)))
    override = Override(
        customer="acme", plan="pro", prices=(extra, cheaper), minimum_spend=D(7)
    )
    catalogue = Catalogue((PRO,), (override,))

    theirs = catalogue.plan("pro", customer="acme")

    assert theirs.prices == (cheaper, extra)
    assert theirs.minimum_spend == 7
    assert catalogue.plan("pro", customer="other") is PRO
    assert catalogue.plan("pro") is PRO


def test_an_override_must_make_sense() -> None:
    assert problems(Override, customer="a", plan="p", prices=(CALLS, CALLS)) == [
        "prices[1].meter: two prices for one meter `calls`"
    ]
