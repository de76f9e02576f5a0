"""Plans, meters and rules as the files say them, against those that hold."""

from collections.abc import Mapping, Sequence, Set
from datetime import date, timedelta
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from meterline_pricing import Plan
from meterline_sidecar.clock import DAY_MS, format_time_ms
from meterline_sidecar.meters import Meter
from meterline_sidecar.terms.altered import what_changed
from meterline_sidecar.terms.book import ALWAYS, Terms, value_at
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.change import (
    Change,
    MeterChange,
    PlanChange,
    RuleChange,
)
from meterline_sidecar.terms.record import Planned
from meterline_sidecar.terms.refusals import meter_into_final, other_aggregation

EARLIEST: Final = "Pacific/Kiritimati"
"""Where a day begins first."""
DAY: Final = timedelta(days=1)


class Findings(Struct):
    """What was found so far."""

    planned: list[Planned] = []
    told: list[str] = []
    refused: list[str] = []


class OfferDiffer:
    """Compares what is offered to every customer, and adds to what was found.

    Args:
        reason: why a meter may reach into final periods; empty where it may not.
    """

    def __init__(
        self, terms: Terms, found: Findings, *, now_ms: int, reason: str
    ) -> None:
        self._terms = terms
        self._found = found
        self._now_ms = now_ms
        self._reason = reason

    def plans(self, plans: Sequence[Plan], meters: Set[str]) -> None:
        """Compare plans; a version that is not named is not offered any more.

        Args:
            meters: the names of those that count from now on.
        """
        today_ms = self._now_ms // DAY_MS * DAY_MS
        gone = set(self._terms.names("meter")) - meters
        for plan in plans:
            plan = replace(plan, tests=())  # examples are no part of what was agreed
            known = self._terms.plan_versions(plan.name, self._now_ms)
            if known.get(plan.version) == plan:
                continue
            is_new = not self._terms.entries("plan", plan.name)
            effective_ms = (plan.effective - date(1970, 1, 1)).days * DAY_MS
            refusal = self._why_not_currency(plan) or self._why_not_period(plan)
            if refusal is not None:
                self._found.refused.append(refusal)
                continue
            from_ms = (
                ALWAYS if is_new else self._plan_from(known.get(plan.version), gone)
            )
            if plan.version not in known:
                from_ms = min(from_ms, effective_ms)
            self._plan(plan.name, PlanChange(version=plan.version, plan=plan), from_ms)
            if not self._terms.is_empty:
                before = known.get(plan.version)
                what = "is new"
                if before is not None:
                    what = f"has changed: {what_changed(before, plan)}"
                self._found.told.append(
                    f"from {_day(max(from_ms, effective_ms))} plan {plan.name}:"
                    f" version {plan.version} {what}{_other_sources(before, plan)}"
                )
        offered = {(plan.name, plan.version) for plan in plans}
        for name in list(self._terms.names("plan")):
            for version in self._terms.plan_versions(name, self._now_ms):
                if (name, version) not in offered:
                    change = PlanChange(version=version, plan=None)
                    self._plan(name, change, today_ms)
                    self._found.told.append(
                        f"from {_day(today_ms)} plan {name}: version {version} is no"
                        " longer offered; customers on it stay on it"
                    )

    def _plan_from(self, before: Plan | None, gone: Set[str]) -> int:
        """Return from when on an edited plan holds: from today's beginning.

        From now on where a meter that it charges for is taken out in the same step, as
        that one counted until now.
        """
        charged = () if before is None else (card.meter for card in before.prices)
        if any(meter in gone for meter in charged):
            return self._now_ms
        return self._now_ms // DAY_MS * DAY_MS

    def _why_not_period(self, plan: Plan) -> str | None:
        """Return why a version cannot have periods of another length than others."""
        known = self._terms.plan_versions(plan.name, self._now_ms, withdrawn=True)
        others = {one.period for one in known.values()} - {plan.period}
        customer = self._on(plan.name) if others else None
        if customer is None:
            return None
        before = known.get(plan.version)
        if before is not None and before.period != plan.period:
            return (
                f"plan {plan.name}: a period of version {plan.version} is a"
                f" {before.period}, and customer {customer} has been on it; it cannot"
                f" become a {plan.period}. Give that a version or a name of its own"
            )
        # It is that day already where days begin first.
        soonest = CustomerCalendar([(0, EARLIEST)]).day(self._now_ms) + DAY
        if plan.effective < soonest and before is None:
            return (
                f"plan {plan.name}: version {plan.version} has periods of another"
                " length, and what was billed has its periods; it can be effective from"
                f" {soonest} on, not {plan.effective}"
            )
        return None

    def _on(self, plan: str) -> str | None:
        """Return a customer who has been on a plan, if anybody has."""
        return next(
            (
                customer
                for customer in self._terms.names("customer")
                if plan in self._terms.plans_of(customer)
            ),
            None,
        )

    def _why_not_currency(self, plan: Plan) -> str | None:
        known = self._terms.plan_versions(plan.name, self._now_ms, withdrawn=True)
        before = known.get(plan.version)
        if before is None or before.currency == plan.currency:
            return None
        customer = self._on(plan.name)
        if customer is None:
            return None
        return (
            f"plan {plan.name}: version {plan.version} is in {before.currency},"
            f" and customer {customer} has been on it; it cannot become"
            f" {plan.currency}. Give what is in {plan.currency} a version or a"
            " name of its own"
        )

    def meters(
        self, meters: Sequence[tuple[Meter, date | None]], *, final_ms: int
    ) -> None:
        """Compare meters; what is not named counts nothing from now on.

        Args:
            final_ms: the end of the last period that is final for anybody.
        """
        first = not self._terms.names("meter") and (
            self._terms.is_empty or not final_ms
        )
        for meter, from_day in meters:
            from_ms = ALWAYS if first else self._now_ms
            if from_day is not None:
                from_ms = CustomerCalendar([(0, "UTC")]).start_of(from_day)
            steps = self._terms.meter_timeline(meter.name)
            known = value_at(steps, from_ms)
            if known == meter and all(v == meter for ms, v in steps if ms > from_ms):
                continue
            refusal = self._why_not_meter(meter, steps, from_ms, final_ms=final_ms)
            if refusal is not None:
                self._found.refused.append(refusal)
                continue
            self._plan(meter.name, MeterChange(meter=meter), from_ms)
            if not first:
                what = "is new"
                if known is not None:
                    what = f"has changed: {what_changed(known, meter)}"
                again = " not" if from_ms >= self._now_ms else ""
                self._found.told.append(
                    f"from {format_time_ms(from_ms)} meter {meter.name} {what};"
                    f" what was counted since then is{again} counted again"
                )
        wanted = {meter.name for meter, _ in meters}
        for name in list(self._terms.names("meter")):
            if name not in wanted and self._terms.meter(name, self._now_ms) is not None:
                self._plan(name, MeterChange(meter=None), self._now_ms)
                self._found.told.append(f"meter {name}: counts nothing from now on")

    def _why_not_meter(
        self,
        meter: Meter,
        steps: list[tuple[int, Any]],
        from_ms: int,
        *,
        final_ms: int,
    ) -> str | None:
        for _, known in steps:
            if known is not None and known.aggregation != meter.aggregation:
                return other_aggregation(
                    meter.name, known.aggregation, meter.aggregation
                )
        if ALWAYS < from_ms < final_ms and not self._reason:
            return meter_into_final(
                meter.name, from_ms, final_ms=final_ms, on_purpose="meterline reload"
            )
        return None

    def rules(self, rules: Mapping[str, str]) -> None:
        """Compare what whoever signs up gets."""
        known = self._terms.rules(self._now_ms)
        for pattern, plan in rules.items():
            if known.get(pattern) != plan:
                self._plan(pattern, RuleChange(plan=plan), self._now_ms)
                self._found.told.append(f"{pattern}: new sign-ups get plan {plan}")
        for pattern in known.keys() - rules.keys():
            self._plan(pattern, RuleChange(plan=None), self._now_ms)
            self._found.told.append(f"{pattern}: no more sign-ups")

    def _plan(self, name: str, change: Change, from_ms: int) -> None:
        self._found.planned.append(Planned(name, change, from_ms, self._reason))


def _other_sources(before: Plan | None, now: Plan) -> str:
    """Return which sources of prices are others, such as a newer catalogue."""
    if before is None:
        return ""
    sources = {card.name: card.source for card in before.prices}
    changes = {
        f"{sources[card.name] or 'by hand'} -> {card.source or 'by hand'}"
        for card in now.prices
        if sources.get(card.name, card.source) != card.source
    }
    return f"; prices: {', '.join(sorted(changes))}" if changes else ""


def _day(at_ms: int) -> str:
    return "the beginning" if at_ms == ALWAYS else format_time_ms(at_ms)[:10]
