"""The plan that holds in each stretch of a billing period."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from meterline_pricing import Period, Plan
from meterline_pricing.combined import combined
from meterline_sidecar.terms.alike import Likeness, Shared, likeness, silent_ms
from meterline_sidecar.terms.beside import edges_of, names_on
from meterline_sidecar.terms.book import AgreedCustomer, Terms
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.change import PlanChange


class AgreedStretch(NamedTuple):
    """A part of a period in which one plan holds."""

    start: int
    end: int
    plan: Plan | None
    """As this customer has it; ``None``: they are on no plan."""


def agreed(terms: Terms, customer_id: str, period: Period) -> list[AgreedStretch]:
    """Return the stretches of a period, in order; together they are the period.

    A customer who takes another plan has it from then on. A plan that is edited reads
    so from then on. Which version of a plan holds is decided by the day on which the
    stretch under this plan begins: a version that becomes effective in the middle of
    a period holds from the next one. So does a plan in another currency than that in
    which the period begins, whatever first or last day, version or absence put it there:
    until then what held before it goes on. Between leaving and coming back there is no
    plan. In the first days on a plan it may be on trial.

    Raises:
        NotFound: no version of the plan holds then.
        PricingError: plans that they have at one time do not fit each other.
    """
    like = _alike_in(terms, customer_id, period)
    known = None if like is None else _SHARED.get(terms, like)
    if known is not None:
        return list(known)
    found = _worked_out(terms, customer_id, period)
    if like is not None and not _has_trials(terms, customer_id):
        _SHARED.put(terms, like, tuple(found))
    return found


def _alike_in(terms: Terms, customer_id: str, period: Period) -> Likeness | None:
    """Return what is equal for customers whose stretches of a period are equal."""
    like = likeness(terms, customer_id)
    if like is None:
        return None
    cuts = sorted(at for at in silent_ms(terms, customer_id) if at in period)
    return period, tuple(cuts), like


def _has_trials(terms: Terms, customer_id: str) -> bool:
    """Say whether a trial counts from when a customer was heard of, which is theirs."""
    return any(
        _trial_lengths(terms, customer_id, name) for name in terms.plans_of(customer_id)
    )


def _worked_out(terms: Terms, customer_id: str, period: Period) -> list[AgreedStretch]:
    found: list[AgreedStretch] = []
    before = _held_before(terms, customer_id, period.end)
    calendar = CustomerCalendar.of(terms, customer_id)
    taken_ms: dict[str, int] = {}
    held_ms: dict[str, int] = {}  # the same of the last stretch that had a plan
    currency: str | None = None
    for start, end in _parts(terms, customer_id, period):
        customer = terms.customer(customer_id, start)
        assert customer is not None, "asked for a customer that there is"
        is_absent = any(left <= start < back for left, back in calendar.absences)
        names = () if is_absent else names_on(customer, calendar.day(start))
        taken_ms = {name: taken_ms.get(name, start) for name in names}
        together = _together(terms, customer, taken_ms, start, before)
        if together is not None:
            currency = currency or together.currency
            if together.currency != currency:
                taken_ms = held_ms
                together = _together(terms, customer, taken_ms, start, before)
            held_ms = taken_ms
        if found and found[-1].plan == together:
            found[-1] = found[-1]._replace(end=end)
        else:
            found.append(AgreedStretch(start, end, together))
    return found


class _Held(NamedTuple):
    """What a customer has from a time on."""

    from_ms: int
    plans: tuple[Plan, ...]
    """In every version: what one has of a name is that of the next one."""


def _held_before(terms: Terms, customer_id: str, end: int) -> list[_Held]:
    """Return what a customer has until a time, where names of it may be told apart.

    Nothing is to be told apart of who has one plan at a time.
    """
    if not any(beside for _, beside in terms.field(customer_id, "plans")):
        return []
    calendar = CustomerCalendar.of(terms, customer_id)
    found: list[_Held] = []
    for at_ms in sorted(cuts_between(terms, customer_id, 0, end)):
        customer = terms.customer(customer_id, at_ms)
        assert customer is not None, "they were agreed with"
        is_absent = any(left <= at_ms < back for left, back in calendar.absences)
        names = () if is_absent else names_on(customer, calendar.day(at_ms))
        versions = (
            _as_theirs(customer, version)
            for name in names
            for version in terms.plan_versions(name, at_ms, withdrawn=True).values()
        )
        found.append(_Held(at_ms, tuple(versions)))
    return found


def _as_theirs(customer: AgreedCustomer, plan: Plan) -> Plan:
    """Return a plan with the prices that a customer has of their own."""
    for override in customer.overrides:
        if override.plan == plan.name:
            plan = override.applied_to(plan)
    return plan


def _together(
    terms: Terms,
    customer: AgreedCustomer,
    taken_ms: Mapping[str, int],
    start: int,
    before: Sequence[_Held],
) -> Plan | None:
    """Return the plans that a customer has from a time on as one; ``None``: none.

    Args:
        taken_ms: when the stretch begins in which they have each.
        before: what they had until then, and have from then on, whatever is on trial.
    """
    calendar = CustomerCalendar.of(terms, customer.id)
    plans: list[Plan] = []
    for name, since_ms in taken_ms.items():
        held = terms.plan_held(name, day=calendar.day(since_ms), at_ms=start)
        plan = _as_theirs(customer, held)
        if start < trial_end(terms, customer.id, name, plan.trial_days):
            plan = plan.on_trial
        plans.append(plan)
    if not plans:
        return None
    return combined(plans, [one.plans for one in before if one.from_ms <= start])


def plan_of(terms: Terms, customer_id: str, period: Period) -> Plan | None:
    """Return the plan that holds at the end of a period: what a customer is on."""
    return agreed(terms, customer_id, period)[-1].plan


def _parts(terms: Terms, customer_id: str, period: Period) -> list[tuple[int, int]]:
    """Return the parts of a period in which no row of terms begins to hold."""
    cuts = cuts_between(terms, customer_id, period.start, period.end)
    edges = [period.start, *sorted(cuts - {period.start}), period.end]
    return list(itertools.pairwise(edges))


def cuts_between(terms: Terms, customer_id: str, start: int, end: int) -> set[int]:
    """Return the times in ``[start, end)`` from which something else may be agreed."""
    plans = terms.plans_of(customer_id)
    calendar = CustomerCalendar.of(terms, customer_id)
    cuts = {entry.from_ms for entry in terms.entries("customer", customer_id)}
    for name in plans:
        cuts.update(terms.plan_changes_ms(name))
        cuts.update(_trial_ends(terms, customer_id, name))
    for _, beside in terms.field(customer_id, "plans"):
        cuts.update(calendar.start_of(day) for day in edges_of(beside))
    for absence in calendar.absences:
        cuts.update(absence)
    return {at_ms for at_ms in cuts if start <= at_ms < end}


def trial_end(terms: Terms, customer_id: str, plan_name: str, days: int | None) -> int:
    """Return when a customer's free trial of a plan ends, UTC ms; 0: there is none.

    It begins with their first day on the plan, and once: who comes back to a plan, or
    comes back at all, has had it. Who named no first day begins when they became known.
    """
    if not days:
        return 0
    calendar = CustomerCalendar.of(terms, customer_id)
    first_ms = min(_taken_ms(terms, customer_id, plan_name, calendar))
    first = calendar.day(max(first_ms, terms.learned_ms(customer_id)))
    if calendar.starts is not None:
        first = max(calendar.starts, calendar.day(first_ms))
    return calendar.start_of(first + timedelta(days=days))


def _taken_ms(
    terms: Terms, customer_id: str, plan_name: str, calendar: CustomerCalendar
) -> Iterator[int]:
    """Yield from when on a customer has a plan, each time."""
    for from_ms, name in terms.field(customer_id, "plan"):
        if name == plan_name:
            yield from_ms
    for from_ms, beside in terms.field(customer_id, "plans"):
        for held in beside:
            if held.plan == plan_name and held.from_day is not None:
                yield max(from_ms, calendar.start_of(held.from_day))
            elif held.plan == plan_name:
                yield from_ms


def _trial_ends(terms: Terms, customer_id: str, plan_name: str) -> set[int]:
    """Return when a trial may end, by what the plan says, or said."""
    lengths = _trial_lengths(terms, customer_id, plan_name)
    return {trial_end(terms, customer_id, plan_name, days) for days in lengths}


def _trial_lengths(terms: Terms, customer_id: str, plan_name: str) -> set[int]:
    """Return how long a trial may be, in days, by what the plan says, or said."""
    lengths: set[int] = set()
    for entry in terms.entries("plan", plan_name):
        if isinstance(entry.change, PlanChange) and entry.change.plan is not None:
            lengths.add(entry.change.plan.trial_days or 0)
    for _, overrides in terms.field(customer_id, "overrides"):
        lengths |= {o.trial_days or 0 for o in overrides if o.plan == plan_name}
    return lengths - {0}


_SHARED: Final[Shared[tuple[AgreedStretch, ...]]] = Shared()
