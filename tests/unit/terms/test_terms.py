import itertools
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from meterline_pricing import Calendar, Plan, PricingError
from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.terms import days as days_module
from meterline_sidecar.terms import diff as diff_module
from meterline_sidecar.terms import from_when as from_when_module
from meterline_sidecar.terms.agreed import AgreedStretch, agreed
from meterline_sidecar.terms.book import timeline, value_at
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.from_when import from_when
from meterline_sidecar.terms.owners import WantedCustomer
from tests.unit.terms.agreements import History, customer, meter, ms, plan

BASIC = plan("basic", "0.01")
PRO = plan("pro", "0.05", fee="50")
BOTH = (BASIC, PRO)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3)), max_size=20))
def test_of_two_rows_about_one_moment_the_later_one_holds(
    rows: list[tuple[int, int]],
) -> None:
    steps = timeline(rows)

    for at_ms in range(22):
        said = [value for from_ms, value in rows if from_ms <= at_ms]
        assert value_at(steps, at_ms) == (said[-1] if said else None)


def test_what_is_said_first_holds_from_the_beginning() -> None:
    history = History()

    history.load("2026-11-25T12:34:56Z", customer(plan="basic"), plans=BOTH)

    long_ago = history.terms.customer("acme", 0)
    assert long_ago is not None
    assert long_ago.plan == "basic"


def test_the_same_files_again_change_nothing() -> None:
    history = History()
    files = customer(plan="basic", subjects=("a_*",), time_zone="Asia/Tokyo")
    history.load("2026-11-25T12:00:00Z", files, plans=BOTH, meters=((meter(), None),))

    again = history.diff(
        "2026-12-25T12:00:00Z", files, plans=BOTH, meters=((meter(), None),)
    )

    assert again.planned == ()
    assert again.told == ()


def test_for_who_did_not_change_no_time_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    history = History()
    many = [
        customer(f"c{i}", plan="basic", subjects=(f"c{i}_*",), time_zone="Asia/Tokyo")
        for i in range(20)
    ]
    history.load("2026-11-25T12:00:00Z", *many, plans=BOTH)
    looked_for: list[str] = []

    def counted(*args: Any, **more: Any) -> int:
        looked_for.append(args[1].id)
        return from_when(*args, **more)

    monkeypatch.setattr(diff_module, "from_when", counted)
    many[3] = customer("c3", plan="pro", subjects=("c3_*",), time_zone="Asia/Tokyo")

    found = history.diff("2026-12-25T12:00:00Z", *many, plans=BOTH)

    assert [planned.name for planned in found.planned] == ["c3"]
    assert looked_for == ["c3"]


def test_calendars_are_made_once_for_a_zone_and_currencies_compared_where_there_are_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    history = History()
    ids = [f"c{i}" for i in range(20)]
    before = [customer(i, plan="basic", time_zone="Asia/Tokyo") for i in ids]
    after = [customer(i, plan="pro", time_zone="Asia/Tokyo") for i in ids]
    history.load("2026-11-25T12:00:00Z", *before, plans=BOTH)
    history.diff("2026-12-25T12:00:00Z", *after, plans=BOTH)
    made: list[str] = []

    def calendar(**fields: Any) -> Calendar:
        made.append("calendar")
        return Calendar(**fields)

    def stretches(*args: Any) -> list[AgreedStretch]:
        made.append("stretches")
        return agreed(*args)

    monkeypatch.setattr(days_module, "Calendar", calendar)
    monkeypatch.setattr(from_when_module, "agreed", stretches)

    found = history.diff("2026-12-25T13:00:00Z", *after, plans=BOTH)

    assert len(found.planned) == 20
    assert made == []


def test_a_plan_is_taken_from_the_beginning_of_the_day_on() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(plan="basic"), plans=BOTH)

    found = history.load("2026-11-20T15:00:00Z", customer(plan="pro"), plans=BOTH)

    assert found.told == ("from 2026-11-20 acme: plan basic -> pro",)
    november = CustomerCalendar.of(history.terms, "acme").named("2026-11")
    stretches = agreed(history.terms, "acme", november)
    assert [(s.start, s.plan) for s in stretches] == [
        (ms("2026-11-01T00:00:00Z"), BASIC),
        (ms("2026-11-20T00:00:00Z"), PRO),
    ]
    assert stretches[-1].end == november.end


