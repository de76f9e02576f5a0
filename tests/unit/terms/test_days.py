"""A customer's days in a span of time, one behind the other."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_sidecar.clock import DAY_MS, parse_time_ms
from meterline_sidecar.terms.days import Day, Days

HOUR_MS = 3_600_000
ZONES = st.sampled_from(
    ["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"]
)


def at(text: str) -> int:
    return parse_time_ms(text)


def test_outer_days_are_cut_to_the_span() -> None:
    days = Days([(0, "Asia/Tokyo")])
    start, end = at("2026-11-01T12:00:00Z"), at("2026-11-02T16:00:00Z")

    assert days.within(start, end) == [
        Day(date(2026, 11, 1), start, at("2026-11-01T15:00:00Z")),
        Day(date(2026, 11, 2), at("2026-11-01T15:00:00Z"), at("2026-11-02T15:00:00Z")),
        Day(date(2026, 11, 3), at("2026-11-02T15:00:00Z"), end),
    ]
    assert days.within(start, start) == []


def test_a_day_that_a_zone_leaves_out_is_not_there() -> None:
    days = Days([(0, "Pacific/Apia")])

    found = days.within(at("2011-12-29T10:00:00Z"), at("2012-01-01T10:00:00Z"))

    assert [(day.date.day, (day.end - day.start) // HOUR_MS) for day in found] == [
        *((29, 24), (31, 24), (1, 24)),
    ]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_the_last_day_of_all_ends_with_the_span(zone: str) -> None:
    start = at("9999-12-31T06:00:00Z")

    (day,) = Days([(0, zone)]).within(start, start + HOUR_MS)

    assert day == Day(date.max, start, start + HOUR_MS)


@given(
    st.integers(0, 30_000 * 24),
    st.integers(0, 40 * 24),
    ZONES,
    ZONES,
    st.integers(0, 60),
)
def test_days_are_the_whole_span_and_each_its_own(
    first_h: int, hours: int, zone: str, later: str, moved_d: int
) -> None:
    start = first_h * HOUR_MS
    end = start + hours * HOUR_MS
    days = Days([(0, zone), (start + moved_d * DAY_MS, later)])

    found = days.within(start, end)

    edges = [start, *(day.end for day in found)]
    assert edges[-1] == end
    assert [day.start for day in found] == edges[: len(found)]
    assert all(day.start < day.end for day in found)
    assert len({day.date for day in found}) == len(found)
