"""What the usage of a customer in a billing period costs: the invoice if it ended now."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple, Protocol

import msgspec

from meterline_pricing import (
    Calendar,
    Group,
    Groups,
    Invoice,
    Period,
    Plan,
    PricingError,
    Usage,
    invoice,
)
from meterline_pricing.tools import Stretch, invoice_of, share_of, unbroken
from meterline_sidecar.billing.balances import Balances
from meterline_sidecar.billing.credits import grants_of
from meterline_sidecar.billing.statement import AgreedPart, Agreement, Grant
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.decimals import share
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.meters import AGGREGATIONS, Aggregation, Meter
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.agreed import agreed, plan_of
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.usage.counted import Counted
from meterline_sidecar.usage.customer_usage import (
    CustomerUsage,
    GroupUsage,
    MeterUsage,
    usage_of,
)

PROJECTED_FROM: Final = 30  # a thirtieth of the period: a day of a month


class NotBillable(MeterlineError):
    """This customer cannot have an invoice for this period; the text says why."""


Since = Mapping[int, tuple[MeterUsage, ...]]
"""Usage by when it begins, UTC ms, to the end of a part."""


class Drawn(NamedTuple):
    """A draft, and all that it was drawn from."""

    usage: CustomerUsage
    invoice: Invoice
    agreement: Agreement
    plans: tuple[Plan, ...]
    """Of the parts, in order; credits and coupons as they were agreed."""
    by_part: tuple[tuple[MeterUsage, ...], ...]
    """The usage of each part of the agreement."""
    charged: tuple[Plan, ...]
    """The plans with what was left of their credits and coupons."""
    since: tuple[Since, ...]
    """Of each part, for prices that were the same before it, of meters that do not
    add up."""


class Counting(Protocol):
    """Usage that is not in the ledger: what counting otherwise comes to."""

    async def applied_to(
        self, tx: Tx, at: Counted, usage: CustomerUsage, /
    ) -> CustomerUsage:
        """Return usage with what is known here in place of what the ledger says."""
        ...

    def first_ms(self, customer: str) -> int | None:
        """Return from when on a customer used something, as far as is known here."""
        ...


class Billing:
    """Answers what was used and what it costs, from a snapshot of the ledger.

    Args:
        counting: what some meters come to in place of what the ledger says.
    """

    def __init__(self, terms: Terms, *, counting: Counting | None = None) -> None:
        self._terms = terms
        self._counting = counting
        self._meters: tuple[int, list[Meter]] = (-1, [])
        """As of which row of terms."""

    def first_ms(self, customer: str) -> int | None:
        """Return from when on a customer used what the ledger does not say."""
        return None if self._counting is None else self._counting.first_ms(customer)

    @property
    def meters(self) -> list[Meter]:
        """Every meter there is or was: as it last measured something."""
        row_id, known = self._meters
        if row_id != self._terms.row_id:
            row_id = self._terms.row_id
            found = (
                next(
                    (m for _, m in reversed(self._terms.meter_timeline(name)) if m),
                    None,
                )
                for name in self._terms.names("meter")
            )
            known = [meter for meter in found if meter is not None]
            self._meters = row_id, known
        return known

    async def usage(
        self, tx: Tx, at: Counted, customer: Customer, period: Period
    ) -> CustomerUsage:
        """Return a customer's usage of every meter in a span of time."""
        (usage,) = await self.usage_of_all(tx, at, [customer.id], period)
        return usage

    async def usage_of_all(
        self, tx: Tx, at: Counted, customers: Sequence[str], period: Period
    ) -> list[CustomerUsage]:
        """Return the usage of several customers, for as many statements as of one."""
        found = await usage_of(tx, at, self.meters, customers=customers, period=period)
        if self._counting is None:
            return found
        return [await self._counting.applied_to(tx, at, usage) for usage in found]

    def agreement(
        self, at: Counted, customer: str, period: Period, *, terms: Terms | None = None
    ) -> Agreement:
        """Return what holds for a customer in a period, as it is known now.

        Args:
            terms: those that hold there, where not all do.

        Raises:
            PricingError: no version of the customer's plan holds then.
        """
        terms = terms or self._terms
        calendar = CustomerCalendar.of(terms, customer)
        return Agreement(
            terms_row=terms.row_id,
            generation=at.generation,
            time_zone=calendar.zone(period.start),
            parts=tuple(
                AgreedPart(start=part.start, end=part.end, plan=part.plan)
                for part in agreed(terms, customer, period)
            ),
        )

    async def draft(
        self,
        tx: Tx,
        at: Counted,
        customer: Customer,
        period: Period,
        *,
        under: Agreement | None = None,
        balances: Balances | None = None,
        grants: tuple[Grant, ...] | None = None,
        usage: CustomerUsage | None = None,
    ) -> Drawn:
        """Return a customer's usage and what it costs under what was agreed.

        Args:
            at: of this snapshot; see ``counted``.
            under: what a final invoice was made from; without it, what holds now.
            balances: of the customer, where they were read already; likewise what was
                granted to them, which pays where nothing was agreed that says so, and
                their usage.

        Raises:
            NotBillable: there is no plan for them then.
        """
        try:
            agreement = under or self.agreement(at, customer.id, period)
        except PricingError as error:
            raise NotBillable(f"customer {customer.id}: {error}") from error
        if under is None:
            if grants is None:
                grants = await grants_of(tx, customer.id)
            agreement = msgspec.structs.replace(agreement, grants=grants)
        if all(part.plan is None for part in agreement.parts):
            raise NotBillable(
                f"customer {customer.id} has no plan; set `plan` in [[customer]]"
            )
        usage = usage or await self.usage(tx, at, customer, period)
        by_part = await self._by_part(tx, at, customer, usage, agreement)
        balances = balances or await Balances.of(tx, customer.id)
        plans = _plans(agreement)
        charged_by = tuple(
            balances.applied_to(plan, period, agreement.time_zone) for plan in plans
        )
        since = await self._since(tx, at, customer, charged_by, agreement)
        try:
            drawn = invoice_of(
                _stretches(charged_by, agreement, by_part, since),
                self._whole(customer.id, period),
                name=period.name,
                time_zone=agreement.time_zone,
            )
        except PricingError as error:
            raise NotBillable(f"customer {customer.id}: {error}") from error
        return Drawn(usage, drawn, agreement, plans, by_part, charged_by, since)

    async def _by_part(
        self,
        tx: Tx,
        at: Counted,
        customer: Customer,
        usage: CustomerUsage,
        agreement: Agreement,
    ) -> tuple[tuple[MeterUsage, ...], ...]:
        if len(agreement.parts) == 1:
            return (usage.meters,)
        return tuple(
            [
                (
                    await self.usage(tx, at, customer, Period(part.start, part.end))
                ).meters
                for part in agreement.parts
            ]
        )

    async def _since(
        self,
        tx: Tx,
        at: Counted,
        customer: Customer,
        plans: Sequence[Plan],
        agreement: Agreement,
    ) -> tuple[Since, ...]:
        """Return by part what prices that stay the same over several have to know.

        A highest value of two parts is not that of each added up.
        """
        parts = agreement.parts
        if len(parts) == 1:
            return ({},)
        levels = {m.name for m in self.meters if not _adds_up(m.aggregation)}
        if not levels:
            return tuple({} for _ in parts)
        nothing: Since = {}
        n = len(parts)
        bare = _stretches(plans, agreement, [()] * n, [nothing] * n)
        found: list[Since] = []
        for part, starts in zip(parts, unbroken(bare), strict=True):
            of: dict[int, tuple[MeterUsage, ...]] = {}
            for start in starts:
                usage = await self.usage(tx, at, customer, Period(start, part.end))
                of[start] = tuple(m for m in usage.meters if m.meter in levels)
            found.append(of)
        return tuple(found)

    def _whole(self, customer: str, period: Period) -> Period:
        """Return what a period is a part of, for shares of it."""
        whole = CustomerCalendar.of(self._terms, customer).around(period.name)
        # A final period keeps its edges, whatever the zone is by now.
        start, end = min(whole.start, period.start), max(whole.end, period.end)
        return Period(start, end, period.name)

    def plan_of(self, customer: Customer, period: Period) -> Plan:
        """Return the plan that a customer is on at the end of a period.

        Raises:
            NotFound: there is no such plan, or it holds only later.
            NotBillable: the customer is on no plan then.
        """
        plan = plan_of(self._terms, customer.id, period)
        if plan is None:
            raise NotBillable(f"customer {customer.id} has no plan")
        return plan

    def projected(self, drawn: Drawn, *, now_ms: int) -> Invoice | None:
        """Return what the period comes to if it goes on as its last part began.

        Counts and sums grow with the time; what does not add up stays as it is.
        ``None`` for a period that is over or has hardly begun.
        """
        period, part = drawn.usage.period, drawn.agreement.parts[-1]
        elapsed, length = now_ms - part.start, part.end - part.start
        if now_ms not in period or elapsed * PROJECTED_FROM < length:
            return None
        grown = [
            *drawn.by_part[:-1],
            tuple(
                _grown(meter, length, elapsed) if _adds_up(meter.aggregation) else meter
                for meter in drawn.by_part[-1]
            ),
        ]
        try:
            return invoice_of(
                _stretches(drawn.charged, drawn.agreement, grown, drawn.since),
                self._whole(drawn.usage.customer, period),
                name=period.name,
                time_zone=drawn.agreement.time_zone,
            )
        except PricingError:
            return None


