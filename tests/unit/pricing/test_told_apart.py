"""What is called alike in several plans of a customer: each grant pays once."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from meterline_pricing import Period, Plan, RateCard, Usage
from meterline_pricing.combined import combined
from meterline_pricing.models import Coupon, Credit, Discount, Flat, PerUnit
from meterline_pricing.told_apart import Own, called
from meterline_pricing.tools import Stretch, invoice_of

AMOUNTS = {"a": 100, "b": 50, "c": 70, "d": 30}
DAY_MS = 86_400_000


def plan(name: str, *, credit: int | None = None, **more: Any) -> Plan:
    """Return a plan with a meter of its own, and terms that are called as others'."""
    return Plan(
        name=name,
        currency="usd",
        prices=(
            RateCard(meter=name, price=PerUnit(1)),
            RateCard(name="fee", price=Flat(Decimal("0.05"))),
        ),
        credits=(Credit(amount=credit),) if credit else (),
        **more,
    )


PLANS = {name: plan(name, credit=amount) for name, amount in AMOUNTS.items()}

HELD = st.lists(
    st.lists(st.sampled_from(sorted(PLANS)), unique=True, max_size=3), max_size=6
)
"""Which plans are held, one time after the other."""
USED = st.lists(st.integers(0, 120), min_size=4, max_size=4)


def credit_of(name: str) -> Own:
    return Own("credits", name, "credit")


def names_of(held: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return by plan what its credit is called."""
    known = called([[PLANS[name] for name in names] for names in held])
    return {own.plan: name for own, name in known.items() if own.field == "credits"}


def test_who_has_a_name_first_keeps_it() -> None:
    assert names_of([["b"], ["a", "b"], ["a"]]) == {"b": "credit", "a": "credit (a)"}
    assert names_of([["a", "b"], ["c", "b"], ["b"]]) == {
        "a": "credit",
        "b": "credit (b)",
        "c": "credit",
    }


def test_a_name_that_is_free_goes_on_with_whoever_comes() -> None:
    assert set(names_of([["a"], ["b"], [], ["c"]]).values()) == {"credit"}


def test_who_comes_back_beside_who_went_on_with_a_grant_has_no_other_one() -> None:
    held = [[PLANS[name] for name in names] for names in (["a"], ["b"], ["a", "b"])]

    both = combined(held[-1], held[:-1])

    assert [(one.name, int(one.amount), one.on) for one in both.credits] == [
        ("credit", 100, ("a", "a: fee", "b", "fee"))
    ]


def test_of_what_is_not_used_up_each_has_its_own() -> None:
    one, other = (plan(name, coupons=(Coupon(amount=1),)) for name in "ab")

    both = combined([one, other], [[one], [other]])

    assert [coupon.name for coupon in both.coupons] == ["coupon (a)", "coupon"]


def test_a_name_that_another_plan_wrote_is_nobody_elses() -> None:
    odd = plan("x")
    odd = replace(odd, credits=(Credit(name="credit (b)", amount=1), Credit(amount=2)))

    known = called([[odd, PLANS["b"]]])

    assert known[credit_of("b")] == "credit (b) (b)"


@given(HELD)
def test_a_name_stays_and_is_of_plans_that_went_on_with_each_other(
    held: list[list[str]],
) -> None:
    for i, names in enumerate(held):
        before, now = names_of(held[:i]), names_of(held[: i + 1])

        assert before.items() <= now.items()
        new = {now[name] for name in names if name not in before}
        assert len(new) == len(set(names) - before.keys())
        assert new.isdisjoint(now[name] for name in names if name in before)


@given(HELD, st.lists(USED, min_size=6, max_size=6), st.integers(1, 3))
def test_a_credit_pays_what_was_granted_and_no_more_whatever_plans_are_held(
    held: list[list[str]], used: list[list[int]], per_month: int
) -> None:
    """Several months, in each of which the plans change ``per_month`` times."""
    paid: dict[str, Decimal] = defaultdict(Decimal)
    for first in range(0, len(held), per_month):
        whole = Period(first * 30 * DAY_MS, (first + 30) * DAY_MS * 30, "a month")
        stretches = [
            _stretch(held[: i + 1], used[i], paid, i, whole)
            for i in range(first, min(first + per_month, len(held)))
        ]
        drawn = invoice_of(stretches, whole)
        for line in drawn.lines:
            if line.kind == "credit":
                paid[line.name] -= line.amount

    names_ = names_of(held)
    for name, amount in paid.items():
        of = [one for one, its in names_.items() if its == name]
        assert amount <= max(AMOUNTS[one] for one in of)
        if len(of) == 1:
            due = sum(_due(of[0], used[i]) for i, n in enumerate(held) if of[0] in n)
            assert amount == min(AMOUNTS[of[0]], due)


def _due(name: str, used: Sequence[int]) -> int:
    return used[sorted(PLANS).index(name)]


def _stretch(
    held: Sequence[Sequence[str]],
    used: Sequence[int],
    paid: dict[str, Decimal],
    i: int,
    whole: Period,
) -> Stretch:
    plans = [[_bare(PLANS[name]) for name in names] for names in held]
    plan_ = combined(plans[-1], plans[:-1]) if plans[-1] else NOTHING
    left = [
        replace(credit, amount=max(credit.amount - paid[credit.name], Decimal(0)))
        for credit in plan_.credits
    ]
    usage: dict[str, Usage] = {name: Decimal(_due(name, used)) for name in held[-1]}
    period = Period(i * 30 * DAY_MS, (i + 1) * 30 * DAY_MS)
    return Stretch(replace(plan_, credits=tuple(left)), period, usage)


NOTHING = Plan(name="none", currency="usd")


def _bare(plan_: Plan) -> Plan:
    return replace(plan_, prices=plan_.prices[:1])


@given(st.permutations(["a", "b"]), st.sampled_from(["discounts", "coupons"]))
def test_an_amount_is_given_once_in_a_period_whoever_goes(
    order: list[str], field: str
) -> None:
    term = (Discount if field == "discounts" else Coupon)(amount=10)
    terms: dict[str, Any] = {field: (term,)}
    one, other = (plan(name, **terms) for name in order)
    both, last = [one, other], [other]
    middle, end = 15 * DAY_MS, 30 * DAY_MS
    usage: dict[str, Usage] = dict.fromkeys(order, Decimal(100))

    drawn = invoice_of(
        [
            Stretch(combined(both), Period(0, middle), usage),
            Stretch(combined(last, [both]), Period(middle, end), usage),
        ],
        Period(0, end, "a month"),
    )

    taken = -sum(line.amount for line in drawn.lines if line.kind == field[:-1])
    assert taken == 20
    assert [line.name for line in drawn.lines if line.kind == "fee"] == [
        *("fee", f"{other.name}: fee"),
    ]
