from datetime import date
from decimal import Decimal

import pytest

from meterline_pricing import Calendar, Plan, RateCard
from meterline_pricing.models import Flat, PerUnit
from meterline_sidecar.billing.drafts import charged
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.config.tables import calendar_of


def plan(prorate: str) -> Plan:
    return Plan(
        name="pro",
        currency="usd",
        prorate=prorate,  # type: ignore[arg-type]  # one of the three, given as text
        prices=(
            RateCard(name="fee", price=Flat(Decimal(30))),
            RateCard(meter="calls", price=PerUnit(Decimal(1))),
        ),
    )


@pytest.mark.parametrize(
    ("prorate", "month", "fee"),
    [
        ("day", "2026-11", "10.00"),
        ("second", "2026-11", "10.00"),
        ("none", "2026-11", "30.00"),
        ("day", "2026-12", "30.00"),
    ],
)
def test_a_first_period_that_is_cut_short_has_its_fee_cut(
    prorate: str, month: str, fee: str
) -> None:
    customer = Customer(
        id="acme", name="Acme", time_zone="Asia/Kathmandu", starts=date(2026, 11, 21)
    )
    period = calendar_of(customer).named(month)

    drawn = charged(plan(prorate), {"calls": 7}, period, time_zone=customer.time_zone)

    assert [f"{line.amount:f}" for line in drawn.lines] == [fee, "7.00"]


def test_a_period_from_before_the_zone_changed_is_charged_by_its_days() -> None:
    calendar = Calendar(time_zone="America/New_York")
    period = calendar.named("2026-11")

    drawn = charged(plan("day"), {"calls": 7}, period, time_zone="Asia/Tokyo")

    assert [f"{line.amount:f}" for line in drawn.lines] == ["30.00", "7.00"]
