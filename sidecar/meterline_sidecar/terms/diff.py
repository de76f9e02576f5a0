"""What the files say, against what holds: which rows would be added, and from when.

From when a change holds, unless the files give a date:

- what is seen for the first time holds from the beginning;
- a plan, prices of a customer's own, and what a plan says: from the beginning of the
  day, or from the next period on where the currency is another;
- subjects, meters, names, ids at Stripe: from now on;
- a time zone: from the end of the running period;
- the first and the last day are dates by themselves.

Nothing here reaches into a period that is final, unless somebody asks for it.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, cast

from msgspec import Struct
from msgspec.structs import replace

from meterline_pricing import NotFound, Override, Period, Plan, PricingError
from meterline_sidecar.clock import DAY_MS, format_time_ms
from meterline_sidecar.meters import Meter
from meterline_sidecar.store.terms import Source
from meterline_sidecar.terms.agreed import agreed
from meterline_sidecar.terms.book import ALWAYS, AgreedCustomer, Terms, value_at
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.change import (
    Change,
    CustomerChange,
    MeterChange,
    PlanChange,
    RuleChange,
    given,
)
from meterline_sidecar.terms.owners import WantedCustomer, not_ours, others_have
from meterline_sidecar.terms.record import Planned
from meterline_sidecar.terms.refusals import meter_into_final, other_aggregation

MONEY: Final = ("plan", "overrides")
"""What splits a period where it changes."""
DATED: Final = (*MONEY, "subjects", "time_zone")
"""What a `from` in the file dates; all else holds from now on."""


class Wanted(Struct, frozen=True, kw_only=True):
    """All that the files want."""

    customers: Sequence[WantedCustomer] = ()
    plans: Sequence[Plan] = ()
    meters: Sequence[tuple[Meter, date | None]] = ()
    """Each with the day from which it is to count, where one is given."""
    rules: Mapping[str, str] = {}
    """The plan of whoever signs up, by pattern."""


class Diff(Struct, frozen=True, kw_only=True):
    """What would be written, and what can not be."""

    planned: tuple[Planned, ...] = ()
    told: tuple[str, ...] = ()
    """Each change in words: ``from 2026-12-01 acme: plan basic -> pro``."""
    refused: tuple[str, ...] = ()
    """What must not be, with what to do instead."""
    at_ms: int = 0
    """When it was found: from when on holds what holds from now on."""


class Differ:
    """Compares what is wanted with what holds, at one moment.

    Args:
        finals: the end of each customer's last final period, UTC ms.
        reason: why changes may reach into final periods; empty where they may not.
    """

    def __init__(
        self,
        terms: Terms,
        *,
        now_ms: int,
        finals: Mapping[str, int],
        source: Source = "file",
        reason: str = "",
    ) -> None:
        self._terms = terms
        self._now_ms = now_ms
        self._finals = finals
        self._source: Source = source
        self._reason = reason
        self._planned: list[Planned] = []
        self._told: list[str] = []
        self._refused: list[str] = []

    def files(self, wanted: Wanted) -> Diff:
        """Compare everything that the files say; what they do not name is taken out."""
        # Plans first: a customer may take one that is new.
        self._plans(wanted.plans)
        self._meters(wanted.meters)
        self._rules(wanted.rules)
        offered = {plan.name: plan for plan in wanted.plans}
        named = {customer.id for customer in wanted.customers}
        for name in list(self._terms.names("customer")):
            if name not in named:
                self._missing(name)
        for customer in wanted.customers:
            self.customer(customer, offered)
        return self.result()

    def result(self) -> Diff:
        """Return what was found so far."""
        return Diff(
            planned=tuple(self._planned),
            told=tuple(self._told),
            refused=tuple(self._refused),
            at_ms=self._now_ms,
        )

    def customer(
        self, wanted: WantedCustomer, offered: Mapping[str, Plan] | None = None
    ) -> None:
        """Compare one customer.

        Args:
            offered: plans that are agreed in the same step, by name.
        """
        known = self._terms.customer(wanted.id, self._now_ms)
        if known is not None and known.source != self._source:
            self._refused.append(not_ours(wanted.id, known.source))
            return
        taken = list(others_have(self._terms, wanted, source=self._source))
        self._refused += taken
        if taken:
            return
        if known is None:
            self._new_customer(wanted)
            return
        by_time: dict[int, dict[str, Any]] = {}
        fields = dict(wanted.fields)
        if known.is_removed:
            fields.setdefault("ends", None)
            fields["is_removed"] = False
        for name, value in fields.items():
            self._field(wanted, known, name, value, by_time, offered or {})
        for from_ms, changes in sorted(by_time.items()):
            if "subjects" in changes:
                changes["unclaimed_from_ms"] = self._unclaimed_from(wanted.id, from_ms)
            self._plan(wanted.id, CustomerChange(**changes), from_ms)

    # --- customers

    def _new_customer(self, wanted: WantedCustomer) -> None:
        fields = dict(wanted.fields)
        subjects = tuple(fields.pop("subjects", ()))
        self._plan(wanted.id, CustomerChange(**fields), ALWAYS)
        calendar = CustomerCalendar([(0, fields.get("time_zone", "UTC"))])
        day = wanted.from_day
        from_ms = ALWAYS if day is None else calendar.start_of(day)
        # What somebody else paid for until now stays theirs; what nobody paid for
        # becomes this customer's from the beginning.
        claimed_ms = (
            self._now_ms if day is None and not self._terms.is_empty else from_ms
        )
        change = CustomerChange(subjects=subjects, unclaimed_from_ms=from_ms)
        self._plan(wanted.id, change, claimed_ms)
        if not self._terms.is_empty:
            plan = fields.get("plan")
            on = f" on plan {plan}" if plan else ""
            self._told.append(f"{wanted.id}: a new customer{on}")

    def _field(
        self,
        wanted: WantedCustomer,
        known: AgreedCustomer,
        name: str,
        value: Any,
        by_time: dict[int, dict[str, Any]],
        offered: Mapping[str, Plan],
    ) -> None:
        from_ms = self._from(wanted, name, value, offered)
        steps = self._terms.field(wanted.id, name)
        default = getattr(AgreedCustomer(id="", source="file"), name)
        before = value_at(steps, from_ms, steps[0][1] if steps else default)
        later = [v for at_ms, v in steps if at_ms > from_ms]
        if before == value and all(v == value for v in later):
            return
        if name in MONEY:
            refusal = self._why_not(wanted.id, from_ms, name)
            if refusal is not None:
                self._refused.append(refusal)
                return
        by_time.setdefault(from_ms, {})[name] = value
        self._told.append(
            f"from {self._when(wanted.id, from_ms)} {wanted.id}: {name}"
            f" {_shown(before)} -> {_shown(value)}"
        )

    def _from(
        self,
        wanted: WantedCustomer,
        name: str,
        value: Any,
        offered: Mapping[str, Plan],
    ) -> int:
        """Return from when a change of a field holds."""
        calendar = CustomerCalendar.of(self._terms, wanted.id)
        if name not in DATED:
            return self._now_ms
        if wanted.from_day is not None:
            return calendar.start_of(wanted.from_day)
        if name == "subjects":
            return self._now_ms
        starts = calendar.starts
        if starts is not None and self._now_ms < calendar.start_of(starts):
            return self._now_ms
        month = calendar.whole(calendar.name_at(self._now_ms))
        if name == "time_zone":
            return month.end
        from_ms = max(
            calendar.start_of(calendar.day(self._now_ms)),
            self._finals.get(wanted.id, 0),
        )
        if name == "plan" and self._has_other_currency(
            wanted.id, value, calendar, from_ms=from_ms, offered=offered
        ):
            return month.end
        return from_ms

    def _has_other_currency(
        self,
        customer_id: str,
        plan_name: str | None,
        calendar: CustomerCalendar,
        *,
        from_ms: int,
        offered: Mapping[str, Plan],
    ) -> bool:
        """Say whether a plan is in another currency than what its month has before it."""
        month = calendar.whole(calendar.name_at(from_ms))
        try:
            end = min(from_ms, calendar.named(month.name).end)
            before = (
                agreed(self._terms, customer_id, Period(month.start, end))
                if month.start < end
                else []
            )
        except (NotFound, PricingError):
            return False  # nothing is billed of it
        plan = offered.get(plan_name or "") or _newest(
            self._terms, plan_name, self._now_ms
        )
        return plan is not None and any(
            part.plan is not None and part.plan.currency != plan.currency
            for part in before
        )

    def _why_not(self, customer_id: str, from_ms: int, name: str) -> str | None:
        final_ms = self._finals.get(customer_id, 0)
        if from_ms >= final_ms or self._reason:
            return None
        return (
            f"customer {customer_id}: {name} from {self._when(customer_id, from_ms)}"
            f" would reach into a period that is final; it can hold from"
            f" {self._when(customer_id, final_ms)} on. To correct what is final on"
            ' purpose: `meterline reload --into-final "the reason"`'
        )

    def _unclaimed_from(self, customer_id: str, from_ms: int) -> int:
        """Return from when on a customer pays for what nobody paid for."""
        if from_ms > self._now_ms:
            return from_ms
        return self._finals.get(customer_id, ALWAYS)

    def _missing(self, name: str) -> None:
        """Take out a customer whom the files do not name any more."""
        known = self._terms.customer(name, self._now_ms)
        if known is None or known.source != self._source or known.is_removed:
            return
        calendar = CustomerCalendar.of(self._terms, name)
        today = calendar.day(self._now_ms)
        ends = today if known.ends is None else min(known.ends, today)
        self._plan(
            name,
            CustomerChange(is_removed=True, subjects=(), ends=ends),
            self._now_ms,
        )
        self._told.append(
            f"{name}: taken out; what they used until now can still be invoiced"
        )

    # --- plans, meters, rules

    def _plans(self, plans: Sequence[Plan]) -> None:
        today_ms = self._now_ms // DAY_MS * DAY_MS
        for plan in plans:
            plan = replace(plan, tests=())  # examples are no part of what was agreed
            known = self._terms.plan_versions(plan.name, self._now_ms)
            if known.get(plan.version) == plan:
                continue
            is_new = not self._terms.entries("plan", plan.name)
            effective_ms = (plan.effective - date(1970, 1, 1)).days * DAY_MS
            from_ms = ALWAYS if is_new else today_ms
            if plan.version not in known:
                from_ms = min(from_ms, effective_ms)
            self._plan(plan.name, PlanChange(version=plan.version, plan=plan), from_ms)
            if not self._terms.is_empty:
                what = "reads otherwise" if plan.version in known else "is new"
                self._told.append(
                    f"from {_day(max(from_ms, effective_ms))} plan {plan.name}:"
                    f" version {plan.version} {what}"
                )
        offered = {(plan.name, plan.version) for plan in plans}
        for name in list(self._terms.names("plan")):
            for version in self._terms.plan_versions(name, self._now_ms):
                if (name, version) not in offered:
                    change = PlanChange(version=version, plan=None)
                    self._plan(name, change, today_ms)
                    self._told.append(
                        f"from {_day(today_ms)} plan {name}: version {version} is not"
                        " offered any more; whoever is on it stays on it"
                    )

    def _meters(self, meters: Sequence[tuple[Meter, date | None]]) -> None:
        first = not self._terms.names("meter") and (
            self._terms.is_empty or not self._finals
        )
        for meter, from_day in meters:
            from_ms = ALWAYS if first else self._now_ms
            if from_day is not None:
                from_ms = CustomerCalendar([(0, "UTC")]).start_of(from_day)
            steps = self._terms.meter_timeline(meter.name)
            known = value_at(steps, from_ms)
            if known == meter and all(v == meter for ms, v in steps if ms > from_ms):
                continue
            refusal = self._why_not_meter(meter, steps, from_ms)
            if refusal is not None:
                self._refused.append(refusal)
                continue
            self._plan(meter.name, MeterChange(meter=meter), from_ms)
            if not first:
                what = "counts otherwise" if known is not None else "a new meter"
                again = " not" if from_ms >= self._now_ms else ""
                self._told.append(
                    f"from {format_time_ms(from_ms)} meter {meter.name}: {what};"
                    f" what was counted since then is{again} counted again"
                )
        wanted = {meter.name for meter, _ in meters}
        for name in list(self._terms.names("meter")):
            if name not in wanted and self._terms.meter(name, self._now_ms) is not None:
                self._plan(name, MeterChange(meter=None), self._now_ms)
                self._told.append(f"meter {name}: counts nothing from now on")

    def _why_not_meter(
        self, meter: Meter, steps: list[tuple[int, Any]], from_ms: int
    ) -> str | None:
        for _, known in steps:
            if known is not None and known.aggregation != meter.aggregation:
                return other_aggregation(
                    meter.name, known.aggregation, meter.aggregation
                )
        final_ms = max(self._finals.values(), default=ALWAYS)
        if ALWAYS < from_ms < final_ms and not self._reason:
            return meter_into_final(meter.name, from_ms, final_ms=final_ms)
        return None

    def _rules(self, rules: Mapping[str, str]) -> None:
        known = self._terms.rules(self._now_ms)
        for pattern, plan in rules.items():
            if known.get(pattern) != plan:
                self._plan(pattern, RuleChange(plan=plan), self._now_ms)
                self._told.append(f"{pattern}: whoever signs up gets plan {plan}")
        for pattern in known.keys() - rules.keys():
            self._plan(pattern, RuleChange(plan=None), self._now_ms)
            self._told.append(f"{pattern}: nobody signs up any more")

    def _plan(self, name: str, change: Change, from_ms: int) -> None:
        final_ms = self._finals.get(name, 0)
        reaches = isinstance(change, CustomerChange) and from_ms < final_ms
        money = isinstance(change, CustomerChange) and not given(
            change
        ).keys().isdisjoint(MONEY)
        self._planned.append(
            Planned(name, change, from_ms, self._reason, reaches and money)
        )

    def _when(self, customer_id: str, at_ms: int) -> str:
        calendar = CustomerCalendar.of(self._terms, customer_id)
        day = calendar.day(at_ms)
        return str(day) if calendar.start_of(day) == at_ms else format_time_ms(at_ms)


def _newest(terms: Terms, name: str | None, now_ms: int) -> Plan | None:
    versions = terms.plan_versions(name or "", now_ms)
    return max(versions.values(), key=lambda plan: plan.effective, default=None)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        items = cast("tuple[object, ...]", value)
        names = [
            f"prices on {item.plan}" if isinstance(item, Override) else str(item)
            for item in items
        ]
        return ", ".join(names) or "none"
    return str(value)


def _day(at_ms: int) -> str:
    return "the beginning" if at_ms == ALWAYS else format_time_ms(at_ms)[:10]