def _plans(agreement: Agreement) -> tuple[Plan, ...]:
    """Return the plan of each part, with what else pays; without one it is free."""
    currency = next(part.plan.currency for part in agreement.parts if part.plan)
    granted = tuple(g.credit for g in agreement.grants if g.currency == currency)
    plans = [
        part.plan or Plan(name="none", currency=currency) for part in agreement.parts
    ]
    if not granted:
        return tuple(plans)
    return tuple(
        msgspec.structs.replace(plan, credits=(*plan.credits, *granted))
        for plan in plans
    )


def _stretches(
    plans: Iterable[Plan],
    agreement: Agreement,
    by_part: Iterable[tuple[MeterUsage, ...]],
    since: Iterable[Since],
) -> list[Stretch]:
    return [
        Stretch(
            plan,
            Period(part.start, part.end),
            priced(meters),
            # A last value of nothing is one, too.
            {start: priced(earlier, unused=True) for start, earlier in of.items()},
            frozenset(m.meter for m in meters if not _adds_up(m.aggregation)),
        )
        for plan, part, meters, of in zip(
            plans, agreement.parts, by_part, since, strict=True
        )
    ]


def _adds_up(aggregation: Aggregation) -> bool:
    return AGGREGATIONS[aggregation].grows_with_time


def _grown(meter: MeterUsage, length: int, elapsed: int) -> MeterUsage:
    groups = tuple(
        GroupUsage(group.labels, share(group.quantity, length, elapsed))
        for group in meter.groups
    )
    total = share(meter.quantity, length, elapsed)
    return msgspec.structs.replace(meter, quantity=total, groups=groups)


