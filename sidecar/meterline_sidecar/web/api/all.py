"""The API: usage, customers, draft invoices, raw events."""

from collections import defaultdict
from decimal import Decimal
from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta

from meterline.events import Flag
from meterline_pricing import Invoice, Period
from meterline_sidecar.billing.drafts import (
    CustomerUsage,
    MeterUsage,
    NotBillable,
    SubjectUsage,
)
from meterline_sidecar.billing.invoices import Adjustment, Statement
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.meters import KindName
from meterline_sidecar.store.edge import event_log as audit
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import Conflict, NotFound
from meterline_sidecar.web.query import (
    PAGE,
    CustomerId,
    Limit,
    MonthName,
    Span,
    billing_period,
    find_customer,
    fresh_as_of,
    span_of,
    whole_windows,
)

ID_MAX: Final = 2**63 - 1
KINDS: Final[tuple[KindName, ...]] = get_args(KindName)  # in the order of ``Kind``
AfterCustomer = Annotated[
    str,
    Meta(max_length=100, description="`next_after` of the page before this one."),
]


class ShownPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """A span of time, in milliseconds and as text."""

    start: int
    end: int
    name: str
    start_time: str
    end_time: str


class ShownUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What one customer used."""

    customer: str
    customer_name: str
    period: ShownPeriod
    meters: tuple[MeterUsage, ...]
    counted_up_to_event: int


class UsagePage(msgspec.Struct, frozen=True, kw_only=True):
    """What customers used, a page of them."""

    fresh_as_of: str | None
    """Up to when events are counted; ``None`` before the first count."""
    usage: list[ShownUsage]
    next_after: str | None
    """Give it as ``after`` to get the next page; ``None`` on the last one."""


class Unassigned(msgspec.Struct, frozen=True, kw_only=True):
    """What nobody pays for."""

    fresh_as_of: str | None
    unassigned: list[SubjectUsage]


class CustomerPage(msgspec.Struct, frozen=True, kw_only=True):
    """Customers of the configuration, a page of them."""

    customers: list[Customer]
    next_after: str | None


class ShownInvoice(msgspec.Struct, frozen=True, kw_only=True):
    """A customer's invoice: final, or what they would pay if the period ended now."""

    fresh_as_of: str | None
    customer: str
    customer_name: str
    status: Literal["draft", "final"]
    finalized: str | None
    counted_up_to_event: int
    usage: tuple[MeterUsage, ...]
    invoice: Invoice
    adjustments: tuple[Adjustment, ...]
    due: Decimal
    accepted_gaps: tuple[str, ...]


class ShownEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One usage event."""

    id: int
    event: str
    """The producer's id and the event's number there: unique for ever."""
    time: str
    kind: KindName
    subject: str | None
    customer: str | None
    method: str | None
    route: str | None
    status: int | None
    duration_us: int
    bytes_in: int
    bytes_out: int
    flags: list[str]
    quantities: dict[str, int]


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Raw events, a page of them."""

    events: list[ShownEvent]
    next_after: int | None


class WholeEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One usage event with all that is known of how it came here."""

    event: ShownEvent
    producer: str
    app: str
    host: str
    pid: int
    batch: int
    """Which committed batch it is in: what the ledger's chain covers."""
    learned: str
    """When it was stored."""
    mac: str
    """The chain's link over its batch, in hex."""


