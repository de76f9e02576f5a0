"""Periods of any length: they tile time, and what is over stays as it was."""

import itertools
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple, get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meterline_pricing import Period, PricingError
from meterline_pricing.grid import Length
from meterline_sidecar.clock import DAY_MS, format_time_ms
from meterline_sidecar.terms.agreed import agreed
from meterline_sidecar.terms.calendar import CustomerCalendar
from tests.unit.pricing.test_grid import begins
from tests.unit.terms.agreements import History, customer, ms, plan

LENGTHS: tuple[Length, ...] = get_args(Length)
PLANS = tuple(plan(length, "0.01", fee="10", period=length) for length in LENGTHS)
FIRST = ms("2011-11-01T00:00:00Z")  # Apia skips the 30th of December
LAST = ms("2012-04-01T00:00:00Z")
USUAL = date(2001, 1, 1)
ZONES = (
    *("UTC", "Pacific/Apia", "Pacific/Kiritimati", "Pacific/Pago_Pago"),
    *("Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "Asia/Beirut"),
)


class Said(NamedTuple):
    """What the files say of a customer from a moment on."""

    at_ms: int
    length: Length
    anchor: date | None
    zone: str


def loads() -> st.SearchStrategy[list[Said]]:
    moments = st.integers(FIRST, LAST) | st.integers(
        FIRST // DAY_MS, LAST // DAY_MS
    ).map(lambda day: day * DAY_MS)
    said = st.builds(
        Said,
        moments,
        st.sampled_from(LENGTHS),
        st.none() | st.dates(date(2011, 1, 1), date(2012, 12, 31)),
        st.sampled_from(ZONES),
    )
    some = st.lists(said, min_size=1, max_size=4, unique_by=lambda one: one.at_ms)
    return some.map(lambda says: sorted(says, key=lambda one: one.at_ms))


def load(history: History, said: Said) -> None:
    wanted = customer(plan=said.length, anchor=said.anchor, time_zone=said.zone)
    history.load(format_time_ms(said.at_ms), wanted, plans=PLANS)


def slowly(says: list[Said]) -> list[Period]:
    """Return all periods, one day looked at after the other."""
    held, rest = says[0], says[1:]
    day = date(2010, 6, 1)
    while not begins(day, held.length, held.anchor or USUAL):
        day += timedelta(days=1)
    start, found = _midnight(day, held.zone), list[Period]()
    while start < LAST + 500 * DAY_MS:
        first, day = day, day + timedelta(days=1)
        while not begins(day, held.length, held.anchor or USUAL):
            day += timedelta(days=1)
        end = max(start, _midnight(day, held.zone))
        is_month = held.length == "month" and (held.anchor or USUAL).day == 1
        name = f"{first:%Y-%m}" if is_month and first.day == 1 else str(first)
        if start < end:
            found.append(Period(start, end, name))
        while rest and rest[0].at_ms < end:
            held, rest = rest[0], rest[1:]
        start = end
    return found


def _midnight(day: date, zone: str) -> int:
    at = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
    return int(at.astimezone(UTC).timestamp()) * 1000


@settings(max_examples=25, deadline=None)
@given(loads())
@example([Said(FIRST, "day", None, "Pacific/Apia")])
@example([Said(FIRST, "week", date(2011, 12, 30), "Pacific/Apia")])
@example(
    [
        Said(FIRST, "day", None, "Pacific/Pago_Pago"),
        Said(ms("2011-12-05T12:00:00Z"), "day", None, "Pacific/Kiritimati"),
    ]
)
def test_whatever_the_files_say_periods_are_those_of_a_slow_reference(
    says: list[Said],
) -> None:
    history = History()
    over: list[Period] = []
    for said in says:
        load(history, said)
        calendar = CustomerCalendar.of(history.terms, "acme")
        # What was over, or running, at an earlier moment is what it was then.
        assert [calendar.whole(period.name) for period in over] == over
        over = list(calendar.periods(FIRST - 60 * DAY_MS, said.at_ms + 1))

    expected = slowly(says)

    calendar = CustomerCalendar.of(history.terms, "acme")
    found = list(calendar.periods(expected[1].start, LAST + 100 * DAY_MS))
    assert found == expected[1 : 1 + len(found)]
    names = [period.name for period in found]
    assert names == sorted(set(names))
    for one, other in itertools.pairwise(found):
        assert one.end == other.start
        assert calendar.whole(other.name) == other
        assert calendar.before(other.name) == one.name
        assert calendar.next_from(other.start) == other
        assert calendar.name_at(other.start) == other.name
        assert calendar.name_at(other.end - 1) == other.name
        around = calendar.around(other.name)
        assert around.start <= other.start
        assert around.end == other.end


def test_a_plan_with_other_periods_begins_where_the_running_one_ends() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(plan="month"), plans=PLANS)

    found = history.load("2026-11-20T15:00:00Z", customer(plan="week"), plans=PLANS)

    assert found.told == ("from 2026-12-01 acme: plan month -> week",)
    calendar = CustomerCalendar.of(history.terms, "acme")
    start, end = ms("2026-11-05T00:00:00Z"), ms("2026-12-15T00:00:00Z")
    names = [period.name for period in calendar.periods(start, end)]
    # The 1st of December is a Tuesday: a short week leads to Mondays.
    assert names == ["2026-11", "2026-12-01", "2026-12-07", "2026-12-14"]
    assert calendar.around("2026-12-01").start == ms("2026-11-30T00:00:00Z")
    for name in names:
        stretches = agreed(history.terms, "acme", calendar.named(name))
        lengths = [stretch.plan and stretch.plan.period for stretch in stretches]
        assert lengths == [calendar.length(name)]