def charged(
    plan: Plan,
    usage: Mapping[str, Usage],
    period: Period,
    *,
    time_zone: str,
    anchor: date | None = None,
) -> Invoice:
    """Return what usage costs a customer under one plan.

    A first period that the customer's start cuts short has fees, limits and
    commitments cut with it, as the plan's ``prorate`` says.

    Raises:
        PricingError: the usage cannot be rated, or the plan has no such period.
    """
    calendar = Calendar(time_zone=time_zone, period=plan.period, anchor=anchor)
    whole = calendar.named(period.name)
    # It may have had another zone.
    start, end = min(whole.start, period.start), max(whole.end, period.end)
    whole = Period(start, end, period.name)
    share = share_of(period, whole, by=plan.prorate, time_zone=time_zone)
    return invoice(plan, usage, period, share=share)


def priced(
    meters: Iterable[MeterUsage] | Sequence[MeterUsage], *, unused: bool = False
) -> dict[str, Usage]:
    """Return usage in the shapes that pricing takes.

    Args:
        unused: whether meters of which nothing was used are in it, too.
    """
    return {
        meter.meter: Groups(
            tuple(Group(g.labels, Decimal(g.quantity)) for g in meter.groups)
        )
        if meter.groups
        else meter.quantity
        for meter in meters
        if meter.quantity or unused
    }