class UsageQuery(Span, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose usage, and when."""

    customer: CustomerId | None = None
    after: AfterCustomer = ""
    limit: Limit = PAGE


class CustomersQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which customers."""

    after: AfterCustomer = ""
    limit: Limit = PAGE


class CustomerQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which customer."""

    customer: CustomerId


class InvoiceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whose invoice, and when."""

    customer: CustomerId
    period: MonthName | None = None


class FinalizeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whose invoice becomes final, and when."""

    customer: CustomerId
    period: MonthName
    accept_gap: Annotated[
        bool, Meta(description="Bill although events are known to be missing.")
    ] = False


class EventsQuery(Span, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events."""

    customer: CustomerId | None = None
    subject: Annotated[str, Meta(max_length=256)] | None = None
    route: Annotated[str, Meta(max_length=512, description="A route's template.")] | (
        None
    ) = None
    method: Annotated[str, Meta(max_length=32)] | None = None
    status: Annotated[int, Meta(ge=0, le=999)] | None = None
    kind: KindName | None = None
    after: Annotated[
        int, Meta(ge=0, le=ID_MAX, description="`next_after` of the page before.")
    ] = 0
    limit: Limit = PAGE


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which event."""

    event: Annotated[int, Meta(ge=0, le=ID_MAX, description="An event's id.")]


async def list_usage(parts: Parts, query: UsageQuery) -> UsagePage:
    """List what customers used: one of them, or all, a page at a time."""
    if query.customer is not None:
        customers, next_after = [find_customer(parts, query.customer)], None
    else:
        customers, next_after = parts.customers.page(query.after, query.limit)
    # Most share a time zone, and so a span: they are read together.
    by_span: dict[Period, list[Customer]] = defaultdict(list)
    for customer in customers:
        by_span[whole_windows(span_of(parts, query, customer))].append(customer)
    found = {
        usage.customer: usage
        for span, together in by_span.items()
        for usage in await parts.billing.usages(together, span)
    }
    return UsagePage(
        fresh_as_of=fresh_as_of(parts),
        usage=[shown_usage(customer, found[customer.id]) for customer in customers],
        next_after=next_after,
    )


async def list_unassigned(parts: Parts, query: Span) -> Unassigned:
    """List what was used by subjects that no customer pays for."""
    span = whole_windows(span_of(parts, query, None))
    return Unassigned(
        fresh_as_of=fresh_as_of(parts),
        unassigned=await parts.billing.unassigned(span),
    )


async def list_customers(parts: Parts, query: CustomersQuery) -> CustomerPage:
    """List the customers of the configuration, in order of their ids."""
    customers, next_after = parts.customers.page(query.after, query.limit)
    return CustomerPage(customers=customers, next_after=next_after)


async def get_customer(parts: Parts, query: CustomerQuery) -> Customer:
    """Return one customer of the configuration."""
    return find_customer(parts, query.customer)


async def get_invoice(parts: Parts, query: InvoiceQuery) -> ShownInvoice:
    """Return the invoice of a customer for a billing period, draft or final."""
    customer = find_customer(parts, query.customer)
    period = billing_period(parts, customer, query.period)
    try:
        statement = await parts.invoices.statement(customer, period)
    except NotBillable as error:
        raise Conflict(str(error)) from error
    return _shown_invoice(parts, customer, statement)


async def finalize_invoice(parts: Parts, query: FinalizeQuery) -> ShownInvoice:
    """Make the invoice of a period that has ended final; a second time changes nothing."""
    customer = find_customer(parts, query.customer)
    period = billing_period(parts, customer, query.period)
    try:
        statement = await parts.invoices.finalize(
            customer, period, accept_gap=query.accept_gap
        )
    except NotBillable as error:
        raise Conflict(str(error)) from error
    return _shown_invoice(parts, customer, statement)


def _shown_invoice(
    parts: Parts, customer: Customer, statement: Statement
) -> ShownInvoice:
    at_ms = statement.finalized_ms
    return ShownInvoice(
        fresh_as_of=fresh_as_of(parts),
        customer=customer.id,
        customer_name=customer.name,
        status="draft" if at_ms is None else "final",
        finalized=None if at_ms is None else format_time_ms(at_ms),
        counted_up_to_event=statement.counted_up_to_event,
        usage=statement.usage,
        invoice=statement.invoice,
        adjustments=statement.adjustments,
        due=statement.due,
        accepted_gaps=statement.accepted_gaps,
    )


async def list_events(parts: Parts, query: EventsQuery) -> EventPage:
    """List raw events in the order in which they were learned, a page at a time."""
    customer = None
    if query.customer is not None:
        customer = find_customer(parts, query.customer)
    span = span_of(parts, query, customer)
    async with parts.database.reading() as tx:
        page = await audit.read_events(
            tx,
            audit.Filter(
                customer=query.customer,
                subject=query.subject,
                route=query.route,
                method=query.method,
                status=query.status,
                kind=None if query.kind is None else KINDS.index(query.kind),
            ),
            start=span.start,
            end=span.end,
            after=query.after,
            limit=query.limit,
        )
    return EventPage(
        events=[shown_event(event) for event in page.events],
        next_after=page.next_after,
    )


async def get_event(parts: Parts, query: EventQuery) -> WholeEvent:
    """Return one event with where it came from and when it was stored."""
    async with parts.database.reading() as tx:
        found = await audit.read_event(tx, query.event)
    if found is None:
        raise NotFound(f"no event {query.event}; see /v1/events")
    return WholeEvent(
        event=shown_event(found.event),
        producer=found.event.producer,
        app=found.app,
        host=found.host,
        pid=found.pid,
        batch=found.batch_id,
        learned=format_time_ms(found.learned_ms),
        mac=found.mac.hex(),
    )


def shown_usage(customer: Customer, usage: CustomerUsage) -> ShownUsage:
    """Return a customer's usage as it is shown."""
    period = usage.period
    return ShownUsage(
        customer=customer.id,
        customer_name=customer.name,
        period=ShownPeriod(
            start=period.start,
            end=period.end,
            name=period.name,
            start_time=format_time_ms(period.start),
            end_time=format_time_ms(period.end),
        ),
        meters=usage.meters,
        counted_up_to_event=usage.counted_up_to_event,
    )


def shown_event(event: audit.AuditEvent) -> ShownEvent:
    """Return a raw event as it is shown."""
    return ShownEvent(
        id=event.id,
        event=f"{event.producer}-{event.seq}",
        time=format_time_ms(event.time_ms),
        kind=KINDS[event.kind],
        subject=event.subject,
        customer=event.customer,
        method=event.method or None,
        route=event.route or None,
        status=event.status or None,
        duration_us=event.duration_us,
        bytes_in=event.bytes_in,
        bytes_out=event.bytes_out,
        flags=[
            flag.name.lower() for flag in Flag(event.flags) if flag.name is not None
        ],
        quantities=msgspec.json.decode(event.quantities) if event.quantities else {},
    )


OPERATIONS = (
    Operation("/v1/usage", list_usage),
    Operation("/v1/usage/unassigned", list_unassigned),
    Operation("/v1/events", list_events),
    Operation("/v1/events/{event}", get_event),
    Operation("/v1/customers", list_customers),
    Operation("/v1/customers/{customer}", get_customer),
    Operation("/v1/customers/{customer}/invoice", get_invoice),
    Operation(
        "/v1/customers/{customer}/invoice/finalize", finalize_invoice, method="POST"
    ),
)
