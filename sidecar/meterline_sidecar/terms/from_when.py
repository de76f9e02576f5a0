"""From when on a change of a customer holds."""

from collections.abc import Mapping
from datetime import date
from typing import Any, Final, NamedTuple

from meterline_pricing import NotFound, Period, Plan, PricingError
from meterline_sidecar.terms.agreed import agreed
from meterline_sidecar.terms.beside import changed_from
from meterline_sidecar.terms.book import Terms, value_at
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.change import PlanChange
from meterline_sidecar.terms.owners import WantedCustomer

MONEY: Final = ("plan", "plans", "overrides")
"""What splits a period where it changes."""
OF_PERIODS: Final[Mapping[str, Any]] = {"time_zone": "UTC", "anchor": None}
"""What a period has one of, with what holds where nobody said any."""
DATED: Final = (*MONEY, "subjects", *OF_PERIODS)
"""What a `from` in the file dates; all else holds from now on."""


PUT_OFF: Final = ("plan", "overrides", "subjects")
"""What follows another `from` as long as it has not come yet."""


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
        if name in OF_PERIODS:
            # A period has one zone, or its days would not add up to it.
            running = calendar.whole(calendar.name_at(from_ms))
            edge_ms = from_ms if from_ms == running.start else running.end
            steps = terms.field(wanted.id, name)
            # Loaded again once that is final it is none other than before.
            known = value_at(steps, edge_ms, OF_PERIODS[name])
            if from_ms >= final_ms or known == value:
                return edge_ms
            # Nor is anything asked of it that holds behind what is final: the day is
            # that of another change, which was loaded with it.
            if value_at(steps, final_ms, OF_PERIODS[name]) == value:
                return final_ms
        return from_ms
    is_early = calendar.starts is not None and now_ms < calendar.start_of(
        calendar.starts
    )
    if name == "subjects" or is_early:
        return now_ms
    running = calendar.whole(calendar.name_at(now_ms))
    if name in OF_PERIODS:
        return running.end
    from_ms = max(calendar.start_of(calendar.day(now_ms)), final_ms)
    if name == "plan":
        plan = _plan(terms, value, offered, calendar.day(now_ms), now_ms=now_ms)
        # Also a period that began today is running.
        if _has_other_periods(terms, wanted.id, plan, now_ms) or unlike_before(
            terms, wanted.id, value, from_ms=from_ms, now_ms=now_ms, offered=offered
        ):
            return running.end
    if name == "plans":
        known = value_at(terms.field(wanted.id, name), now_ms, ())
        today = calendar.day(now_ms)
        day = changed_from(known, value, today=today)
        plan_ms = _plan_from(terms, wanted, now_ms, final_ms, offered)
        if plan_ms > now_ms:
            return plan_ms  # they may fit that one alone
        return from_ms if day == today else calendar.start_of(day)
    return from_ms


def _plan_from(
    terms: Terms,
    wanted: WantedCustomer,
    now_ms: int,
    final_ms: int,
    offered: Mapping[str, Plan],
) -> int:
    """Return from when on another plan holds that is wanted too; 0: none is."""
    known = value_at(terms.field(wanted.id, "plan"), now_ms)
    plan = wanted.fields.get("plan", known)
    if plan == known:
        return 0
    return from_when(
        *(terms, wanted, "plan", plan),
        now_ms=now_ms,
        final_ms=final_ms,
        offered=offered,
    )