def test_a_date_in_the_file_says_from_when_a_plan_holds() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(plan="basic"), plans=BOTH)
    dated = customer(plan="pro", from_day=date(2026, 12, 1))

    found = history.load("2026-11-20T15:00:00Z", dated, plans=BOTH)

    assert found.told == ("from 2026-12-01 acme: plan basic -> pro",)
    for at, name in (
        ("2026-11-30T23:59:59Z", "basic"),
        ("2026-12-01T00:00:00Z", "pro"),
    ):
        known = history.terms.customer("acme", ms(at))
        assert known is not None
        assert known.plan == name
    # In December the date may stay where it is, or go.
    assert history.diff("2026-12-05T00:00:00Z", dated, plans=BOTH).planned == ()
    plain = customer(plan="pro")
    assert history.diff("2026-12-05T00:00:00Z", plain, plans=BOTH).planned == ()


def test_a_change_that_has_not_come_yet_comes_on_the_day_that_is_said_last() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(plan="basic"), plans=BOTH)
    first, second = (
        customer(plan="pro", from_day=date(2026, 12, day)) for day in (1, 11)
    )
    history.load("2026-11-20T15:00:00Z", first, plans=BOTH)

    found = history.load("2026-11-21T15:00:00Z", second, plans=BOTH)

    assert found.told == ("from 2026-12-11 acme: plan basic -> pro",)
    december = CustomerCalendar.of(history.terms, "acme").named("2026-12")
    assert [s.plan for s in agreed(history.terms, "acme", december)] == [BASIC, PRO]
    assert history.diff("2026-11-22T15:00:00Z", second, plans=BOTH).planned == ()
    # What else is loaded with the day changes nothing in that, nor does loading it again.
    third = customer(plan="pro", email="a@b.example", from_day=date(2026, 12, 21))
    told = history.load("2026-11-22T15:00:00Z", third, plans=BOTH).told
    assert "from 2026-12-21 acme: plan basic -> pro" in told
    assert history.diff("2026-11-23T15:00:00Z", third, plans=BOTH).planned == ()


def test_a_change_behind_one_that_has_not_come_yet_leaves_it_where_it_is() -> None:
    history = History()
    top = plan("max", "0.09")
    plans = (*BOTH, top)
    history.load("2026-11-01T00:00:00Z", customer(plan="basic"), plans=plans)
    for name, day in (("pro", 11), ("max", 21)):
        dated = customer(plan=name, from_day=date(2026, 12, day))
        history.load("2026-11-20T15:00:00Z", dated, plans=plans)

    december = CustomerCalendar.of(history.terms, "acme").named("2026-12")
    held = [s.plan for s in agreed(history.terms, "acme", december)]
    later = customer(plan="max", from_day=date(2026, 12, 26))
    told = history.load("2026-11-20T15:00:00Z", later, plans=plans).told

    assert held == [BASIC, PRO, top]
    assert told == ("from 2026-12-26 acme: plan pro -> max",)


def test_a_plan_with_other_periods_is_not_put_off() -> None:
    history = History()
    weekly = replace(PRO, period="week")
    plans = (BASIC, weekly)
    history.load("2026-11-01T00:00:00Z", customer(plan="basic"), plans=plans)
    history.load("2026-11-05T15:00:00Z", customer(plan="pro"), plans=plans)
    later = customer(plan="pro", from_day=date(2026, 12, 16))

    assert history.diff("2026-11-06T15:00:00Z", later, plans=plans).planned == ()


def test_a_change_that_has_come_stays_whatever_later_day_is_said() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(plan="basic"), plans=BOTH)
    history.load("2026-11-20T15:00:00Z", customer(plan="pro"), plans=BOTH)
    later = customer(plan="pro", from_day=date(2026, 12, 1))

    assert history.diff("2026-11-20T16:00:00Z", later, plans=BOTH).planned == ()


