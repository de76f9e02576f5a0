"""What a customer used in a billing period, and the invoice that comes of it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
    share_of,
)
from meterline_sidecar.config.shape import Config, Customer, calendar_of
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.meters import (
    AGGREGATIONS,
    Aggregation,
    Meter,
    Total,
    Totals,
    aggregations_of,
    merge,
    quantity,
)
from meterline_sidecar.store import usage as store
from meterline_sidecar.store.port import Database
from meterline_sidecar.usage.aggregate import Aggregator

PROJECTED_FROM: Final = 30  # a thirtieth of the period: a day of a month
UNASSIGNED_ROWS_MAX: Final = 10_000  # windows; what is beyond them is not shown


class NotBillable(MeterlineError):
    """This customer can not have an invoice for this period; the text says why."""


class GroupUsage(msgspec.Struct, frozen=True):
    """Usage under one combination of a meter's dimensions."""

    labels: dict[str, str]
    quantity: int


class MeterUsage(msgspec.Struct, frozen=True):
    """What a customer used of one meter."""

    meter: str
    aggregation: Aggregation
    quantity: int
    groups: tuple[GroupUsage, ...] = ()
    """By dimension, for a meter with ``group_by``; else empty."""


class CustomerUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a customer used in a span of time."""

    customer: str
    period: Period
    meters: tuple[MeterUsage, ...]
    counted_up_to_event: int
    """Usage is a function of the events up to this one."""


class SubjectUsage(msgspec.Struct, frozen=True):
    """What a subject used that no customer pays for."""

    subject: str | None
    """``None``: requests that nobody could be named for."""
    meters: tuple[MeterUsage, ...]


class Billing:
    """Answers what was used and what it costs, from the ledger; writes nothing."""

    def __init__(
        self, database: Database, aggregator: Aggregator, config: Config
    ) -> None:
        self._database = database
        self._aggregator = aggregator
        self._config = config
        self._has_unique = any(
            AGGREGATIONS[meter.meter.aggregation].is_distinct for meter in config.meters
        )

    async def usage(self, customer: Customer, period: Period) -> CustomerUsage:
        """Return a customer's usage of every meter in a span of time."""
        (usage,) = await self.usages([customer], period)
        return usage

    async def usages(
        self, customers: Sequence[Customer], period: Period
    ) -> list[CustomerUsage]:
        """Return the usage of several customers in the same span of time."""
        generation = self._aggregator.generation
        span = {"start": period.start, "end": period.end}
        ids = [customer.id for customer in customers]
        distinct: dict[str, list[tuple[str, str, int]]] = {}
        async with self._database.reading() as tx:
            rows = await store.read_usage_of(tx, generation.id, customers=ids, **span)
            for customer in ids if self._has_unique else ():
                distinct[customer] = await store.count_unique(
                    tx, generation.id, customer=customer, **span
                )
        return [
            self._customer_usage(
                customer,
                period,
                rows[customer],
                distinct.get(customer, []),
                counted_up_to_event=generation.cursor,
            )
            for customer in ids
        ]

    def _customer_usage(
        self,
        customer: str,
        period: Period,
        rows: list[store.UsageRow],
        distinct: list[tuple[str, str, int]],
        *,
        counted_up_to_event: int,
    ) -> CustomerUsage:
        groups = _by_group([m.meter for m in self._config.meters], rows)
        for meter, labels, n_values in distinct:
            groups[meter][labels] = n_values
        return CustomerUsage(
            customer=customer,
            period=period,
            meters=tuple(
                _meter_usage(config.meter, groups[config.meter.name])
                for config in self._config.meters
            ),
            counted_up_to_event=counted_up_to_event,
        )

    async def unassigned(self, period: Period) -> list[SubjectUsage]:
        """Return usage of subjects without a customer, in order of time."""
        async with self._database.reading() as tx:
            rows = await store.read_unassigned(
                tx,
                self._aggregator.generation.id,
                start=period.start,
                end=period.end,
                limit=UNASSIGNED_ROWS_MAX,
            )
        by_subject: dict[str | None, list[store.UsageRow]] = defaultdict(list)
        for subject, row in rows:
            by_subject[subject].append(row)
        meters = [config.meter for config in self._config.meters]
        return [
            SubjectUsage(
                subject,
                tuple(
                    _meter_usage(meter, groups[meter.name])
                    for groups in (_by_group(meters, windows),)
                    for meter in meters
                    if meter.name in groups
                ),
            )
            for subject, windows in by_subject.items()
        ]

    async def draft(
        self, customer: Customer, period: Period
    ) -> tuple[CustomerUsage, Invoice]:
        """Return a customer's usage and what it costs under their plan.

        Raises:
            NotBillable: there is no plan for them then.
        """
        if customer.plan is None:
            raise NotBillable(
                f"customer {customer.id} has no plan; set `plan` in [[customer]]"
            )
        usage = await self.usage(customer, period)
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


def _by_group(
    meters: list[Meter], rows: list[store.UsageRow]
) -> dict[str, dict[str, Total]]:
    """Add windows up, per meter and group."""
    aggregations = aggregations_of(meters)
    groups: dict[str, Totals] = defaultdict(dict)
    for row in rows:
        merge(groups[row.labels], more=row.totals, aggregations=aggregations)
    found: dict[str, dict[str, Total]] = defaultdict(dict)
    for labels, totals in groups.items():
        for name, total in totals.items():
            found[name][labels] = total
    return found


def _meter_usage(meter: Meter, groups: dict[str, Total]) -> MeterUsage:
    """Return a meter's usage over all of its groups.

    ``max`` and ``latest`` of a grouped meter are billed as the sum over its groups:
    each group is a thing of its own, such as one seat count a region.
    """
    total = sum(quantity(value) for value in groups.values())
    shown = (
        tuple(
            GroupUsage(
                msgspec.json.decode(labels, type=dict[str, str]), quantity(value)
            )
            for labels, value in sorted(groups.items())
        )
        if meter.group_by
        else ()
    )
    return MeterUsage(meter.name, meter.aggregation, total, shown)


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
