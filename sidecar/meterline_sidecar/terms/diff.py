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

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict

from meterline_pricing import Plan
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.meters import Meter
from meterline_sidecar.store.terms import Source
from meterline_sidecar.terms.beside import why_not_together
from meterline_sidecar.terms.book import ALWAYS, AgreedCustomer, Terms, value_at
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.change import (
    Change,
    CustomerChange,
    given,
)
from meterline_sidecar.terms.from_when import (
    DATED,
    MONEY,
    OF_PERIODS,
    from_when,
    had_other_periods,
    too_soon,
    unlike_before,
)
from meterline_sidecar.terms.offers import Findings, OfferDiffer
from meterline_sidecar.terms.owners import (
    WantedCustomer,
    not_ours,
    others_have,
    payers_since,
)
from meterline_sidecar.terms.record import Planned
from meterline_sidecar.terms.words import shown

DEFAULTS: Final = asdict(AgreedCustomer(id="", source="file"))
"""What holds of a customer's fields that nobody said anything of."""
Steps = list[tuple[int, Any]]
"""What a field is from when on."""
RATED: Final = (*MONEY, "subjects")
"""What is billed otherwise when it changes in a final period, on purpose."""
ON_PURPOSE: Final = (
    ". To correct what is final on purpose:"
    ' `meterline reload --into-final "the reason"`'
)