@pytest.mark.parametrize("day", [date(2026, 11, 5), None])
def test_a_plan_that_came_after_the_customer_can_begin_earlier(
    day: date | None,
) -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", plans=BOTH)
    history.load("2026-11-02T00:00:00Z", customer("new"), plans=BOTH)
    december = customer("new", plan="basic", from_day=date(2026, 12, 1))
    history.load("2026-11-03T00:00:00Z", december, plans=BOTH)

    sooner = customer("new", plan="basic", from_day=day)
    found = history.load("2026-11-05T12:00:00Z", sooner, plans=BOTH)
    again = history.diff("2026-11-06T12:00:00Z", sooner, plans=BOTH)

    assert found.told == ("from 2026-11-05 new: plan none -> basic",)
    assert again.told == ()
    november = CustomerCalendar.of(history.terms, "new").named("2026-11")
    assert [(s.start, s.plan) for s in agreed(history.terms, "new", november)] == [
        (november.start, None),
        (ms("2026-11-05T00:00:00Z"), BASIC),
    ]


def test_a_change_that_was_to_come_can_be_taken_back() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(plan="basic"), plans=BOTH)
    dated = customer(plan="pro", from_day=date(2026, 12, 1))
    history.load("2026-11-20T15:00:00Z", dated, plans=BOTH)

    found = history.load("2026-11-21T00:00:00Z", customer(plan="basic"), plans=BOTH)

    assert found.told == (
        "from 2026-11-21 acme: plan stays basic, and pro does not come on 2026-12-01",
    )
    known = history.terms.customer("acme", ms("2026-12-10T00:00:00Z"))
    assert known is not None
    assert known.plan == "basic"


def test_a_change_does_not_reach_into_what_is_final_unless_somebody_says_why() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(plan="basic"), plans=BOTH)
    history.finals["acme"] = ms("2026-12-01T00:00:00Z")
    dated = customer(plan="pro", from_day=date(2026, 11, 15))

    refused = history.diff("2026-12-02T00:00:00Z", dated, plans=BOTH)

    (text,) = refused.refused
    assert "2026-12-01" in text
    assert "--into-final" in text
    on_purpose = history.diff(
        "2026-12-02T00:00:00Z", dated, plans=BOTH, reason="agreed by phone"
    )
    assert on_purpose.refused == ()
    assert on_purpose.planned[0].reaches_final


def test_another_currency_waits_for_the_next_period() -> None:
    history = History()
    yen = plan("japan", "2", currency="jpy")
    plans = (BASIC, yen)
    history.load("2026-11-01T00:00:00Z", customer(plan="basic"), plans=plans)

    history.load("2026-11-20T15:00:00Z", customer(plan="japan"), plans=plans)

    calendar = CustomerCalendar.of(history.terms, "acme")
    plans_of = {
        month: [s.plan for s in agreed(history.terms, "acme", calendar.named(month))]
        for month in ("2026-11", "2026-12")
    }
    assert plans_of == {"2026-11": [BASIC], "2026-12": [yen]}


def test_an_edited_plan_reads_so_from_the_day_of_the_edit_on() -> None:
    history = History()
    dear = plan("basic", "0.02")
    history.load("2026-11-01T00:00:00Z", customer(plan="basic"), plans=(BASIC,))

    found = history.load("2026-11-20T15:00:00Z", customer(plan="basic"), plans=(dear,))

    assert found.told == (
        "from 2026-11-20 plan basic: version 1 has changed: price calls",
    )
    november = CustomerCalendar.of(history.terms, "acme").named("2026-11")
    assert [s.plan for s in agreed(history.terms, "acme", november)] == [BASIC, dear]


