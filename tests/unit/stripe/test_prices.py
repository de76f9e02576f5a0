"""A price in Stripe's words charges the same, or is refused."""

from decimal import Decimal
from typing import Any

import pytest

from meterline_pricing import Price, RateCard
from meterline_pricing.models import (
    Capacity,
    Conversion,
    Flat,
    Graduated,
    Package,
    PerUnit,
    Tier,
    Volume,
)
from meterline_sidecar.stripe.provision.prices import (
    NotSayable,
    content_hash,
    price_fields,
)

FIRST_FREE = (
    Tier(up_to=Decimal(50_000)),
    Tier(unit_amount=Decimal("0.001")),
)


def said(price: Price, currency: str = "usd", **terms: Any) -> dict[str, Any]:
    return price_fields(RateCard(meter="calls", price=price, **terms), currency)


def test_the_worked_example_is_two_tiers_in_cents() -> None:
    assert said(Graduated(FIRST_FREE)) == {
        "currency": "usd",
        "billing_scheme": "tiered",
        "tiers_mode": "graduated",
        "tiers": [
            {"up_to": 50_000, "unit_amount_decimal": "0"},
            {"up_to": "inf", "unit_amount_decimal": "0.1"},
        ],
    }


@pytest.mark.parametrize(
    ("currency", "amount"), [("usd", "250"), ("jpy", "2.5"), ("kwd", "2500")]
)
def test_amounts_are_in_the_minor_unit_of_their_currency(
    currency: str, amount: str
) -> None:
    fields = said(PerUnit(Decimal("2.5")), currency)

    assert fields["unit_amount_decimal"] == amount


def test_a_tiny_amount_is_plain_decimal_text() -> None:
    fields = said(PerUnit(Decimal("2.5E-9")))

    assert fields["unit_amount_decimal"] == "0.00000025"


def test_a_flat_amount_of_a_tier_is_a_whole_number() -> None:
    tiers = (Tier(up_to=Decimal(10), flat_amount=Decimal("5.00")), Tier())

    assert said(Volume(tiers))["tiers"][0]["flat_amount"] == 500


def test_a_package_divides_the_quantity() -> None:
    fields = said(Package(size=Decimal(1_000), amount=Decimal("0.10")))

    assert fields["transform_quantity"] == {"divide_by": 1_000, "round": "up"}
    assert fields["unit_amount_decimal"] == "10"


def test_free_units_of_a_plain_price_are_a_tier() -> None:
    fields = said(PerUnit(Decimal("0.01")), free_units=Decimal(100))

    assert [tier["up_to"] for tier in fields["tiers"]] == [100, "inf"]


def test_per_million_without_rounding_is_a_smaller_amount() -> None:
    fields = said(PerUnit(Decimal(3)), convert=Conversion(per=Decimal(1_000_000)))

    assert fields["unit_amount_decimal"] == "0.0003"
    assert "transform_quantity" not in fields


def test_begun_millions_divide_the_quantity() -> None:
    convert = Conversion(per=Decimal(1_000_000), round="up")

    fields = said(PerUnit(Decimal(3)), convert=convert)

    assert fields["transform_quantity"]["divide_by"] == 1_000_000


@pytest.mark.parametrize(
    ("price", "terms", "what"),
    [
        (Capacity(Decimal(1), Decimal(1), Decimal(1)), {}, "model `capacity`"),
        (PerUnit(Decimal("1E-15")), {}, "12 decimals"),
        (PerUnit(Decimal(1)), {"minimum_spend": Decimal(5)}, "minimum_spend"),
        (Graduated(FIRST_FREE), {"free_units": Decimal(5)}, "free_units"),
        (Graduated(FIRST_FREE, flat_at_zero=True), {}, "flat_at_zero"),
        (Graduated((Tier(up_to=Decimal("1.5")), Tier())), {}, "no integer"),
        (Package(Decimal("1.5"), Decimal(1)), {}, "no integer"),
        (
            PerUnit(Decimal(1)),
            {"convert": Conversion(per=Decimal(3))},
            "endless fraction",
        ),
        (PerUnit(Decimal(1)), {"convert": Conversion(times=Decimal(2))}, "times"),
        (
            Volume((Tier(flat_amount=Decimal("0.001")),)),
            {},
            "no whole minor unit",
        ),
    ],
)
def test_what_stripe_would_charge_otherwise_is_refused(
    price: Price, terms: dict[str, Any], what: str
) -> None:
    with pytest.raises(NotSayable, match=what):
        said(price, **terms)


def test_a_fee_without_meter_is_an_amount() -> None:
    card = RateCard(name="base", price=Flat(Decimal("29.00")))

    assert price_fields(card, "usd") == {"currency": "usd", "unit_amount": 2900}


def test_the_hash_tells_charges_apart_and_nothing_else() -> None:
    one, other = said(PerUnit(Decimal("0.10"))), said(PerUnit(Decimal("0.1")))
    dearer = said(PerUnit(Decimal("0.2")))

    assert content_hash(one, "calls") == content_hash(other, "calls")
    assert content_hash(one, "calls") != content_hash(dearer, "calls")
    assert content_hash(one, "calls") != content_hash(one, "tokens")
