"""Invoices: what a customer owes for a period, and making it final."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from meterline_pricing import Invoice, Period
from meterline_sidecar.billing.statement import Statement
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.config.names import Names
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.counted import Counted, counted_now, read_counted
from meterline_sidecar.web.answers.invoices import (
    DatedInvoice,
    ShownAdjustment,
    ShownInvoice,
)
from meterline_sidecar.web.api.usage import shown_meters, shown_period
from meterline_sidecar.web.money import shown_breakdown, shown_owed
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import (
    CustomerId,
    MonthName,
    find_customer,
    fresh_as_of,
    invoice_period,
)


class InvoiceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whose invoice, and when."""

    customer: CustomerId
    period: MonthName | None = None


class FinalizeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whose invoice becomes final, and when."""

    customer: CustomerId
    period: MonthName
    accept_gap: Annotated[
        bool, Meta(description="Finalize even though events are known to be missing.")
    ] = False


async def get_invoice(parts: Parts, query: InvoiceQuery) -> ShownInvoice:
    """Return the invoice of a customer for a billing period, draft or final."""
    customer = find_customer(parts, query.customer)

    async def shown(tx: Tx, at: Counted) -> tuple[Counted, Period, Statement]:
        period = await invoice_period(tx, parts, customer, query.period)
        return at, period, await parts.invoices.shown(tx, at, customer, period)

    at, period, statement = await read_counted(parts.database, shown)
    return _shown_invoice(customer, period, statement, at, names=parts.config.names)


async def finalize_invoice(
    parts: Parts, query: FinalizeQuery, author: str
) -> ShownInvoice:
    """Make the invoice of a period that has ended final; a second time changes nothing."""
    customer = find_customer(parts, query.customer)
    async with parts.database.reading() as tx:
        period = await invoice_period(tx, parts, customer, query.period)
    statement = await parts.invoices.finalize(
        customer, period, accept_gap=query.accept_gap, author=author
    )
    parts.standings.note(customer.id)
    parts.closer.note_final(customer.id, period)
    at = await counted_now(parts.database)
    return _shown_invoice(customer, period, statement, at, names=parts.config.names)


def _shown_invoice(
    customer: Customer,
    period: Period,
    statement: Statement,
    at: Counted,
    *,
    names: Names,
) -> ShownInvoice:
    at_ms = statement.finalized_ms
    return ShownInvoice(
        fresh_as_of=fresh_as_of(at),
        recounting_percent=at.recounting_percent if at_ms is None else None,
        customer=customer.id,
        customer_name=statement.customer_name or customer.name,
        period=shown_period(period, customer.time_zone),
        status="draft" if at_ms is None else "final",
        finalized=None if at_ms is None else format_time_ms(at_ms),
        counted_up_to_event=statement.counted_up_to_event,
        known_correction=statement.known_correction,
        usage=shown_meters(statement.usage, names=names),
        invoice=_dated(statement.invoice, period, customer.time_zone),
        adjustments=shown_adjustments(statement),
        due=statement.due,
        also_due=shown_owed(statement.also_due),
        accepted_gaps=statement.accepted_gaps,
        open_before=statement.open_before,
    )


def _dated(drawn: Invoice, period: Period, time_zone: str) -> DatedInvoice:
    """Return an invoice as it is shown."""
    fields: dict[str, Any] = msgspec.structs.asdict(drawn)
    fields["period"] = shown_period(drawn.period or period, time_zone)
    return DatedInvoice(**fields)


def shown_adjustments(statement: Statement) -> tuple[ShownAdjustment, ...]:
    """Return the adjustments on an invoice as they are shown."""
    return tuple(
        ShownAdjustment(
            period=found.period,
            billed=found.billed,
            now=found.now,
            amount=found.amount,
            currency=found.currency or statement.invoice.currency,
            breakdown=None
            if found.breakdown is None
            else shown_breakdown(found.breakdown),
        )
        for found in statement.adjustments
    )


OPERATIONS = (
    Operation("/v1/customers/{customer}/invoice", get_invoice),
    Operation(
        "/v1/customers/{customer}/invoice/finalize", finalize_invoice, method="POST"
    ),
)
