"""Plans beside a customer's plan: from which day to which, and what is refused."""

from datetime import date
from typing import Any

import pytest

from meterline_pricing import Plan, RateCard
from meterline_pricing.models import Flat, PerUnit
from meterline_sidecar.config.held_plans import HeldPlan
from meterline_sidecar.terms.agreed import agreed
from meterline_sidecar.terms.calendar import CustomerCalendar
from tests.unit.terms.agreements import History, customer, ms, plan

BASE = plan("base", fee="30")


def addon(name: str = "addon", meter: str = "tokens", **more: Any) -> Plan:
    card = RateCard(price=PerUnit("0.1"), meter=meter)
    fee = RateCard(name="fee", price=Flat(10))
    return Plan(name=name, currency="usd", prices=(card, fee), **more)


PLANS = (BASE, addon(), addon("weekly", period="week"), addon("clash", "calls"))


def held(name: str, first: date | None = None, last: date | None = None) -> HeldPlan:
    return HeldPlan(plan=name, from_day=first, to=last)


def november(history: History) -> list[str]:
    """Return the plans of each part of November, from its first day on."""
    calendar = CustomerCalendar.of(history.terms, "acme")
    parts = agreed(history.terms, "acme", calendar.named("2026-11"))
    return [
        f"{calendar.day(part.start)} {part.plan.name}" for part in parts if part.plan
    ]


def test_a_plan_holds_beside_the_other_from_a_day_to_a_day() -> None:
    history = History()
    beside = (held("addon", date(2026, 11, 10), date(2026, 11, 19)),)
    history.load(
        "2026-11-01T00:00:00Z", customer(plan="base", plans=beside), plans=PLANS
    )

    assert november(history) == [
        *("2026-11-01 base", "2026-11-10 base + addon", "2026-11-20 base"),
    ]


def test_a_plan_holds_beside_the_other_until_the_last_day_of_all() -> None:
    history = History()
    beside = (held("addon", date(2026, 11, 10), date.max),)
    history.load(
        "2026-11-01T00:00:00Z", customer(plan="base", plans=beside), plans=PLANS
    )

    assert november(history) == ["2026-11-01 base", "2026-11-10 base + addon"]


def test_days_are_those_of_the_customer() -> None:
    history = History()
    wanted = customer(
        plan="base",
        plans=(held("addon", date(2026, 11, 10)),),
        time_zone="Asia/Tokyo",
    )
    history.load("2026-11-01T00:00:00Z", wanted, plans=PLANS)

    calendar = CustomerCalendar.of(history.terms, "acme")
    parts = agreed(history.terms, "acme", calendar.named("2026-11"))
    assert parts[1].start == ms("2026-11-09T15:00:00Z")


@pytest.mark.parametrize(
    ("beside", "told"),
    [
        (held("addon"), "from 2026-11-20 acme: plans none -> addon"),
        (
            held("addon", date(2026, 11, 10)),
            "from 2026-11-10 acme: plans none -> addon from 2026-11-10",
        ),
        (
            held("addon", date(2026, 12, 10)),
            "from 2026-12-10 acme: plans none -> addon from 2026-12-10",
        ),
    ],
)
def test_it_may_come_later_with_the_day_that_is_said(
    beside: HeldPlan, told: str
) -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(plan="base", plans=()), plans=PLANS)

    wanted = customer(plan="base", plans=(beside,))
    found = history.load("2026-11-20T15:00:00Z", wanted, plans=PLANS)

    assert found.told == (told,)
    assert history.diff("2026-12-20T15:00:00Z", wanted, plans=PLANS).planned == ()


def test_what_is_taken_out_held_until_today_and_an_end_counts_from_its_day() -> None:
    history = History()
    first = customer(plan="base", plans=(held("addon"),))
    history.load("2026-11-01T00:00:00Z", first, plans=PLANS)

    ended = customer(plan="base", plans=(held("addon", None, date(2026, 11, 12)),))
    found = history.diff("2026-11-20T15:00:00Z", ended, plans=PLANS)
    out = history.load(
        "2026-11-20T15:00:00Z", customer(plan="base", plans=()), plans=PLANS
    )

    assert found.told[0].startswith("from 2026-11-13 acme: plans addon -> addon to")
    assert out.told == ("from 2026-11-20 acme: plans addon -> none",)
    assert november(history) == ["2026-11-01 base + addon", "2026-11-20 base"]


@pytest.mark.parametrize(
    ("plans", "why"),
    [
        (("clash",), "both have a price for the meter `calls`"),
        (("weekly",), "they differ in `period` (month and week)"),
        (("addon", "addon"), "`addon` is there twice at one time"),
        (("base",), "`base` is there twice at one time"),
    ],
)
def test_what_cannot_be_had_at_one_time_is_refused(
    plans: tuple[str, ...], why: str
) -> None:
    history = History()
    history.load("2026-11-01T00:00:00Z", customer(plan="base"), plans=PLANS)
    beside = tuple(held(name) for name in plans)

    for who in ("acme", "new"):
        wanted = customer(who, plan="base", plans=beside)
        found = history.diff("2026-11-20T15:00:00Z", wanted, plans=PLANS)
        assert len(found.refused) == 1
        assert why in found.refused[0]


def test_one_after_the_other_they_may_price_the_same_meter() -> None:
    history = History()
    beside = (
        held("addon", None, date(2026, 11, 9)),
        held("other", date(2026, 11, 10)),
    )
    plans = (*PLANS, addon("other"))
    history.load(
        "2026-11-01T00:00:00Z", customer(plan="base", plans=beside), plans=plans
    )

    assert november(history) == ["2026-11-01 base + addon", "2026-11-10 base + other"]


def test_an_edited_plan_that_no_longer_fits_is_refused() -> None:
    history = History()
    wanted = customer(plan="base", plans=(held("addon"),))
    history.load("2026-11-01T00:00:00Z", wanted, plans=(BASE, addon()))

    found = history.diff(
        "2026-11-20T15:00:00Z", wanted, plans=(BASE, addon(meter="calls"))
    )

    assert "both have a price for the meter `calls`" in found.refused[0]


def test_plans_of_other_periods_change_together() -> None:
    history = History()
    first = customer(plan="base", plans=(held("addon"),))
    base = plan("per_week", period="week")
    plans = (*PLANS, base)
    history.load("2026-11-01T00:00:00Z", first, plans=plans)

    other = customer(plan="per_week", plans=(held("weekly"),))
    found = history.load("2026-11-20T15:00:00Z", other, plans=plans)

    assert found.told == (
        "from 2026-12-01 acme: plan base -> per_week",
        "from 2026-12-01 acme: plans addon -> weekly",
    )
    assert november(history) == ["2026-11-01 base + addon"]


def test_each_has_its_own_prices_and_its_own_trial() -> None:
    history = History()
    plans = (BASE, addon(trial_days=5))
    wanted = customer(
        plan="base",
        plans=(held("addon", date(2026, 11, 10)),),
        starts=date(2026, 11, 1),
    )
    history.load("2026-11-01T00:00:00Z", wanted, plans=plans)

    calendar = CustomerCalendar.of(history.terms, "acme")
    parts = agreed(history.terms, "acme", calendar.named("2026-11"))

    free = [
        [card.name for card in part.plan.prices if card.discounts]
        for part in parts
        if part.plan is not None
    ]
    assert free == [[], ["tokens", "addon: fee"], []]
    assert [calendar.day(part.start).day for part in parts] == [1, 10, 15]
