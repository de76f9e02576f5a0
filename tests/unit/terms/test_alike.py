"""What customers share who are alike is what each would have alone."""

import itertools
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_pricing import Override, PricingError
from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.config.held_plans import HeldPlan
from meterline_sidecar.store.terms import TermRow
from meterline_sidecar.terms import alike
from meterline_sidecar.terms.agreed import agreed
from meterline_sidecar.terms.alike import Shared, likeness
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.change import (
    Change,
    CustomerChange,
    PlanChange,
    encode,
    kind_of,
)
from tests.unit.terms.agreements import History, customer, ms, plan

NOVEMBER_MS = ms("2026-11-01T00:00:00Z")
TIMES = [0, *(NOVEMBER_MS + day * DAY_MS for day in (0, 3, 11, 35))]
PLANS = (plan("basic"), plan("pro", "0.02"), plan("weekly", period="week"))
TRIAL = plan("trial", trial_days=10)
FIELDS: dict[str, Any] = {
    "plan": st.sampled_from(["basic", "pro", "weekly", "trial", None]),
    "plans": st.sampled_from([(), (HeldPlan(plan="pro", from_day=date(2026, 11, 9)),)]),
    "subjects": st.sampled_from([(), ("a",)]),
    "name": st.just("somebody"),
    "overrides": st.sampled_from([(), (Override(customer="x", plan="basic"),)]),
    "time_zone": st.sampled_from(["UTC", "Asia/Tokyo"]),
    "anchor": st.sampled_from([None, date(2026, 11, 15)]),
    "starts": st.sampled_from([None, date(2026, 11, 5)]),
    "ends": st.sampled_from([None, date(2026, 11, 25)]),
    "is_removed": st.booleans(),
}
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(TIMES),
        st.sampled_from(TIMES),
        st.lists(
            st.sampled_from(list(FIELDS)), min_size=1, max_size=4, unique=True
        ).flatmap(
            lambda names: st.fixed_dictionaries({name: FIELDS[name] for name in names})
        ),
    ),
    min_size=1,
    max_size=3,
)


def add(terms: Terms, name: str, change: Change, from_ms: int, learned_ms: int) -> None:
    row = TermRow(
        id=terms.row_id + 1,
        kind=kind_of(change),
        name=name,
        change=encode(change),
        from_ms=from_ms,
        learned_ms=learned_ms,
        source="file",
        author="test",
        reason="",
        reaches_final=0,
    )
    terms.add([row])


def of_all(histories: list[list[Any]]) -> Terms:
    """Return terms in which each customer has one of the histories."""
    terms = Terms()
    for one in (*PLANS, TRIAL):
        add(terms, one.name, PlanChange(version=1, plan=one), 0, 0)
    for i, history in enumerate(histories):
        for from_ms, learned_ms, fields in history:
            change = CustomerChange(**fields)
            add(terms, f"c{i}", change, from_ms, learned_ms)
    return terms


def told(terms: Terms, name: str) -> list[object]:
    """Return all that is shared of a customer, or why it cannot be said."""
    calendar = CustomerCalendar.of(terms, name)
    found: list[object] = [calendar.absences, calendar.grids.segments]
    spans = itertools.islice(calendar.periods(NOVEMBER_MS, TIMES[-1]), 8)
    for period in spans:
        try:
            found.append((period, agreed(terms, name, period)))
        except PricingError as error:
            found.append((period, str(error)))
    return found


@given(st.lists(CHANGES, min_size=2, max_size=4), st.data())
def test_what_is_shared_is_what_each_would_have_alone(
    histories: list[list[Any]], data: st.DataObject
) -> None:
    again = data.draw(st.sampled_from(histories))
    together = of_all([*histories, again])

    for i, history in enumerate([*histories, again]):
        alone = of_all([history])
        assert told(together, f"c{i}") == told(alone, "c0")


def test_customers_of_one_plan_share_one_calendar() -> None:
    book = History()
    book.load(
        "2026-11-10T12:00:00Z",
        *(customer(f"c{i}", plan="basic", subjects=(f"s{i}",)) for i in range(3)),
        plans=(plan("basic"),),
    )

    calendars = {id(CustomerCalendar.of(book.terms, f"c{i}")) for i in range(3)}

    assert len(calendars) == 1


def test_who_has_prices_of_their_own_is_like_nobody() -> None:
    terms = of_all([[(0, 0, {"overrides": (Override(customer="c0", plan="pro"),)})]])

    assert likeness(terms, "c0") is None


def test_answers_are_forgotten_before_there_are_very_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alike, "SHARED_MAX", 2)
    shared, terms = Shared[int](), Terms()
    for i in range(3):
        shared.put(terms, (i,), i)

    assert [shared.get(terms, (i,)) for i in range(3)] == [None, None, 2]


def test_a_trial_begins_when_each_was_heard_of() -> None:
    terms = of_all(
        [[(0, NOVEMBER_MS + day * DAY_MS, {"plan": "trial"})] for day in (0, 5)]
    )
    period = CustomerCalendar.of(terms, "c0").named("2026-11")

    ends = [agreed(terms, name, period)[0].end for name in ("c0", "c1")]

    assert ends == [NOVEMBER_MS + days * DAY_MS for days in (10, 15)]
