"""What has changed of a plan or a meter is told key by key."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from meterline_pricing import Plan, RateCard
from meterline_pricing.models import Flat
from meterline_pricing.terms import Tax
from meterline_sidecar.meters import Meter
from meterline_sidecar.terms.altered import what_changed


def fee(name: str, amount: int = 1) -> RateCard:
    return RateCard(name=name, price=Flat(Decimal(amount)))


PLAN = Plan(
    name="pro",
    currency="usd",
    prices=(fee("fee"), fee("support")),
    taxes=(Tax(name="VAT", percent=Decimal(19)),),
)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (replace(PLAN, prices=(fee("fee", 2), fee("support"))), "price fee"),
        (
            replace(PLAN, prices=(fee("fee"), fee("sms"))),
            "price support removed, price sms added",
        ),
        (replace(PLAN, prices=PLAN.prices[::-1]), "the order of prices"),
        (replace(PLAN, taxes=(Tax(name="VAT", percent=Decimal(20)),)), "tax VAT"),
        (replace(PLAN, taxes=()), "tax VAT removed"),
        (replace(PLAN, minimum_spend=Decimal(5)), "minimum_spend none -> 5"),
        (
            replace(PLAN, currency="eur", period="year"),
            "currency usd -> eur, period month -> year",
        ),
        (replace(PLAN, order="lago"), "order"),
        (
            replace(PLAN, prices=tuple(fee(f"p{i}") for i in range(20))),
            "price fee removed, price support removed, "
            + ", ".join(f"price p{i} added" for i in range(8))
            + " and 12 more",
        ),
    ],
)
def test_what_has_changed_of_a_plan_is_named(now: Plan, words: str) -> None:
    assert what_changed(PLAN, now) == words


def test_what_has_changed_of_a_meter_is_named() -> None:
    meter = Meter(name="calls", aggregation="count")

    now = replace(meter, group_by=("route",), late="report")

    assert what_changed(meter, now) == "group_by, late adjust -> report"
