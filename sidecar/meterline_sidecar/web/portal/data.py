"""What a customer's page shows: usage by day, what it costs so far, earlier periods."""

import contextlib
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

import msgspec

from meterline_pricing import (
    Charge,
    Line,
    Period,
    Plan,
    PricingError,
    RateCard,
)
from meterline_pricing.models import Tier, Volume
from meterline_pricing.period import title_of
from meterline_pricing.tools import next_unit
from meterline_sidecar.billing.credits import balances_of
from meterline_sidecar.billing.drafts import NotBillable
from meterline_sidecar.billing.statement import Statement
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.config.names import Names
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.decimals import Number, plus
from meterline_sidecar.meters import AGGREGATIONS, Meter
from meterline_sidecar.properties import NONE
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.usage.counted import Counted
from meterline_sidecar.usage.customer_usage import CustomerUsage, MeterUsage
from meterline_sidecar.usage.series import Series
from meterline_sidecar.web.answers.invoices import ShownAdjustment
from meterline_sidecar.web.answers.money import ShownOwed
from meterline_sidecar.web.api.invoices import shown_adjustments
from meterline_sidecar.web.daily import DayUsage, days_of, today_of
from meterline_sidecar.web.money import shown_owed
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import fresh_as_of
from meterline_sidecar.web.view.series import EARLIER, usage_behind


class PortalLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of what it costs so far."""

    description: str
    meter: str | None
    quantity: Decimal | None
    amount: Decimal
    charges: tuple[Charge, ...]
    tier: int | None
    """The tier reached, from 1."""
    tiers: tuple[Tier, ...]
    next_unit: Decimal | None
    """What the next unit costs, not rounded; ``None`` where nothing is counted, or the
    price does not hold now."""


class PortalGroup(msgspec.Struct, frozen=True):
    """Usage under one combination of the properties that a meter adds up by."""

    labels: dict[str, str]
    quantity: Number


class PortalMeter(msgspec.Struct, frozen=True, kw_only=True):
    """One meter's usage, in all and by day."""

    meter: str
    title: str
    """What people call it."""
    unit: str
    """What the quantities are in; empty where nobody says."""
    shown_as: str
    """What the quantity is: the total, or the highest, lowest or last value."""
    quantity: Number
    groups: tuple[PortalGroup, ...]
    """By properties, the largest first; empty for a meter that adds up by none."""
    days: tuple[DayUsage, ...]
    """Without those that are still to come."""


class PortalPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier period and what it came to."""

    period: str
    title: str
    """As people read it: ``23 - 29 Nov 2026``."""
    total: Decimal | None
    currency: str | None
    is_final: bool


class PortalCredit(msgspec.Struct, frozen=True, kw_only=True):
    """Money that was granted or paid in advance, and what is left of it."""

    title: str
    left: Decimal
    """Before the running period's draft."""
    currency: str
    expires: str | None
    """The last day on which it pays."""


class PortalUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the page shows."""

    customer: str
    name: str
    period: str
    title: str
    """The period as people read it."""
    start: str
    end: str
    time_zone: str
    fresh_as_of: str | None
    recounting_percent: int | None
    """How much is being counted again; what is shown was counted before."""
    currency: str | None
    total: Decimal | None
    """What it costs so far, adjustments included; ``None`` where there is no plan."""
    is_final: bool
    """Whether the invoice is made: it changes no more."""
    projected_total: Decimal | None
    """If it goes on as it began, adjustments included; ``None`` too early, or when the period is over."""
    lines: tuple[PortalLine, ...]
    adjustments: tuple[ShownAdjustment, ...]
    """What earlier final invoices came to since."""
    also_due: tuple[ShownOwed, ...]
    """Adjustments of periods that were in other currencies."""
    credits: tuple[PortalCredit, ...]
    """Those of which something is left."""
    meters: tuple[PortalMeter, ...]
    earlier: tuple[PortalPeriod, ...]


async def read_portal(
    parts: Parts,
    tx: Tx,
    at: Counted,
    customer: Customer,
    period: Period,
    daily: dict[str, Series],
) -> PortalUsage:
    """Return everything that a customer's page shows."""
    now_ms, today = parts.clock.now_ms(), today_of(parts, customer)
    statement: Statement | None = None
    with contextlib.suppress(NotBillable):
        statement = await parts.invoices.shown(tx, at, customer, period)
    usage = await usage_behind(parts, tx, at, customer, period, statement)
    projected = await parts.invoices.projected(
        tx, at, customer, period, statement=statement
    )
    earlier = await parts.invoices.before(
        tx, at, customer, at_ms=period.start, limit=EARLIER
    )
    return PortalUsage(
        customer=customer.id,
        name=customer.name,
        period=period.name,
        title=title_of(period, time_zone=customer.time_zone),
        start=format_time_ms(period.start),
        end=format_time_ms(period.end),
        time_zone=customer.time_zone,
        fresh_as_of=fresh_as_of(at),
        recounting_percent=at.recounting_percent,
        currency=None if statement is None else statement.invoice.currency,
        total=None if statement is None else statement.due,
        is_final=statement is not None and statement.finalized_ms is not None,
        projected_total=projected,
        lines=()
        if statement is None
        else tuple(
            _line(line, plan_behind(statement, line), usage, now_ms=now_ms)
            for line in statement.invoice.lines_to_show
        ),
        adjustments=() if statement is None else shown_adjustments(statement),
        also_due=() if statement is None else shown_owed(statement.also_due),
        credits=await _credits(parts, tx, customer, now_ms),
        meters=tuple(
            _meter(meter, days_of(daily[meter.name], today), usage, parts.config.names)
            for meter in parts.shown_meters
        ),
        earlier=tuple(
            PortalPeriod(
                period=past.name,
                title=title_of(past, time_zone=customer.time_zone),
                total=None if known is None else known.due,
                currency=None if known is None else known.invoice.currency,
                is_final=known is not None and known.finalized_ms is not None,
            )
            for past, known in earlier
        ),
    )


