from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_pricing import Calendar, Period, Plan, PricingError, RateCard
from meterline_pricing.models import Flat, PerUnit
from meterline_pricing.tools import (
    Stretch,
    change_fee,
    invoice_stretches,
    latest_incremental,
    prorate,
    rate_between,
    share_of,
    time_weighted_sum,
)

D = Decimal
OCTOBER = Calendar(time_zone="Europe/Berlin").named("2026-10")
NOVEMBER = Calendar().named("2026-11")
HOUR = 3_600_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


def fee(name: str, amount: int, currency: str = "usd", prorate: str = "day") -> Plan:
    return Plan(
        name=name,
        currency=currency,
        prorate=prorate,  # type: ignore[arg-type]  # one of the three, given as text
        prices=(
            RateCard(name="fee", price=Flat(D(amount))),
            RateCard(meter="calls", price=PerUnit(D(1))),
        ),
    )


def test_days_are_those_of_the_time_zone() -> None:
    ends = Calendar(time_zone="Europe/Berlin").start_of(
        datetime(2026, 10, 11, tzinfo=UTC).date()
    )
    part = Period(OCTOBER.start, ends)

    assert share_of(part, OCTOBER, time_zone="Europe/Berlin") == (10, 31)
    assert share_of(part, OCTOBER, by="second") == (240 * HOUR, (31 * 24 + 1) * HOUR)
    assert share_of(part, OCTOBER, by="none") is None
    assert share_of(OCTOBER, OCTOBER) is None


def test_a_part_outside_its_whole_has_no_share() -> None:
    with pytest.raises(PricingError, match="does not lie in"):
        share_of(Period(0, 10), Period(5, 20))


@pytest.mark.parametrize(
    "zone", ["America/Los_Angeles", "Asia/Tokyo", "Pacific/Apia", "Pacific/Niue"]
)
def test_a_month_that_begins_in_another_zone_has_its_days(zone: str) -> None:
    calendar = Calendar(time_zone=zone)
    december = Period(
        ms("2026-12-01T00:00"), calendar.start_of(date(2027, 1, 1)), "2026-12"
    )
    change = calendar.start_of(date(2026, 12, 16))
    edges = [december.start, december.start + HOUR, change, december.end]

    shares = [
        share_of(Period(start, end), december, time_zone=zone)
        for start, end in pairwise(edges)
    ]

    assert shares == [(0, 31), (15, 31), (16, 31)]


def test_a_day_that_a_zone_skipped_is_in_no_share() -> None:
    # Samoa went over the date line: behind the 29th came the 31st.
    zone = "Pacific/Apia"
    december = Calendar(time_zone=zone).named("2011-12")
    behind = Calendar(time_zone=zone).start_of(date(2011, 12, 16))

    parts = [
        Period(december.start, behind),
        Period(behind, december.end),
        Calendar(time_zone=zone, starts=date(2011, 12, 29)).named("2011-12"),
    ]

    assert [share_of(part, december, time_zone=zone) for part in parts] == [
        *((15, 30), (15, 30), (2, 30))
    ]


@given(st.lists(st.integers(1, 719), max_size=5, unique=True))
def test_the_days_of_all_parts_are_the_days_of_the_whole(hours: list[int]) -> None:
    edges = [
        NOVEMBER.start,
        *(NOVEMBER.start + h * HOUR for h in sorted(hours)),
        NOVEMBER.end,
    ]
    shares = [share_of(Period(start, end), NOVEMBER) for start, end in pairwise(edges)]

    assert sum(share[0] if share else 30 for share in shares) == 30


@pytest.mark.parametrize(
    ("amount", "share", "currency", "expected"),
    [
        ("30", (10, 31), "usd", "9.68"),
        ("30", (10, 31), "jpy", "10"),
        ("30", (31, 31), "usd", "30.00"),
        ("30", (0, 31), "usd", "0.00"),
    ],
)
def test_an_amount_is_prorated_and_rounded(
    amount: str, share: tuple[int, int], currency: str, expected: str
) -> None:
    assert f"{prorate(amount, share, currency=currency):f}" == expected


@pytest.mark.parametrize("share", [(32, 31), (-1, 31), (0, 0)])
def test_what_is_no_share_is_refused(share: tuple[int, int]) -> None:
    with pytest.raises(PricingError, match="expected a share of a whole"):
        prorate(30, share, currency="usd")