def test_prices_of_another_catalogue_are_told_and_hold_from_that_day_on() -> None:
    def by(source: str, amount: str) -> Plan:
        made = plan("basic", amount)
        cards = tuple(replace(card, source=source) for card in made.prices)
        return replace(made, prices=cards)

    history = History()
    old, new = by("genai-prices 0.2.3 + 20%", "0.01"), by("genai-prices 0.2.4", "0.02")
    history.load("2026-11-01T00:00:00Z", customer(plan="basic"), plans=(old,))

    found = history.load("2026-11-20T15:00:00Z", customer(plan="basic"), plans=(new,))
    by_hand = history.diff(
        "2026-11-21T15:00:00Z", customer(plan="basic"), plans=(plan("basic", "0.02"),)
    )

    said = "plan basic: version 1 has changed: price calls; prices:"
    assert found.told == (
        f"from 2026-11-20 {said} genai-prices 0.2.3 + 20% -> genai-prices 0.2.4",
    )
    assert by_hand.told == (f"from 2026-11-21 {said} genai-prices 0.2.4 -> by hand",)
    november = CustomerCalendar.of(history.terms, "acme").named("2026-11")
    assert [s.plan for s in agreed(history.terms, "acme", november)] == [old, new]


def test_a_version_that_is_deleted_is_kept_for_who_is_on_it() -> None:
    history = History()
    second = plan("basic", "0.02", version=2, effective=date(2026, 12, 1))
    history.load("2026-11-01T00:00:00Z", customer(plan="basic"), plans=(BASIC,))

    history.load("2026-11-20T15:00:00Z", customer(plan="basic"), plans=(second,))

    calendar = CustomerCalendar.of(history.terms, "acme")
    for month, wanted in (("2026-11", BASIC), ("2026-12", second)):
        (stretch,) = agreed(history.terms, "acme", calendar.named(month))
        assert stretch.plan == wanted


def test_a_subject_that_moves_is_the_new_payers_from_then_on() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(subjects=("a_*",)), customer("beta"))

    history.load(
        "2026-12-01T01:00:00Z",
        customer(subjects=("a_*",)),
        customer("beta", subjects=("a_2",)),
    )

    moved_ms = ms("2026-12-01T01:00:00Z")
    assert history.terms.claims.history("a_1") == [(0, "acme")]
    assert history.terms.claims.history("a_2") == [(0, "acme"), (moved_ms, "beta")]


def test_what_nobody_paid_for_goes_to_who_claims_it_first() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(subjects=("a_*",)))

    history.load(
        "2026-11-20T15:00:00Z",
        customer(subjects=("a_*",)),
        customer("b", subjects=("b_1",)),
    )

    assert history.terms.claims.history("b_1") == [(0, "b")]


def test_what_nobody_paid_for_does_not_reach_into_what_is_final() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(subjects=("a_*",)))
    history.finals["acme"] = ms("2026-12-01T00:00:00Z")

    history.load("2026-12-05T00:00:00Z", customer(subjects=("a_*", "x")))

    assert history.terms.claims.history("x") == [
        (0, None),
        (ms("2026-12-01T00:00:00Z"), "acme"),
    ]


@pytest.mark.parametrize("subject", ["dependabot[bot]", "what?", "a.b", "*x"])
def test_only_a_star_at_the_end_is_a_mark(subject: str) -> None:
    history = History()

    history.load("2026-11-01T00:00:00Z", customer(subjects=(subject,)))

    claims = history.terms.claims
    assert claims.customer_of(subject, 0) == "acme"
    for other in ("dependabotb", "whatX", "axb", "yx"):
        assert claims.customer_of(other, 0) is None


def test_the_most_exact_claim_wins() -> None:
    history = History()

    history.load(
        "2026-11-01T00:00:00Z",
        customer("all", subjects=("*",)),
        customer("some", subjects=("key_*",)),
        customer("few", subjects=("key_a*",)),
        customer("one", subjects=("key_ab",)),
    )

    subjects = ("key_ab", "key_abc", "key_b", "other")
    owners = [history.terms.claims.customer_of(subject, 0) for subject in subjects]
    assert owners == ["one", "few", "some", "all"]


def test_a_customer_who_is_taken_out_keeps_what_they_used() -> None:
    history = History()
    files = customer(plan="basic", subjects=("a_*",))
    history.load("2026-11-01T00:00:00Z", files, plans=BOTH)

    found = history.load("2026-11-20T15:00:00Z", plans=BOTH)

    assert len(found.told) == 1
    assert "acme" in found.told[0]
    gone_ms = ms("2026-11-20T15:00:00Z")
    assert history.terms.claims.history("a_1") == [(0, "acme"), (gone_ms, None)]
    november = CustomerCalendar.of(history.terms, "acme").named("2026-11")
    assert november.end == ms("2026-11-21T00:00:00Z")
    assert history.diff("2026-11-22T00:00:00Z", plans=BOTH).planned == ()


