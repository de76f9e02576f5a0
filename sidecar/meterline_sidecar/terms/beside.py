"""Plans that a customer has beside their plan, such as add-ons."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from meterline_pricing import Plan
from meterline_sidecar.config.held_plans import HeldPlan, clashes
from meterline_sidecar.terms.book import AgreedCustomer, Terms
from meterline_sidecar.terms.days import day_after


def names_on(customer: AgreedCustomer, day: date) -> tuple[str, ...]:
    """Return the plans that a customer has on a day; theirs first."""
    beside = (held.plan for held in customer.plans if held.holds_on(day))
    return tuple(beside) if customer.plan is None else (customer.plan, *beside)


def edges_of(plans: Sequence[HeldPlan]) -> Iterator[date]:
    """Yield the days with which one of these begins to hold, or does not any more."""
    for held in plans:
        if held.from_day is not None:
            yield held.from_day
        if held.to is not None:
            yield day_after(held.to)


def changed_from(
    known: Sequence[HeldPlan], wanted: Sequence[HeldPlan], *, today: date
) -> date:
    """Return the first day on which plans are others than those that are known.

    A day that is said holds, be it past; what is taken out holds until today begins.
    """
    before = {(held.plan, held.from_day): held.to for held in known}
    after = {(held.plan, held.from_day): held.to for held in wanted}
    days: list[date] = []
    for key in before.keys() | after.keys():
        _, first = key
        if key not in before:
            days.append(first or today)
        elif key not in after:
            days.append(max(first or today, today))
        elif before[key] != after[key]:
            lasts = (last for last in (before[key], after[key]) if last is not None)
            days.append(day_after(min(lasts)))
    return min(days, default=today)


def why_not_together(
    terms: Terms, fields: Mapping[str, Any], offered: Mapping[str, Plan], now_ms: int
) -> Iterator[str]:
    """Yield why a customer cannot have all of their plans at one time.

    Args:
        fields: all that is to be agreed with the customer.
        offered: plans that are agreed in the same step, by name.
    """

    def newest(name: str) -> Plan | None:
        versions = terms.plan_versions(name, now_ms).values()
        last = max(versions, key=lambda one: one.effective, default=None)
        found = offered.get(name, last)
        for override in fields["overrides"] if found is not None else ():
            if override.plan == name:
                found = override.applied_to(found)
        return found

    return clashes(fields["plan"], fields["plans"], newest)
