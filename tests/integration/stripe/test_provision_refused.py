"""What Stripe would charge otherwise is refused by its name."""

from collections.abc import Callable

import pytest

from meterline_sidecar.config.shape import Config
from tests.integration.stripe.test_provision import make, provisioner
from tests.outbox_rows import Shop

PLAIN = """
[[plan]]
name = "starter"
currency = "usd"
TERM
[[plan.price]]
meter = "api_calls"
model = "per_unit"
unit_amount = "0.01"
"""


@pytest.mark.parametrize(
    ("term", "what"),
    [
        ('minimum_spend = "100"', "`minimum_spend` of a plan"),
        ('maximum_spend = "0"', "`maximum_spend` of a plan"),
        ('commitment = { amount = "50" }', "`commitment` of a plan"),
        ('rounding = "down"', "`rounding = down`"),
        ("discount = [{ percent = 25 }]", "`[[plan.discount]]` of a plan"),
        ("coupon = [{ amount = 5 }]", "`[[plan.coupon]]` of a plan"),
        ("credit = [{ amount = 5 }]", "`[[plan.credit]]` of a plan"),
        ("tax = [{ percent = 19 }]", "`[[plan.tax]]` of a plan"),
    ],
)
async def test_what_a_plan_has_beside_its_prices_is_refused_by_name(
    shop: Shop, configured: Callable[..., Config], term: str, what: str
) -> None:
    pricing = PLAIN.replace("TERM", term)

    found = await provisioner(shop, configured(pricing=pricing)).plan()

    (problem,) = found.problems
    assert problem.startswith("plan starter: ")
    assert what in problem


@pytest.mark.parametrize(
    ("tiers", "what"),
    [
        ("tiers = [{ unit_amount = 1, maximum = 5 }]", "`maximum` of a tier"),
        ('tiers = [{ unit_amount = 1 }]\ntier_by = "api_calls"', "`tier_by`"),
    ],
)
async def test_tiers_that_stripe_has_no_words_for_are_refused(
    shop: Shop, configured: Callable[..., Config], tiers: str, what: str
) -> None:
    pricing = PLAIN.replace("TERM", "").replace(
        'model = "per_unit"\nunit_amount = "0.01"', f'model = "volume"\n{tiers}'
    )

    found = await provisioner(shop, configured(pricing=pricing)).plan()

    (problem,) = found.problems
    assert what in problem


async def test_several_terms_are_refused_each_by_its_name(
    shop: Shop, configured: Callable[..., Config]
) -> None:
    pricing = PLAIN.replace("TERM", "minimum_spend = 1\nmaximum_spend = 9")

    found = await provisioner(shop, configured(pricing=pricing)).plan()

    assert [p.partition("`")[2].partition("`")[0] for p in found.problems] == [
        "minimum_spend",
        "maximum_spend",
    ]


@pytest.mark.parametrize(
    ("term", "what"),
    [
        ("minimum_spend = 100", "`minimum_spend` in an [[override]]"),
        ("discount = [{ percent = 25 }]", "`discounts` in an [[override]]"),
        (
            '[[override.price]]\nmeter = "api_calls"\nmodel = "per_unit"\n'
            'unit_amount = "0.005"',
            "other price `api_calls` in an [[override]]",
        ),
        (
            '[[override.price]]\nname = "fee"\nmodel = "flat"\namount = 5',
            "other price `fee` in an [[override]]",
        ),
        (
            '[[override.price]]\nmeter = "api_calls"\nmodel = "per_unit"\n'
            'unit_amount = "0.01"\nminimum_spend = 3',
            "other price `api_calls` in an [[override]]",
        ),
    ],
)
async def test_what_a_customer_has_otherwise_is_refused_by_name(
    shop: Shop, configured: Callable[..., Config], term: str, what: str
) -> None:
    own = f'[[override]]\ncustomer = "acme"\nplan = "starter"\n{term}\n'
    pricing = PLAIN.replace("TERM", "") + own

    found = await provisioner(shop, configured(pricing=pricing)).plan()

    (problem,) = found.problems
    assert problem.startswith("plan starter, customer acme: ")
    assert what in problem


async def test_an_override_that_charges_the_same_is_none_of_stripes_business(
    shop: Shop, configured: Callable[..., Config]
) -> None:
    own = (
        '[[override]]\ncustomer = "acme"\nplan = "starter"\n[[override.price]]\n'
        'meter = "api_calls"\ndescription = "calls of yours"\nmodel = "per_unit"\n'
        'unit_amount = "0.010"\n'
    )

    found = await provisioner(
        shop, configured(pricing=PLAIN.replace("TERM", "") + own)
    ).plan()

    assert found.problems == ()


async def test_a_flat_price_of_a_meter_is_due_once_and_not_by_the_unit(
    shop: Shop, configured: Callable[..., Config]
) -> None:
    pricing = PLAIN.replace("TERM", "").replace(
        'model = "per_unit"\nunit_amount = "0.01"', 'model = "flat"\namount = 20'
    )

    await make(shop, configured(pricing=pricing))

    (price,) = shop.server.catalog.prices.values()
    assert price["recurring"] == {"interval": "month"}


async def test_two_prices_that_would_share_a_lookup_key_are_refused(
    shop: Shop, configured: Callable[..., Config]
) -> None:
    fee = '[[plan.price]]\nname = "x_fee"\nmodel = "flat"\namount = 1\n'
    other = fee.replace("x_fee", "fee")
    pricing = PLAIN.replace("TERM", "") + fee
    pricing += PLAIN.replace("TERM", "").replace("starter", "starter_x") + other

    found = await provisioner(shop, configured(pricing=pricing)).plan()

    (problem,) = found.problems
    assert "meterline_starter_x_fee" in problem
