"""Days on which periods begin, against a slow reference that counts days one by one."""

from calendar import monthrange
from datetime import date, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_pricing import Period, PricingError
from meterline_pricing.grid import Grid, Length, first_day, is_within
from meterline_pricing.period import Calendar, title_of

DAY = timedelta(days=1)
LENGTHS = st.sampled_from(get_args(Length))
DATES = st.dates(date(1980, 1, 1), date(2090, 12, 31))


def begins(day: date, length: str, anchor: date) -> bool:
    """Say whether a period begins on a day, one day looked at by itself."""
    last = monthrange(day.year, day.month)[1]
    is_day = day.day == min(anchor.day, last)
    match length:
        case "day":
            return True
        case "week":
            return day.weekday() == anchor.weekday()
        case "month":
            return is_day
        case "quarter":
            return is_day and (day.month - anchor.month) % 3 == 0
        case _:
            return is_day and day.month == anchor.month


@given(length=LENGTHS, anchor=DATES, day=DATES)
def test_a_period_is_the_days_from_one_beginning_to_the_next(
    length: Length, anchor: date, day: date
) -> None:
    grid = Grid(length, anchor)

    first, after = grid.floor(day), grid.after(day)

    expected = day
    while not begins(expected, length, anchor):
        expected -= DAY
    assert first == expected
    expected = day + DAY
    while not begins(expected, length, anchor):
        expected += DAY
    assert after == expected
    assert grid.floor(first) == first
    assert first_day(grid.name(first)) == first
    assert grid.name(first) < grid.name(after)


def test_the_31st_is_the_last_day_of_a_short_month_and_the_31st_again_after() -> None:
    grid = Grid("month", date(2026, 1, 31))

    edges = [date(2026, 1, 31)]
    for _ in range(4):
        edges.append(grid.after(edges[-1]))

    assert [f"{edge:%m-%d}" for edge in edges] == [
        *("01-31", "02-28", "03-31", "04-30", "05-31"),
    ]


def test_a_year_from_the_29th_of_february_begins_on_it_in_leap_years() -> None:
    grid = Grid("year", date(2024, 2, 29))

    assert grid.floor(date(2026, 6, 1)) == date(2026, 2, 28)
    assert grid.after(date(2027, 6, 1)) == date(2028, 2, 29)


@pytest.mark.parametrize(
    ("length", "first"),
    [("week", "2026-11-23"), ("quarter", "2026-10-01"), ("year", "2026-01-01")],
)
def test_without_an_anchor_periods_begin_with_those_of_the_calendar(
    length: Length, first: str
) -> None:
    assert str(Grid(length).floor(date(2026, 11, 26))) == first


def test_only_a_calendar_month_is_named_without_a_day() -> None:
    first = date(2026, 11, 1)

    assert Grid("month").name(first) == "2026-11"
    assert Grid("month").name(date(2026, 11, 23)) == "2026-11-23"
    assert Grid("month", date(2026, 1, 15)).name(first) == "2026-11-01"
    assert Grid("day").name(first) == "2026-11-01"


def test_a_month_has_within_it_all_that_begins_in_it() -> None:
    assert is_within("2026-11", "2026-11")
    assert is_within("2026-11-23", "2026-11")
    assert not is_within("2026-12-01", "2026-11")
    assert not is_within("2026-11", "2026-11-01")


def test_no_grid_reaches_beyond_the_calendar() -> None:
    with pytest.raises(PricingError, match="no calendar reaches that day"):
        Grid("year").after(date(9999, 12, 31))
    with pytest.raises(PricingError, match="no calendar reaches that day"):
        Grid("week").after(date(9999, 12, 31))


@pytest.mark.parametrize(
    ("length", "day", "title"),
    [
        ("month", date(2026, 11, 1), "2026-11"),
        ("day", date(2026, 11, 23), "23 Nov 2026"),
        ("week", date(2026, 11, 23), "23 - 29 Nov 2026"),
        ("week", date(2026, 11, 30), "30 Nov - 6 Dec 2026"),
        ("week", date(2026, 12, 28), "28 Dec 2026 - 3 Jan 2027"),
    ],
)
def test_people_read_the_days_of_a_period(
    length: Length, day: date, title: str
) -> None:
    calendar = Calendar(time_zone="Asia/Tokyo", period=length)

    found = title_of(calendar.at(calendar.start_of(day)), time_zone="Asia/Tokyo")

    assert found == title


def test_a_span_of_no_name_has_no_title() -> None:
    assert title_of(Period(0, 1)) == ""