def test_a_customer_can_come_back() -> None:
    history = History()
    files = customer(plan="basic", subjects=("a_*",))
    history.load("2026-11-01T00:00:00Z", files, plans=BOTH)
    history.load("2026-11-20T15:00:00Z", plans=BOTH)

    history.load("2026-11-25T00:00:00Z", files, plans=BOTH)

    known = history.terms.customer("acme", ms("2026-11-25T00:00:00Z"))
    assert known is not None
    assert not known.is_removed
    assert history.terms.claims.customer_of("a_1", ms("2026-11-26T00:00:00Z")) == "acme"
    assert history.terms.claims.customer_of("a_1", ms("2026-11-22T00:00:00Z")) is None


def test_two_customers_can_change_a_subject_in_one_step() -> None:
    history = History()
    one, two = customer("a", subjects=("x",)), customer("b", subjects=("y",))
    history.load("2026-11-01T00:00:00Z", one, two)

    one, two = customer("a", subjects=("y",)), customer("b", subjects=("x",))
    history.load("2026-11-02T00:00:00Z", one, two)

    at_ms = ms("2026-11-02T00:00:00Z")
    assert history.terms.claims.history("x") == [(0, "a"), (at_ms, "b")]
    assert history.terms.claims.history("y") == [(0, "b"), (at_ms, "a")]


def test_a_new_zone_leaves_no_hole_and_no_overlap() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(time_zone="UTC"))

    history.load("2026-12-01T01:00:00Z", customer(time_zone="Europe/Berlin"))

    calendar = CustomerCalendar.of(history.terms, "acme")
    months = [calendar.named(f"{y}-{m:02}") for y in (2026, 2027) for m in range(1, 13)]
    assert all(a.end == b.start for a, b in itertools.pairwise(months))
    december, january = months[11], months[12]
    assert december.start == ms("2026-12-01T00:00:00Z")
    assert january.end == ms("2027-01-31T23:00:00Z")


