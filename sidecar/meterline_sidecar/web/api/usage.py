"""What was used, by whom; and by nobody who pays."""

from collections import defaultdict
from collections.abc import Iterable

from meterline_pricing import Period, PricingError
from meterline_pricing.period import title_of
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.config.names import Names
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.period_names import period_name
from meterline_sidecar.usage.counted import Counted, read_counted, snapshot
from meterline_sidecar.usage.customer_usage import (
    CustomerUsage,
    MeterUsage,
    unassigned_usage,
    usage_of,
)
from meterline_sidecar.web.answers.usage import (
    ShownGroup,
    ShownMeter,
    ShownPeriod,
    ShownSubject,
    ShownUsage,
    Unassigned,
    UsagePage,
    WithoutPeriod,
)
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import (
    PAGE,
    AfterCustomer,
    CustomerId,
    Limit,
    Span,
    find_customer,
    fresh_as_of,
    span_of,
    whole_windows,
)


class UsageQuery(Span, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose usage, and when."""

    customer: CustomerId | None = None
    after: AfterCustomer = ""
    limit: Limit = PAGE


async def list_usage(parts: Parts, query: UsageQuery) -> UsagePage:
    """List what customers used: one of them, or all, a page at a time."""
    if query.customer is not None:
        customers, next_after = [find_customer(parts, query.customer)], None
    else:
        customers, next_after = parts.customers.page(query.after, query.limit)
    # Most share a time zone, and so a span: they are read together.
    by_span: dict[Period, list[str]] = defaultdict(list)
    left_out: list[WithoutPeriod] = []
    if query.period is not None:
        period_name(query.period)  # or nobody would have it
    for customer in customers:
        try:
            span = whole_windows(span_of(parts, query, customer))
        except PricingError as error:
            if query.customer is not None:
                raise
            left_out.append(WithoutPeriod(customer=customer.id, why=str(error)))
        else:
            by_span[span].append(customer.id)
    meters = parts.meters

    async def used(tx: Tx, at: Counted) -> tuple[Counted, dict[str, CustomerUsage]]:
        return at, {
            usage.customer: usage
            for span, together in by_span.items()
            for usage in await usage_of(tx, at, meters, customers=together, period=span)
        }

    at, found = await read_counted(parts.database, used)
    return UsagePage(
        fresh_as_of=fresh_as_of(at),
        recounting_percent=at.recounting_percent,
        usage=[
            shown_usage(customer, found[customer.id], names=parts.config.names)
            for customer in customers
            if customer.id in found
        ],
        left_out=left_out,
        next_after=next_after,
    )


async def list_unassigned(parts: Parts, query: Span) -> Unassigned:
    """List what was used by subjects that no customer pays for."""
    span = whole_windows(span_of(parts, query, None))
    async with snapshot(parts.database) as (tx, at):
        unassigned = await unassigned_usage(tx, at, parts.meters, period=span)
    return Unassigned(
        fresh_as_of=fresh_as_of(at),
        recounting_percent=at.recounting_percent,
        unassigned=[
            ShownSubject(
                subject=found.subject,
                meters=shown_meters(found.meters, names=parts.config.names),
            )
            for found in unassigned
        ],
    )


def shown_usage(
    customer: Customer, usage: CustomerUsage, *, names: Names
) -> ShownUsage:
    """Return a customer's usage as it is shown."""
    return ShownUsage(
        customer=customer.id,
        customer_name=customer.name,
        period=shown_period(usage.period, customer.time_zone),
        meters=shown_meters(usage.meters, names=names),
        counted_up_to_event=usage.counted_up_to_event,
    )


def shown_period(period: Period, time_zone: str) -> ShownPeriod:
    """Return a span of time as it is shown."""
    return ShownPeriod(
        start=period.start,
        end=period.end,
        name=period.name,
        start_time=format_time_ms(period.start),
        end_time=format_time_ms(period.end),
        title=title_of(period, time_zone=time_zone),
    )


def shown_meters(
    meters: Iterable[MeterUsage], *, names: Names
) -> tuple[ShownMeter, ...]:
    """Return the usage of meters as it is shown."""
    return tuple(
        ShownMeter(
            meter=meter.meter,
            title=names.title(meter.meter),
            unit=names.unit(meter.meter),
            aggregation=meter.aggregation,
            quantity=meter.quantity,
            groups=tuple(
                ShownGroup(labels=group.labels, quantity=group.quantity)
                for group in meter.groups
            ),
        )
        for meter in meters
    )


OPERATIONS = (
    Operation("/v1/usage", list_usage),
    Operation("/v1/usage/unassigned", list_unassigned),
)
