from datetime import UTC, date, datetime
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_pricing import Calendar, NotFound, Period, PricingError

ZONES = sorted(available_timezones())


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1000


def test_a_month_in_utc() -> None:
    period = Calendar().named("2026-11")

    assert period == Period(ms("2026-11-01T00:00Z"), ms("2026-12-01T00:00Z"), "2026-11")


def test_a_month_in_a_zone_of_odd_minutes() -> None:
    period = Calendar(time_zone="Asia/Kathmandu").named("2026-11")

    assert period.start == ms("2026-10-31T18:15Z")
    assert period.end == ms("2026-11-30T18:15Z")


def test_a_month_in_which_the_clocks_change_is_an_hour_longer() -> None:
    period = Calendar(time_zone="Europe/Berlin").named("2026-10")

    assert period.end - period.start == (31 * 24 + 1) * 3_600_000


def test_a_day_without_midnight_begins_when_the_clocks_jump() -> None:
    # Beirut went from 00:00 to 01:00 on 2021-03-28; Cairo does so in April.
    start = Calendar(time_zone="Asia/Beirut").start_of(date(2021, 3, 28))

    assert start == ms("2021-03-27T22:00Z")


def test_an_anchor_on_the_31st_falls_on_the_last_day_of_short_months() -> None:
    calendar = Calendar(anchor_day=31)

    assert calendar.named("2026-02").start == ms("2026-02-28T00:00Z")
    assert calendar.named("2026-02").end == ms("2026-03-31T00:00Z")
    assert calendar.at(ms("2026-03-30T12:00Z")).name == "2026-02"


def test_the_first_period_is_cut_where_the_customer_starts() -> None:
    calendar = Calendar(starts=date(2026, 11, 15))

    period = calendar.named("2026-11")

    assert period.start == ms("2026-11-15T00:00Z")
    assert calendar.at(period.start) == period
    with pytest.raises(PricingError, match="the customer starts on 2026-11-15"):
        calendar.at(period.start - 1)
    with pytest.raises(PricingError, match="ends before the customer starts"):
        calendar.named("2026-10")


@pytest.mark.parametrize(
    "name", ["2026", "2026-13", "26-11", "2026-11-01", "0000-01", ""]
)
def test_what_is_no_month_is_refused(name: str) -> None:
    with pytest.raises(PricingError, match="expected a month such as 2026-11"):
        Calendar().named(name)


def test_a_zone_or_an_anchor_that_does_not_exist_is_refused() -> None:
    with pytest.raises(NotFound, match="did you mean `Europe/Berlin`"):
        Calendar(time_zone="Europe/Berln")
    with pytest.raises(NotFound, match="unknown time zone"):
        Calendar(time_zone="../../etc/passwd")
    with pytest.raises(PricingError, match="anchor_day: expected 1 to 31, not 32"):
        Calendar(anchor_day=32)


def test_an_instant_beyond_every_calendar_is_refused() -> None:
    with pytest.raises(PricingError, match="no calendar reaches"):
        Calendar().at(2**60)


@given(
    zone=st.sampled_from(ZONES),
    anchor=st.integers(1, 31),
    instant=st.datetimes(
        datetime(1975, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
        datetime(2100, 1, 1),  # noqa: DTZ001
        timezones=st.just(UTC),
    ),
)
def test_every_instant_lies_in_one_period_and_periods_touch(
    zone: str, anchor: int, instant: datetime
) -> None:
    calendar = Calendar(time_zone=zone, anchor_day=anchor)
    time_ms = int(instant.timestamp() * 1000)

    period = calendar.at(time_ms)

    assert time_ms in period
    assert calendar.named(period.name) == period
    assert calendar.after(period).start == period.end
    assert calendar.at(period.start - 1).end == period.start
