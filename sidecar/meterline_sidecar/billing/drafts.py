"""What the usage of a customer in a billing period costs: the invoice if it ended now."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

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
from meterline_pricing.tools import share_of
from meterline_sidecar.config.shape import Config, Customer, calendar_of
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.meters import AGGREGATIONS
from meterline_sidecar.store.port import Tx
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


class Billing:
    """Answers what was used and what it costs, from a snapshot of the ledger."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._meters = tuple(meter.meter for meter in config.meters)

    async def usage(
        self, tx: Tx, at: Counted, customer: Customer, period: Period
    ) -> CustomerUsage:
        """Return a customer's usage of every meter in a span of time."""
        (usage,) = await usage_of(
            tx, at, self._meters, customers=[customer.id], period=period
        )
        return usage

    async def draft(
        self, tx: Tx, at: Counted, customer: Customer, period: Period
    ) -> tuple[CustomerUsage, Invoice]:
        """Return a customer's usage and what it costs under their plan.

        Args:
            at: of this snapshot; see ``counted``.

        Raises:
            NotBillable: there is no plan for them then.
        """
        if customer.plan is None:
            raise NotBillable(
                f"customer {customer.id} has no plan; set `plan` in [[customer]]"
            )
        usage = await self.usage(tx, at, customer, period)
        try:
            plan = self.plan_of(customer, period)
            return usage, charged(plan, customer, priced(usage.meters), period)
        except PricingError as error:
            raise NotBillable(f"customer {customer.id}: {error}") from error

    def plan_of(self, customer: Customer, period: Period) -> Plan:
        """Return the version of the customer's plan that holds in a period.

        Raises:
            NotFound: there is no such plan, or it holds only later.
        """
        assert customer.plan is not None
        day = calendar_of(customer).day(period.start)
        catalogue = self._config.catalogue
        return catalogue.plan(customer.plan, at=day, customer=customer.id)

    def projected(
        self, customer: Customer, usage: CustomerUsage, *, now_ms: int
    ) -> Invoice | None:
        """Return what the period comes to if it goes on as it began.

        Counts and sums grow with the time; what does not add up stays as it is.
        ``None`` for a period that is over or has hardly begun, and without a plan.
        """
        period = usage.period
        elapsed, length = now_ms - period.start, period.end - period.start
        if customer.plan is None or now_ms not in period:
            return None
        if elapsed * PROJECTED_FROM < length:
            return None
        grown = msgspec.structs.replace(
            usage,
            meters=tuple(
                _grown(meter, length, elapsed)
                if AGGREGATIONS[meter.aggregation].grows_with_time
                else meter
                for meter in usage.meters
            ),
        )
        try:
            plan = self.plan_of(customer, period)
            return charged(plan, customer, priced(grown.meters), period)
        except PricingError:
            return None


def _grown(meter: MeterUsage, length: int, elapsed: int) -> MeterUsage:
    groups = tuple(
        GroupUsage(group.labels, group.quantity * length // elapsed)
        for group in meter.groups
    )
    total = meter.quantity * length // elapsed
    return MeterUsage(meter.meter, meter.aggregation, total, groups)


def charged(
    plan: Plan, customer: Customer, usage: Mapping[str, Usage], period: Period
) -> Invoice:
    """Return what usage costs a customer under a plan.

    A first period that the customer's start cuts short has fees, limits and
    commitments cut with it, as the plan's ``prorate`` says.

    Raises:
        PricingError: the usage can not be rated.
    """
    whole = Calendar(time_zone=customer.time_zone).named(period.name)
    share = share_of(period, whole, by=plan.prorate, time_zone=customer.time_zone)
    return invoice(plan, usage, period, share=share)


def priced(meters: Iterable[MeterUsage]) -> dict[str, Usage]:
    """Return usage in the shapes that pricing takes; unused meters are left out."""
    return {
        meter.meter: Groups(
            tuple(Group(g.labels, Decimal(g.quantity)) for g in meter.groups)
        )
        if meter.groups
        else Decimal(meter.quantity)
        for meter in meters
        if meter.quantity
    }