async def _credits(
    parts: Parts, tx: Tx, customer: Customer, now_ms: int
) -> tuple[PortalCredit, ...]:
    calendar = CustomerCalendar.of(parts.terms.terms, customer.id)
    return tuple(
        PortalCredit(
            title=one.row.title,
            left=one.left,
            currency=one.row.currency,
            expires=one.row.expires or None,
        )
        for one in await balances_of(tx, customer.id, today=calendar.day(now_ms))
        if one.left
    )


def _meter(
    meter: Meter, days: tuple[DayUsage, ...], usage: CustomerUsage, names: Names
) -> PortalMeter:
    used = next(m for m in usage.meters if m.meter == meter.name)
    return PortalMeter(
        meter=meter.name,
        title=names.title(meter.name),
        unit=names.unit(meter.name),
        shown_as=AGGREGATIONS[used.aggregation].shown_as,
        quantity=used.quantity,
        groups=tuple(_groups(meter, used)),
        days=days,
    )


def _groups(meter: Meter, used: MeterUsage) -> Iterable[PortalGroup]:
    """Yield usage by the meter's properties alone: the rest is the app's affair."""
    names = meter.told_apart
    if not names:
        return
    sums: dict[tuple[str, ...], Number] = defaultdict(int)
    for group in used.groups:
        key = tuple(group.labels.get(name, NONE) for name in names)
        sums[key] = plus(sums[key], group.quantity)
    for labels in sorted(sums, key=lambda labels: (-sums[labels], labels)):
        yield PortalGroup(dict(zip(names, labels, strict=True)), sums[labels])


def plan_behind(statement: Statement, line: Line) -> Plan | None:
    """Return the plan by which a line was charged; ``None`` where nobody knows."""
    agreed = () if statement.agreement is None else statement.agreement.parts
    plans = [
        part.plan
        for part in agreed
        if part.plan is not None
        and (line.span is None or part.start < line.span.end <= part.end)
    ]
    return plans[-1] if plans else None


def _line(
    line: Line, plan: Plan | None, usage: CustomerUsage, *, now_ms: int
) -> PortalLine:
    cards = () if plan is None else plan.prices
    card = next((card for card in cards if card.name == line.name), None)
    used = next((m for m in usage.meters if m.meter == line.meter), None)
    return PortalLine(
        description=line.description,
        meter=line.meter,
        quantity=line.quantity,
        amount=line.amount,
        charges=line.charges,
        tier=max((c.tier for c in line.charges if c.tier is not None), default=None),
        tiers=card.price.unit_tiers if card else (),
        next_unit=None
        if plan is None or (line.span is not None and now_ms not in line.span)
        else _next_unit(line, plan, card, used),
    )


def _next_unit(
    line: Line, plan: Plan, card: RateCard | None, used: MeterUsage | None
) -> Decimal | None:
    """Return what one unit more would add to a line, before rounding."""
    if card is None or used is None or line.kind != "usage":
        return None
    quantity: Number = used.quantity
    if line.span is not None and line.quantity is not None:
        goes_on = plan.tiers_on_change == "continue" and not isinstance(
            card.price, Volume
        )
        if not (goes_on and AGGREGATIONS[used.aggregation].grows_with_time):
            quantity = line.quantity  # its tiers began with its price
    try:
        return next_unit(card, quantity)
    except PricingError:
        return None  # It is not the quantity alone that says what it costs.