def too_soon(
    terms: Terms,
    wanted: WantedCustomer,
    name: str,
    offered: Mapping[str, Plan],
    *,
    now_ms: int,
) -> int | None:
    """Return when a field is to change to what is wanted only later; ``None``: it is not.

    Nor does a plan in another currency, or with other periods, which moves their edges.
    """
    steps = terms.field(wanted.id, name)
    if wanted.from_day is None or name not in PUT_OFF or not steps:
        return None
    (at_ms, value), wanted_value = steps[-1], wanted.fields[name]
    wanted_ms = CustomerCalendar.of(terms, wanted.id).start_of(wanted.from_day)
    if value != wanted_value or not now_ms < at_ms < wanted_ms:
        return None
    if name == "plan":
        plan = _plan(terms, value, offered, wanted.from_day, now_ms=now_ms)
        if plan is None or _may_differ(terms, wanted.id, plan.currency):
            return None
        if had_other_periods(terms, wanted.id, value, offered, now_ms=now_ms):
            return None
    return at_ms


class Unlike(NamedTuple):
    """A period that a plan cannot begin in."""

    period: Period
    why: str
    """In what the plan differs from what held there: ``currency``."""


def unlike_before(
    terms: Terms,
    customer_id: str,
    plan_name: str | None,
    *,
    from_ms: int,
    now_ms: int,
    offered: Mapping[str, Plan],
) -> Unlike | None:
    """Return the period that a plan cannot begin in, as it began under another one.

    That is, in another currency, or with periods of another length.
    """
    calendar = CustomerCalendar.of(terms, customer_id)
    plan = _plan(terms, plan_name, offered, calendar.day(from_ms), now_ms=now_ms)
    if plan is None:
        return None
    try:
        period = calendar.whole(calendar.name_at(from_ms))
        if from_ms > period.start and _has_other_periods(
            terms, customer_id, plan, from_ms
        ):
            return Unlike(period, "length")
        if not _may_differ(terms, customer_id, plan.currency):
            return None
        billed = calendar.named(period.name)
        end = min(from_ms, billed.end)
        if end <= billed.start:
            return None
        before = agreed(terms, customer_id, Period(billed.start, end))
    except (NotFound, PricingError):
        return None  # nothing is billed of it
    currencies = {part.plan.currency for part in before if part.plan is not None}
    return Unlike(period, "currency") if currencies - {plan.currency} else None


def _plan(
    terms: Terms,
    name: str | None,
    offered: Mapping[str, Plan],
    day: date,
    *,
    now_ms: int,
) -> Plan | None:
    """Return the version of a plan that holds on a day, else the newest there is."""
    versions = [*terms.plan_versions(name or "", now_ms).values()]
    versions += filter(None, [offered.get(name or "")])
    held = [plan for plan in versions if plan.effective <= day]
    return max(held or versions, key=lambda plan: plan.effective, default=None)


def _has_other_periods(
    terms: Terms, customer_id: str, plan: Plan | None, at_ms: int
) -> bool:
    """Say whether a customer's period of a moment has another length than a plan's."""
    calendar = CustomerCalendar.of(terms, customer_id)
    if plan is None or calendar.length(calendar.name_at(at_ms)) == plan.period:
        return False
    if calendar.starts is not None and at_ms <= calendar.start_of(calendar.starts):
        return False  # their first period begins with it
    return any(name is not None for _, name in terms.field(customer_id, "plan"))


def had_other_periods(
    terms: Terms,
    customer_id: str,
    plan_name: str | None,
    offered: Mapping[str, Plan],
    *,
    now_ms: int,
) -> bool:
    """Say whether a plan has periods of a length that the customer also had others of.

    What is final keeps its periods, whatever is corrected.
    """
    lengths = {
        segment.grid.period
        for segment in CustomerCalendar.of(terms, customer_id).grids.segments
    }
    versions = terms.plan_versions(plan_name or "", now_ms).values()
    plans = [*versions, *filter(None, [offered.get(plan_name or "")])]
    return any({plan.period} != lengths for plan in plans)


def _may_differ(terms: Terms, customer_id: str, currency: str) -> bool:
    """Say whether a customer was ever on a plan that was in another currency."""
    return any(
        isinstance(entry.change, PlanChange)
        and entry.change.plan is not None
        and entry.change.plan.currency != currency
        for name in terms.plans_of(customer_id)
        for entry in terms.entries("plan", name)
    )