def test_a_date_within_a_period_is_refused_to_a_plan_with_others() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(plan="month"), plans=PLANS)

    wanted = customer(plan="week", from_day=date(2026, 12, 10))
    (refused,) = history.diff("2026-11-20T15:00:00Z", wanted, plans=PLANS).refused

    assert "would end 2026-12 in another length than it began in" in refused
    assert "it can hold from 2027-01-01 on" in refused


def test_no_reason_gives_what_is_final_other_periods() -> None:
    history = History()
    history.load("2026-01-01T00:00:00Z", customer(plan="month"), plans=PLANS)
    history.finals["acme"] = ms("2026-11-01T00:00:00Z")

    day = date(2026, 10, 1)
    for wanted in (
        customer(plan="week", from_day=day),
        customer(plan="month", anchor=day, from_day=day),
    ):
        found = history.diff(
            "2026-11-20T15:00:00Z", wanted, plans=PLANS, reason="a mistake"
        )
        (refused,) = found.refused
        assert "would reach into a period that is final" in refused


def test_who_had_no_plan_begins_with_the_periods_of_the_first_one() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(), plans=PLANS)

    found = history.load("2026-11-25T15:00:00Z", customer(plan="week"), plans=PLANS)

    assert found.told == ("from 2026-11-25 acme: plan none -> week",)
    calendar = CustomerCalendar.of(history.terms, "acme")
    assert calendar.name_at(ms("2026-11-25T15:00:00Z")) == "2026-11-23"


def test_who_has_not_started_begins_with_the_periods_that_hold_then() -> None:
    history = History()
    first = customer(plan="month", starts=date(2026, 12, 9))
    history.load("2026-11-01T00:00:00Z", first, plans=PLANS)

    other = customer(plan="week", starts=date(2026, 12, 9))
    history.load("2026-11-25T15:00:00Z", other, plans=PLANS)

    calendar = CustomerCalendar.of(history.terms, "acme")
    period = calendar.at(ms("2026-12-09T00:00:00Z"))
    assert (period.name, period.start, period.end) == (
        "2026-12-07",
        ms("2026-12-09T00:00:00Z"),
        ms("2026-12-14T00:00:00Z"),
    )


def test_a_version_with_other_periods_holds_from_the_next_one_on() -> None:
    history = History()
    monthly = plan("basic", version=1)
    history.load("2026-11-01T00:00:00Z", customer(plan="basic"), plans=(monthly,))
    weekly = plan("basic", version=2, period="week", effective=date(2026, 11, 23))

    history.load(
        "2026-11-15T00:00:00Z", customer(plan="basic"), plans=(monthly, weekly)
    )

    calendar = CustomerCalendar.of(history.terms, "acme")
    start, end = ms("2026-11-05T00:00:00Z"), ms("2026-12-08T00:00:00Z")
    assert [period.name for period in calendar.periods(start, end)] == [
        *("2026-11", "2026-12-01", "2026-12-07"),
    ]


@pytest.mark.parametrize(
    ("version", "effective", "why"),
    [
        (1, date(1970, 1, 1), "it cannot become a week"),
        (2, date(2026, 11, 25), "it can be effective from 2026-11-27 on"),
    ],
)
def test_what_customers_are_on_gets_no_other_periods(
    version: int, effective: date, why: str
) -> None:
    history = History()
    monthly = plan("basic", version=1)
    history.load("2026-11-01T00:00:00Z", customer(plan="basic"), plans=(monthly,))
    weekly = plan("basic", version=version, period="week", effective=effective)
    plans = (weekly,) if version == 1 else (monthly, weekly)

    (refused,) = history.diff(
        "2026-11-25T15:00:00Z", customer(plan="basic"), plans=plans
    ).refused

    assert why in refused


def test_a_name_of_other_periods_says_in_which_one_that_day_is() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(plan="week"), plans=PLANS)
    calendar = CustomerCalendar.of(history.terms, "acme")

    with pytest.raises(PricingError, match="1 Nov 2026 lies in 2026-10-26"):
        calendar.named("2026-11")
    assert calendar.has_within("2026-11")
    assert not calendar.has_within("2026-11-03")