@given(
    st.lists(
        st.tuples(
            st.integers(0, 400),
            st.sampled_from(
                ["UTC", "Asia/Tokyo", "America/New_York", "Pacific/Kiritimati"]
            ),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_zones_come_each_instant_is_in_one_period(
    moves: list[tuple[int, str]],
) -> None:
    steps = timeline((day * DAY_MS, zone) for day, zone in sorted(moves))
    calendar = CustomerCalendar(steps)

    months = [calendar.whole(f"1970-{m:02}") for m in range(2, 13)]

    for one, other in itertools.pairwise(months):
        assert one.start < one.end == other.start
        assert calendar.at(one.start) == one
        assert calendar.at(one.end - 1) == one


def test_nothing_is_billed_before_the_first_and_after_the_last_day() -> None:
    history = History()
    history.load(
        "2026-11-01T00:00:00Z",
        customer(starts=date(2026, 11, 10), ends=date(2026, 12, 15)),
    )

    calendar = CustomerCalendar.of(history.terms, "acme")

    november, december = calendar.named("2026-11"), calendar.named("2026-12")
    assert november.start == ms("2026-11-10T00:00:00Z")
    assert december.end == ms("2026-12-16T00:00:00Z")
    for month in ("2026-10", "2027-01"):
        with pytest.raises(PricingError):
            calendar.named(month)


def test_a_meter_that_is_changed_counts_so_from_then_on() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", meters=((meter(), None),))
    other = meter(group_by=("route",))

    history.load("2026-11-20T15:00:00Z", meters=((other, None),))

    at_ms = ms("2026-11-20T15:00:00Z")
    assert history.terms.meter_timeline("calls") == [(0, meter()), (at_ms, other)]


def test_an_aggregation_does_not_change_under_a_name() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", meters=((meter(), None),))

    found = history.diff(
        "2026-11-20T15:00:00Z",
        meters=((meter(aggregation="max", value="units"), None),),
    )

    assert "a name of its own" in found.refused[0]


def test_a_claim_that_is_given_up_at_once_leaves_nobody() -> None:
    history = History()
    history.load("2026-11-10T00:00:00Z", customer(subjects=("a",)))
    history.load("2026-11-20T00:00:00Z", customer(subjects=("a", "b")))
    history.load("2026-11-20T00:00:00Z", customer(subjects=("a",)))

    assert history.terms.claims.history("b") == [(0, None)]
    assert history.terms.claims.history("a") == [(0, "acme")]


def november(day: int) -> int:
    return ms(f"2026-11-{day:02}T00:00:00Z")


def acme_since_20_november() -> History:
    """Return a history in which acme takes over what nobody paid for."""
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(), customer("beta"))
    history.load("2026-11-20T00:00:00Z", customer(subjects=("x",)), customer("beta"))
    assert history.terms.claims.history("x") == [(0, "acme")]
    return history


@pytest.mark.parametrize("payer", ["beta", "new"])
def test_a_claim_from_a_day_leaves_what_was_before_to_who_paid_for_it(
    payer: str,
) -> None:
    history = acme_since_20_november()
    claim = customer(payer, subjects=("x",), from_day=date(2026, 11, 10))

    history.load("2026-11-25T00:00:00Z", customer(subjects=()), claim)

    steps = [(0, "acme"), (november(10), payer)]
    assert history.terms.claims.history("x") == steps


def test_a_subject_that_is_claimed_from_a_day_leaves_the_rest_of_a_pattern() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(), customer("beta"))
    acme = customer(subjects=("x*",))
    history.load("2026-11-20T00:00:00Z", acme, customer("beta"))
    claim = customer("beta", subjects=("x1",), from_day=date(2026, 11, 10))

    history.load("2026-11-25T00:00:00Z", acme, claim)

    claims = history.terms.claims
    assert claims.history("x1") == [(0, "acme"), (november(10), "beta")]
    assert claims.history("x2") == [(0, "acme")]


def test_what_is_given_up_from_a_day_is_nobodys_only_from_then_on() -> None:
    history = acme_since_20_november()
    given_up = customer(subjects=(), from_day=date(2026, 11, 10))

    history.load("2026-11-25T00:00:00Z", given_up, customer("beta"))

    steps = [(0, "acme"), (november(10), None)]
    assert history.terms.claims.history("x") == steps


def test_what_is_given_up_from_a_day_takes_nothing_from_who_had_it_then() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(subjects=("x",)), customer("beta"))
    history.load("2026-11-20T00:00:00Z", customer(), customer("beta", subjects=("x",)))
    given_up = customer("beta", subjects=(), from_day=date(2026, 11, 5))

    history.load("2026-11-25T00:00:00Z", customer(), given_up)

    steps = [(0, "acme"), (november(20), None)]
    assert history.terms.claims.history("x") == steps


def test_a_claim_that_was_to_come_can_hold_at_once() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(subjects=("x",)), customer("beta"))
    dated = customer("beta", subjects=("x",), from_day=date(2026, 12, 1))
    history.load("2026-11-10T00:00:00Z", customer(subjects=()), dated)
    assert history.terms.claims.history("x")[1][0] == ms("2026-12-01T00:00:00Z")

    plain = customer("beta", subjects=("x",))
    history.load("2026-11-20T00:00:00Z", customer(subjects=()), plain)

    steps = [(0, "acme"), (november(20), "beta")]
    assert history.terms.claims.history("x") == steps


def test_a_claim_that_was_to_come_can_be_taken_back() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(subjects=("x",)), customer("beta"))
    dated = customer("beta", subjects=("x",), from_day=date(2026, 12, 1))
    history.load("2026-11-10T00:00:00Z", customer(subjects=()), dated)

    history.load(
        "2026-11-20T00:00:00Z", customer(subjects=()), customer("beta", subjects=())
    )

    steps = [(0, "acme"), (november(20), None)]
    assert history.terms.claims.history("x") == steps


