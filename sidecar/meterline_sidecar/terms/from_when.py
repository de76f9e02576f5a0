"""From when on a change of a customer holds."""

from collections.abc import Mapping
from typing import Any, Final

from meterline_pricing import NotFound, Period, Plan, PricingError
from meterline_sidecar.terms.agreed import agreed
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.change import PlanChange
from meterline_sidecar.terms.owners import WantedCustomer

MONEY: Final = ("plan", "overrides")
"""What splits a period where it changes."""
DATED: Final = (*MONEY, "subjects", "time_zone")
"""What a `from` in the file dates; all else holds from now on."""


def from_when(
    terms: Terms,
    wanted: WantedCustomer,
    name: str,
    value: Any,
    *,
    now_ms: int,
    final_ms: int,
    offered: Mapping[str, Plan],
) -> int:
    """Return from when on a customer has another value of a field, UTC ms.

    Args:
        final_ms: the end of the customer's last final period.
        offered: plans that are agreed in the same step, by name.
    """
    calendar = CustomerCalendar.of(terms, wanted.id)
    if name not in DATED:
        return now_ms
    if wanted.from_day is not None:
        from_ms = calendar.start_of(wanted.from_day)
        if name == "time_zone":
            # A period has one zone, or its days would not add up to it.
            month = calendar.whole(calendar.name_at(from_ms))
            edge_ms = from_ms if from_ms == month.start else month.end
            # Loaded again once that month is final it is no other zone than before.
            if from_ms >= final_ms or calendar.zone(edge_ms) == value:
                return edge_ms
        return from_ms
    is_early = calendar.starts is not None and now_ms < calendar.start_of(
        calendar.starts
    )
    if name == "subjects" or is_early:
        return now_ms
    month = calendar.whole(calendar.name_at(now_ms))
    if name == "time_zone":
        return month.end
    from_ms = max(calendar.start_of(calendar.day(now_ms)), final_ms)
    if name == "plan" and before_other_currency(
        terms, wanted.id, value, from_ms=from_ms, now_ms=now_ms, offered=offered
    ):
        return month.end
    return from_ms


def before_other_currency(
    terms: Terms,
    customer_id: str,
    plan_name: str | None,
    *,
    from_ms: int,
    now_ms: int,
    offered: Mapping[str, Plan],
) -> Period | None:
    """Return the month that a plan cannot begin in: it began in another currency."""
    plan = offered.get(plan_name or "") or _newest(terms, plan_name, now_ms)
    if plan is None or not _may_differ(terms, customer_id, plan.currency):
        return None
    calendar = CustomerCalendar.of(terms, customer_id)
    month = calendar.whole(calendar.name_at(from_ms))
    try:
        end = min(from_ms, calendar.named(month.name).end)
        if end <= month.start:
            return None
        before = agreed(terms, customer_id, Period(month.start, end))
    except (NotFound, PricingError):
        return None  # nothing is billed of it
    currencies = {part.plan.currency for part in before if part.plan is not None}
    return month if currencies - {plan.currency} else None


def _may_differ(terms: Terms, customer_id: str, currency: str) -> bool:
    """Say whether a customer was ever on a plan that was in another currency."""
    return any(
        isinstance(entry.change, PlanChange)
        and entry.change.plan is not None
        and entry.change.plan.currency != currency
        for _, name in terms.field(customer_id, "plan")
        for entry in terms.entries("plan", name or "")
    )


def _newest(terms: Terms, name: str | None, now_ms: int) -> Plan | None:
    versions = terms.plan_versions(name or "", now_ms)
    return max(versions.values(), key=lambda plan: plan.effective, default=None)
