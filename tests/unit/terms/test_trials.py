"""Free trials: from when to when, and once."""

from datetime import date

from meterline_pricing import Override
from meterline_sidecar.terms.agreed import agreed
from meterline_sidecar.terms.calendar import CustomerCalendar
from tests.unit.terms.agreements import History, customer, plan

TRIAL = plan("trial", fee="30", trial_days=14)
OTHER = plan("other", fee="30", trial_days=7)
PLANS = (TRIAL, OTHER)


def free_days(history: History, *months: str) -> list[str]:
    """Return the first and last day of each time for which nothing is charged."""
    calendar = CustomerCalendar.of(history.terms, "acme")
    return [
        f"{calendar.day(part.start)}..{calendar.day(part.end - 1)}"
        for month in months
        for part in agreed(history.terms, "acme", calendar.named(month))
        if part.plan is not None and part.plan.prices[0].discounts
    ]


def test_a_trial_begins_with_the_first_day_and_may_reach_into_the_next_period() -> None:
    history = History()
    starts = date(2026, 11, 20)
    wanted = customer(plan="trial", starts=starts, time_zone="Asia/Tokyo")
    history.load("2026-11-01T00:00:00Z", wanted, plans=PLANS)

    assert free_days(history, "2026-11", "2026-12", "2027-01") == [
        *("2026-11-20..2026-11-30", "2026-12-01..2026-12-03"),
    ]


def test_without_a_first_day_it_begins_when_a_customer_becomes_known() -> None:
    history = History()
    history.load("2026-11-05T15:00:00Z", customer(plan="trial"), plans=PLANS)

    # What they used before counts as if the plan held: so it does with all plans.
    assert free_days(history, "2026-11") == ["2026-11-01..2026-11-18"]


def test_each_plan_has_one_trial_whoever_comes_back_to_it() -> None:
    history = History()
    first = customer(plan="trial", starts=date(2026, 11, 1))
    history.load("2026-11-01T00:00:00Z", first, plans=PLANS)
    for at, name in (
        ("2026-11-10T12:00:00Z", "other"),
        ("2026-11-29T12:00:00Z", "trial"),
    ):
        changed = customer(plan=name, starts=date(2026, 11, 1))
        history.load(at, changed, plans=PLANS)

    assert free_days(history, "2026-11", "2026-12") == [
        *("2026-11-01..2026-11-09", "2026-11-10..2026-11-16"),
    ]


def test_a_customer_of_their_own_trial_has_that_one() -> None:
    history = History()
    own = Override(customer="acme", plan="trial", trial_days=3)
    wanted = customer(plan="trial", starts=date(2026, 11, 1), overrides=(own,))
    history.load("2026-11-01T00:00:00Z", wanted, plans=PLANS)

    assert free_days(history, "2026-11") == ["2026-11-01..2026-11-03"]