def test_what_nobody_paid_for_between_two_goes_to_the_second() -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(subjects=("x",)), customer("beta"))
    history.load("2026-11-10T00:00:00Z", customer(subjects=()), customer("beta"))

    beta = customer("beta", subjects=("x",))
    history.load("2026-11-20T00:00:00Z", customer(subjects=()), beta)

    steps = [(0, "acme"), (november(10), "beta")]
    assert history.terms.claims.history("x") == steps


def test_a_new_customer_from_a_day_reaches_into_nothing_final_of_others() -> None:
    history = acme_since_20_november()
    history.finals["acme"] = ms("2026-12-01T00:00:00Z")
    new = customer("new", subjects=("x",), from_day=date(2026, 11, 10))
    files = (customer(subjects=()), customer("beta"), new)

    refused = history.diff("2026-12-05T00:00:00Z", *files)
    on_purpose = history.diff("2026-12-05T00:00:00Z", *files, reason="it was theirs")

    assert "it can hold from 2026-12-01 on" in refused.refused[0]
    assert on_purpose.refused == ()
    corrected = [one.name for one in on_purpose.planned if one.reaches_final]
    assert corrected == ["acme"]


def test_a_pattern_from_a_day_asks_who_paid_by_patterns() -> None:
    history = History()
    one = customer("one", subjects=("x",))
    history.load("2026-11-01T00:00:00Z", customer(subjects=("x*",)), one)
    history.finals["acme"] = ms("2026-12-01T00:00:00Z")
    new = customer("new", subjects=("x*",), from_day=date(2026, 11, 10))

    refused = history.diff("2026-12-05T00:00:00Z", customer(subjects=()), one, new)

    assert "it can hold from 2026-12-01 on" in refused.refused[0]


def test_a_date_that_stays_in_the_file_does_no_harm_once_its_month_is_final() -> None:
    history = History()
    first = customer(plan="basic", time_zone="UTC")
    history.load("2026-01-10T00:00:00Z", first, plans=BOTH)
    fields = {"plan": "pro", "time_zone": "Asia/Tokyo"}
    dated = WantedCustomer(id="acme", fields=fields, from_day=date(2026, 1, 22))
    history.load("2026-01-25T00:00:00Z", dated, plans=BOTH)
    history.finals["acme"] = ms("2026-02-01T00:00:00Z")

    again = history.diff("2026-02-20T00:00:00Z", dated, plans=BOTH)

    assert again.planned == ()
    assert again.refused == ()


def test_who_said_no_zone_was_in_utc_until_they_said_one() -> None:
    history = History()
    history.load("2026-01-10T00:00:00Z", customer(plan="basic"), plans=BOTH)
    moved = customer(plan="basic", time_zone="Asia/Tokyo")
    history.load("2026-01-25T00:00:00Z", moved, plans=BOTH)

    calendar = CustomerCalendar.of(history.terms, "acme")

    assert calendar.named("2026-01").start == ms("2026-01-01T00:00:00Z")
    assert calendar.named("2026-01").end == ms("2026-02-01T00:00:00Z")
    assert calendar.named("2026-02").end == ms("2026-02-28T15:00:00Z")


@pytest.mark.parametrize(
    ("field", "value"), [("time_zone", "Asia/Tokyo"), ("anchor", date(2026, 1, 15))]
)
def test_a_plan_is_put_right_in_what_is_final_whatever_holds_behind_it(
    field: str, value: Any
) -> None:
    history = History()
    history.load("2026-10-05T00:00:00Z", customer(plan="basic"), plans=BOTH)
    moved = customer(plan="basic", **{field: value})
    history.load("2026-11-05T00:00:00Z", moved, plans=BOTH)
    history.finals["acme"] = ms("2026-12-01T00:00:00Z")
    dated = customer(plan="pro", from_day=date(2026, 10, 10), **{field: value})

    found = history.diff("2026-12-05T00:00:00Z", dated, plans=BOTH, reason="a promise")

    assert found.refused == ()
    assert [change.from_ms for change in found.planned] == [ms("2026-10-10T00:00:00Z")]
