"""The plan that holds in each stretch of a billing period."""

import itertools
from typing import NamedTuple

from meterline_pricing import Period, Plan
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar


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
    a period holds from the next one. Between leaving and coming back there is no plan.

    Raises:
        NotFound: no version of the plan holds then.
    """
    found: list[AgreedStretch] = []
    calendar = CustomerCalendar.of(terms, customer_id)
    name: str | None = None
    taken_ms = period.start
    for start, end in _parts(terms, customer_id, period):
        customer = terms.customer(customer_id, start)
        assert customer is not None, "asked for a customer that there is"
        is_absent = any(left <= start < back for left, back in calendar.absences)
        on = None if is_absent else customer.plan
        if start == period.start or on != name:
            name, taken_ms = on, start
        plan = None
        if name is not None:
            plan = terms.plan_held(name, day=calendar.day(taken_ms), at_ms=start)
            for override in customer.overrides:
                if override.plan == name:
                    plan = override.applied_to(plan)
        if found and found[-1].plan == plan:
            found[-1] = found[-1]._replace(end=end)
        else:
            found.append(AgreedStretch(start, end, plan))
    return found


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
    plans = {name for _, name in terms.field(customer_id, "plan") if name is not None}
    cuts = {entry.from_ms for entry in terms.entries("customer", customer_id)}
    for name in plans:
        cuts.update(terms.plan_changes_ms(name))
    for absence in CustomerCalendar.of(terms, customer_id).absences:
        cuts.update(absence)
    return {at_ms for at_ms in cuts if start <= at_ms < end}