class Wanted(Struct, frozen=True, kw_only=True):
    """All that the files want."""

    customers: Iterable[WantedCustomer] = ()
    """Gone through several times."""
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
    found_from: tuple[int, int] | None = None
    """The newest row of terms and the newest final invoice that were known then;
    ``None``: what is agreed is, and finals do not matter."""


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
        self._found = Findings()

    def files(self, wanted: Wanted) -> Diff:
        """Compare everything that the files say; what they do not name is taken out."""
        # Plans first: a customer may take one that is new.
        offers = OfferDiffer(
            self._terms, self._found, now_ms=self._now_ms, reason=self._reason
        )
        final_ms = max(self._finals.values(), default=ALWAYS)
        offers.plans(wanted.plans, {meter.name for meter, _ in wanted.meters})
        offers.meters(wanted.meters, final_ms=final_ms)
        offers.rules(wanted.rules)
        offered = {plan.name: plan for plan in wanted.plans}
        named = {customer.id for customer in wanted.customers}
        for name in list(self._terms.names("customer")):
            if name not in named:
                self._missing(name)
        # Who gets subjects from a day on comes before whoever gives them: until then
        # they stay where they are.
        for is_dated in (True, False):
            for customer in wanted.customers:
                if (customer.from_day is not None) == is_dated:
                    self.customer(customer, offered)
        for name in set(self._terms.names("customer")) - named:
            if self._terms.field(name, "plans"):
                known = self._terms.customer(name, self._now_ms)
                self._together(name, known, {}, offered)
        return self.result()

    def result(self) -> Diff:
        """Return what was found so far."""
        return Diff(
            planned=tuple(self._found.planned),
            told=tuple(self._found.told),
            refused=tuple(self._found.refused),
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
            self._found.refused.append(not_ours(wanted.id, known.source))
            return
        taken = list(others_have(self._terms, wanted, source=self._source))
        self._found.refused += taken
        if taken:
            return
        if known is None:
            self._together(wanted.id, None, wanted.fields, offered or {})
            self._new_customer(wanted)
            return
        by_time: dict[int, dict[str, Any]] = {}
        fields = dict(wanted.fields)
        if known.is_removed:
            fields.setdefault("ends", None)
            fields["is_removed"] = False
        for name, value in fields.items():
            steps = self._terms.field(wanted.id, name)
            self._field(wanted, name, value, steps, by_time, offered or {})
        self._put_off(wanted, by_time, offered or {})
        self._together(wanted.id, known, fields, offered or {})
        for from_ms, changes in sorted(by_time.items()):
            if "subjects" in changes:
                changes["unclaimed_from_ms"] = self._unclaimed_from(known, from_ms)
            self._plan(wanted.id, CustomerChange(**changes), from_ms)

    # --- customers

    def _together(
        self,
        customer_id: str,
        known: AgreedCustomer | None,
        fields: Mapping[str, Any],
        offered: Mapping[str, Plan],
    ) -> None:
        """Note why a customer cannot have all of their plans at one time."""
        had = DEFAULTS if known is None else asdict(known)
        if fields.get("plans", had["plans"]):
            why = why_not_together(
                self._terms, {**had, **fields}, offered, self._now_ms
            )
            self._found.refused += (f"customer {customer_id}: {text}" for text in why)

    def _new_customer(self, wanted: WantedCustomer) -> None:
        fields = dict(wanted.fields)
        subjects = tuple(fields.pop("subjects", ()))
        day, from_ms = wanted.from_day, ALWAYS
        if day is not None:
            zone = fields.get("time_zone", "UTC")
            from_ms = CustomerCalendar([(0, zone)]).start_of(day)
        refusal = self._why_not(wanted, from_ms, "subjects", subjects, {})
        if refusal is not None:
            self._found.refused.append(refusal)
            return
        if self._reason and day is not None:
            self._also_corrected(wanted.id, subjects, from_ms)
        # What somebody else paid for until now stays theirs; what nobody paid for
        # becomes this customer's from the beginning.
        claimed_ms = (
            self._now_ms if day is None and not self._terms.is_empty else from_ms
        )
        self._plan(wanted.id, CustomerChange(**fields), ALWAYS)
        change = CustomerChange(subjects=subjects, unclaimed_from_ms=from_ms)
        self._plan(wanted.id, change, claimed_ms)
        if not self._terms.is_empty:
            plan = fields.get("plan")
            on = f" on plan {plan}" if plan else ""
            self._found.told.append(f"{wanted.id}: a new customer{on}")

    def _field(
        self,
        wanted: WantedCustomer,
        name: str,
        value: Any,
        steps: Steps,
        by_time: dict[int, dict[str, Any]],
        offered: Mapping[str, Plan],
    ) -> None:
        # What nobody said anything of, in the customer's first row or later.
        first = DEFAULTS[name]
        since_ms = steps[0][0] if steps else ALWAYS
        if all(v == value for _, v in steps or [(ALWAYS, first)]) and (
            since_ms == ALWAYS or (wanted.from_day is None and since_ms <= self._now_ms)
        ):
            return  # whatever the time, and finding that is what takes long
        from_ms = from_when(
            self._terms,
            wanted,
            name,
            value,
            now_ms=self._now_ms,
            final_ms=self._finals.get(wanted.id, 0),
            offered=offered,
        )
        before = value_at(steps, from_ms, first)
        later = [step for step in steps if step[0] > from_ms]
        if before == value and all(v == value for _, v in later):
            return
        refusal = self._why_not(wanted, from_ms, name, value, offered)
        if refusal is not None:
            self._found.refused.append(refusal)
            return
        if name == "subjects" and self._reason:
            self._also_corrected(wanted.id, value, from_ms)
        by_time.setdefault(from_ms, {})[name] = value
        change = (
            f"stays {shown(value)}"
            if before == value
            else f"{shown(before)} -> {shown(value)}"
        )
        # A row ends whatever was to come behind its time.
        instead = "".join(
            f", and {shown(v)} does not come on {self._when(wanted.id, at_ms)}"
            for at_ms, v in later
            if v != value
        )
        when = self._when(wanted.id, from_ms)
        self._found.told.append(f"from {when} {wanted.id}: {name} {change}{instead}")

    def _put_off(
        self,
        wanted: WantedCustomer,
        by_time: dict[int, dict[str, Any]],
        offered: Mapping[str, Plan],
    ) -> None:
        """Let what was to come sooner come on the day that is said now."""
        for name, value in wanted.fields.items():
            at_ms = too_soon(self._terms, wanted, name, offered, now_ms=self._now_ms)
            if at_ms is None:
                continue
            steps = self._terms.field(wanted.id, name)[:-1]
            before = steps[-1][1] if steps else DEFAULTS[name]
            by_time.setdefault(at_ms, {})[name] = before
            self._field(wanted, name, value, steps, by_time, offered)

    def _why_not(
        self,
        wanted: WantedCustomer,
        from_ms: int,
        name: str,
        value: Any,
        offered: Mapping[str, Plan],
    ) -> str | None:
        """Return why a change cannot hold from its time on; ``None``: it can."""
        if name not in DATED:
            return None
        payers = {wanted.id}
        if name == "subjects" and wanted.from_day is not None:
            payers |= set(payers_since(self._terms, value, from_ms))
        final_ms = max(self._finals.get(payer, 0) for payer in payers)
        is_late = from_ms < final_ms and (name != "subjects" or wanted.from_day)
        is_never = name in OF_PERIODS or (
            name == "plan"
            and had_other_periods(
                self._terms, wanted.id, value, offered, now_ms=self._now_ms
            )
        )
        if is_late and (is_never or not self._reason):
            then = self._when(wanted.id, final_ms)
            text = (
                f"{self._what(wanted, name, from_ms)} would reach into a period that"
                " is final; it can hold from"
                f" {then} on"
            )
            return text if is_never else text + ON_PURPOSE
        if name == "plan":
            found = unlike_before(
                self._terms,
                wanted.id,
                value,
                from_ms=from_ms,
                now_ms=self._now_ms,
                offered=offered,
            )
            if found is not None:
                period, why = found
                return (
                    f"{self._what(wanted, name, from_ms)} would end {period.name} in"
                    f" another {why} than it began"
                    f" in; it can hold from {self._when(wanted.id, period.end)} on"
                )
        return None

    def _what(self, wanted: WantedCustomer, name: str, from_ms: int) -> str:
        when = self._when(wanted.id, from_ms)
        return f"customer {wanted.id}: {name} from {when}"

    def _also_corrected(
        self, customer_id: str, texts: Sequence[str], from_ms: int
    ) -> None:
        """Note that final periods of those who paid for these subjects are corrected."""
        for payer in payers_since(self._terms, texts, from_ms):
            if payer != customer_id and from_ms < self._finals.get(payer, 0):
                self._found.planned.append(
                    Planned(payer, CustomerChange(), from_ms, self._reason, True)
                )

    def _unclaimed_from(self, customer: AgreedCustomer, from_ms: int) -> int:
        """Return from when on a customer pays for what nobody paid for."""
        if from_ms > self._now_ms:
            return from_ms
        since_ms = self._finals.get(customer.id, ALWAYS)
        if customer.is_removed:  # they come back today: they were not there before
            calendar = CustomerCalendar.of(self._terms, customer.id)
            since_ms = max(since_ms, calendar.start_of(calendar.day(self._now_ms)))
        return since_ms

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
        self._found.told.append(
            f"{name}: removed; what they used until now can still be invoiced"
        )

    def _plan(self, name: str, change: Change, from_ms: int) -> None:
        final_ms = self._finals.get(name, 0)
        reaches = isinstance(change, CustomerChange) and from_ms < final_ms
        is_rated = isinstance(change, CustomerChange) and not given(
            change
        ).keys().isdisjoint(RATED)
        self._found.planned.append(
            Planned(name, change, from_ms, self._reason, reaches and is_rated)
        )

    def _when(self, customer_id: str, at_ms: int) -> str:
        calendar = CustomerCalendar.of(self._terms, customer_id)
        day = calendar.day(at_ms)
        return str(day) if calendar.start_of(day) == at_ms else format_time_ms(at_ms)
