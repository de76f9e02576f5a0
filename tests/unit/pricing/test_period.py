from datetime import UTC, date, datetime
from typing import get_args
from zoneinfo import available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meterline_pricing import Calendar, NotFound, Period, PricingError
from meterline_pricing.grid import Length

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
    calendar = Calendar(anchor=date(2026, 1, 31))

    assert calendar.named("2026-02-28").start == ms("2026-02-28T00:00Z")
    assert calendar.named("2026-02-28").end == ms("2026-03-31T00:00Z")
    assert calendar.at(ms("2026-03-30T12:00Z")).name == "2026-02-28"


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
    "name", ["2026", "2026-13", "26-11", "2026-02-30", "2026-11-1", "0000-01", ""]
)
def test_what_is_no_month_is_refused(name: str) -> None:
    with pytest.raises(PricingError, match="expected a month such as 2026-11"):
        Calendar().named(name)


def test_a_zone_that_does_not_exist_is_refused() -> None:
    with pytest.raises(NotFound, match="did you mean `Europe/Berlin`"):
        Calendar(time_zone="Europe/Berln")
    with pytest.raises(NotFound, match="expected the name of a place"):
        Calendar(time_zone="../../etc/passwd")


@pytest.mark.parametrize("name", ["CET+1", "UTC+2", "+01:00", "GMT -5"])
def test_an_offset_is_no_zone_and_says_why(name: str) -> None:
    with pytest.raises(NotFound, match="name a place, such as `Europe/Berlin`"):
        Calendar(time_zone=name)


def test_an_instant_beyond_every_calendar_is_refused() -> None:
    with pytest.raises(PricingError, match="no calendar reaches"):
        Calendar().at(2**60)


def test_a_day_that_a_zone_skipped_is_no_period() -> None:
    calendar = Calendar(time_zone="Pacific/Apia", period="day")

    before = calendar.named("2011-12-29")

    assert calendar.after(before).name == "2011-12-31"
    with pytest.raises(PricingError, match="there was no 2011-12-30"):
        calendar.named("2011-12-30")


def test_what_begins_elsewhere_is_no_period() -> None:
    with pytest.raises(PricingError, match="2026-11-24 lies in 2026-11-23"):
        Calendar(period="week").named("2026-11-24")
    with pytest.raises(PricingError, match="no month is called 2026-11-01"):
        Calendar().named("2026-11-01")


@given(
    zone=st.sampled_from(ZONES),
    length=st.sampled_from(get_args(Length)),
    anchor=st.none() | st.dates(date(1980, 1, 1), date(2090, 12, 31)),
    instant=st.datetimes(
        datetime(1975, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
        datetime(2100, 1, 1),  # noqa: DTZ001
        timezones=st.just(UTC),
    ),
)
@example("Pacific/Apia", "day", None, datetime(2011, 12, 30, 12, tzinfo=UTC))
@example("Pacific/Apia", "week", None, datetime(2011, 12, 30, 12, tzinfo=UTC))
@example("America/St_Johns", "day", None, datetime(1990, 10, 28, 3, 1, tzinfo=UTC))
@example("Australia/Lord_Howe", "day", None, datetime(2026, 4, 4, 14, 45, tzinfo=UTC))
def test_every_instant_lies_in_one_period_and_periods_touch(
    zone: str, length: Length, anchor: date | None, instant: datetime
) -> None:
    calendar = Calendar(time_zone=zone, period=length, anchor=anchor)
    time_ms = int(instant.timestamp() * 1000)

    period = calendar.at(time_ms)

    assert time_ms in period
    assert calendar.named(period.name) == period
    assert calendar.after(period).start == period.end
    assert calendar.at(period.start - 1).end == period.start
    assert calendar.at(period.start - 1).name < period.name