def test_each_side_of_a_change_is_rounded_and_then_they_are_netted() -> None:
    # -6.6667 and 13.3333: the net of the exact amounts would be 6.67 as well, but
    # with thirds of a cent on both sides it is not always.
    change = change_fee("10.01", "20.03", (2, 3), currency="usd")

    assert (change.credit, change.charge, change.net) == (
        D("-6.67"),
        D("13.35"),
        D("6.68"),
    )


def test_a_downgrade_gives_money_back_and_no_old_fee_gives_none() -> None:
    assert change_fee(20, 10, (15, 30), currency="usd").net == -5
    free = change_fee(0, 10, (15, 30), currency="usd")
    assert f"{free.credit:f}" == "0.00"


def test_a_plan_that_changes_in_the_middle_is_billed_for_each_stretch() -> None:
    middle = ms("2026-11-11")
    stretches = [
        Stretch(fee("basic", 30), Period(NOVEMBER.start, middle), {"calls": 7}),
        Stretch(fee("pro", 90), Period(middle, NOVEMBER.end), {"calls": 5}),
    ]

    first, second = invoice_stretches(stretches, NOVEMBER)

    assert [line.amount for line in first.lines] == [D(10), D(7)]
    assert [line.amount for line in second.lines] == [D(60), D(5)]
    assert first.period == stretches[0].period


def test_one_stretch_for_the_whole_period_is_an_ordinary_invoice() -> None:
    (only,) = invoice_stretches([Stretch(fee("basic", 30), NOVEMBER, {})], NOVEMBER)

    assert only.total == 30


def test_stretches_must_be_the_period_and_of_one_currency() -> None:
    middle = ms("2026-11-11")
    first = Stretch(fee("basic", 30), Period(NOVEMBER.start, middle), {})
    late = Stretch(fee("pro", 90), Period(middle + 1, NOVEMBER.end), {})
    euros = Stretch(fee("pro", 90, "eur"), Period(middle, NOVEMBER.end), {})

    with pytest.raises(PricingError, match="a gap or an overlap"):
        invoice_stretches([first, late], NOVEMBER)
    with pytest.raises(PricingError, match="the stretches end at"):
        invoice_stretches([first], NOVEMBER)
    with pytest.raises(PricingError, match="differ in currency"):
        invoice_stretches([first, euros], NOVEMBER)


def test_a_level_is_weighted_by_how_long_it_held() -> None:
    half = ms("2026-11-16")

    assert time_weighted_sum([], NOVEMBER, carried=10) == 10
    assert time_weighted_sum([(half, 10)], NOVEMBER) == 5
    assert time_weighted_sum([(half, "-4")], NOVEMBER, carried=10) == 8
    assert time_weighted_sum([(half, D("-4.0"))], NOVEMBER, carried=10) == 8
    assert time_weighted_sum([(0, 10), (NOVEMBER.end, 99)], NOVEMBER) == 10
    assert time_weighted_sum([(half, 2)], NOVEMBER, unit_ms=HOUR) == 2 * 15 * 24


def test_a_level_over_no_time_and_a_change_that_is_no_number_are_refused() -> None:
    with pytest.raises(PricingError, match="of more than 0 ms"):
        time_weighted_sum([], Period(5, 5))
    with pytest.raises(PricingError, match="of more than 0 ms"):
        time_weighted_sum([], NOVEMBER, unit_ms=0)
    with pytest.raises(PricingError, match="change: expected a number"):
        time_weighted_sum([(0, "x")], NOVEMBER)


def test_a_gauge_is_billed_by_how_far_it_went() -> None:
    readings = [
        (NOVEMBER.start - 1, 99),
        (NOVEMBER.start + 5, 14),
        (NOVEMBER.start + 3, 12),
        (NOVEMBER.end, 77),
    ]

    change = latest_incremental(readings, NOVEMBER, before=10)

    assert (change.before, change.after, change.quantity) == (D(10), D(14), D(4))
    assert rate_between(PerUnit(D(2)), change.before, change.after).amount == 8
    assert latest_incremental([], NOVEMBER, before=10).quantity == 0
    assert latest_incremental([(NOVEMBER.start, 4)], NOVEMBER, before=10).quantity == -6
