"""The customer's page: their usage, what it costs so far, and nobody else's anything.

Whose page it is comes from the signed token and from nowhere else: no parameter names
a customer.
"""

import contextlib
import csv
import io
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from meterline.portal import TOKEN_CHARS_MAX, InvalidToken, portal_customer
from meterline_pricing import Charge, Line, Period, Plan, PricingError, rate
from meterline_pricing.convert import billable
from meterline_pricing.models import Tier
from meterline_sidecar.billing.drafts import NotBillable
from meterline_sidecar.billing.statement import Adjustment, Statement
from meterline_sidecar.clock import DAY_MS, format_time_ms
from meterline_sidecar.config.shape import Customer, calendar_of
from meterline_sidecar.store import usage as store
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.counted import Counted, snapshot
from meterline_sidecar.usage.customer_usage import CustomerUsage
from meterline_sidecar.usage.series import Row, Series, series_of
from meterline_sidecar.web.dashboard.customers import EARLIER, usage_behind
from meterline_sidecar.web.dashboard.overview import find_meter, summable
from meterline_sidecar.web.operations import read_query
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import answer, problem
from meterline_sidecar.web.query import MonthName, billing_period, fresh_as_of
from meterline_sidecar.web.view.charts import bars, plot_of
from meterline_sidecar.web.view.render import ENVIRONMENT


class PortalQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What a customer may choose: the time and the meter, never the customer."""

    token: Annotated[str, Meta(max_length=TOKEN_CHARS_MAX)] | None = None
    period: MonthName | None = None
    meter: Annotated[str, Meta(max_length=100)] | None = None


class PortalLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of what it costs so far."""

    description: str
    quantity: Decimal | None
    amount: Decimal
    charges: tuple[Charge, ...]
    tier: int | None
    """The tier reached, from 1."""
    tiers: tuple[Tier, ...]
    next_unit: Decimal | None
    """What the next unit costs, not rounded; ``None`` where nothing is counted."""


class DayUsage(msgspec.Struct, frozen=True):
    """Usage on one day of the customer's calendar."""

    date: str
    quantity: int


class PortalMeter(msgspec.Struct, frozen=True, kw_only=True):
    """One meter's usage, in all and by day."""

    meter: str
    quantity: int
    days: tuple[DayUsage, ...]


class PortalPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier period and what it came to."""

    period: str
    total: Decimal | None
    currency: str | None
    is_final: bool


class PortalUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the page shows."""

    customer: str
    name: str
    period: str
    start: str
    end: str
    time_zone: str
    fresh_as_of: str | None
    currency: str | None
    total: Decimal | None
    """What it costs so far, adjustments included; ``None`` where there is no plan."""
    is_final: bool
    """Whether the invoice is made: it changes no more."""
    projected_total: Decimal | None
    """If it goes on as it began; ``None`` too early, or when the period is over."""
    lines: tuple[PortalLine, ...]
    adjustments: tuple[Adjustment, ...]
    """What earlier final invoices came to since."""
    meters: tuple[PortalMeter, ...]
    earlier: tuple[PortalPeriod, ...]


Show = Callable[[Request, Parts, Customer, PortalQuery], Awaitable[Response]]


def _for_the_customer(show: Show) -> Callable[[Request], Awaitable[Response]]:
    """Return a handler that finds out whose page it is, and refuses everybody else."""

    async def handle(request: Request) -> Response:
        parts: Parts = request.app.state.parts
        query = read_query(request, PortalQuery, keeps_empty=False)
        try:
            customer = _customer(request, parts, query)
        except InvalidToken as error:
            return _refused(request, str(error))
        response = await show(request, parts, customer, query)
        response.headers["Cache-Control"] = "private, no-store"
        # The page may be embedded where frame-ancestors lets it.
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return response

    return handle


def _customer(request: Request, parts: Parts, query: PortalQuery) -> Customer:
    """Return whose page this is.

    Raises:
        InvalidToken: nobody's.
    """
    kind, _, bearer = request.headers.get("authorization", "").partition(" ")
    token = bearer if kind.lower() == "bearer" else query.token
    if token is None:
        raise InvalidToken("open this page with the link that you were given")
    now_s = parts.clock.now_ms() // 1000
    found = parts.customers.get(
        portal_customer(token, key=parts.portal_key, now_s=now_s)
    )
    if found is None:
        raise InvalidToken("this customer does not exist any more")
    return found


def _refused(request: Request, detail: str) -> Response:
    if "text/html" not in request.headers.get("accept", ""):
        return problem(401, detail)
    template = ENVIRONMENT.get_template("portal_refused.html")
    return HTMLResponse(template.render(detail=detail), 401)


async def _page(
    request: Request, parts: Parts, customer: Customer, query: PortalQuery
) -> Response:
    meter = find_meter(parts, query.meter)
    period = billing_period(parts, customer, query.period)
    data, daily, at = await _read(parts, customer, period)
    series = None if meter is None else daily[meter.name]
    context: dict[str, Any] = {
        "data": data,
        "token": query.token or "",
        "meters": summable(parts),
        "meter": meter,
        "series": series,
        "chart": None if series is None else bars(series),
        "plot": None if series is None else plot_of(series),
        "is_current": parts.clock.now_ms() in period,
        "now_ms": parts.clock.now_ms(),
        "fresh_ms": at.as_of_ms,
    }
    return HTMLResponse(ENVIRONMENT.get_template("portal.html").render(context))


async def _json(
    _request: Request, parts: Parts, customer: Customer, query: PortalQuery
) -> Response:
    period = billing_period(parts, customer, query.period)
    data, _, _ = await _read(parts, customer, period)
    return answer(data)


async def _csv(
    _request: Request, parts: Parts, customer: Customer, query: PortalQuery
) -> Response:
    period = billing_period(parts, customer, query.period)
    async with snapshot(parts.database) as (tx, at):
        daily = await _daily(parts, tx, at, customer, period)
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(["date", *daily])
    shown = [_days(series) for series in daily.values()]
    for same_day in zip(*shown, strict=True):
        table.writerow([same_day[0].date, *(day.quantity for day in same_day)])
    name = f"usage-{customer.id}-{period.name}.csv"
    return Response(
        out.getvalue(),
        media_type="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


async def _read(
    parts: Parts, customer: Customer, period: Period
) -> tuple[PortalUsage, dict[str, Series], Counted]:
    """Return what a customer's page shows, from one snapshot."""
    async with snapshot(parts.database) as (tx, at):
        daily = await _daily(parts, tx, at, customer, period)
        return await read_portal(parts, tx, at, customer, period, daily), daily, at


async def read_portal(
    parts: Parts,
    tx: Tx,
    at: Counted,
    customer: Customer,
    period: Period,
    daily: dict[str, Series],
) -> PortalUsage:
    """Return everything that a customer's page shows."""
    now_ms = parts.clock.now_ms()
    statement: Statement | None = None
    plan: Plan | None = None
    with contextlib.suppress(NotBillable):
        statement = await parts.invoices.statement(tx, at, customer, period)
        plan = parts.billing.plan_of(customer, period)
    usage = await usage_behind(parts, tx, at, customer, period, statement)
    projected = parts.billing.projected(customer, usage, now_ms=now_ms)
    earlier = await parts.invoices.before(tx, at, customer, at_ms=now_ms, limit=EARLIER)
    return PortalUsage(
        customer=customer.id,
        name=customer.name,
        period=period.name,
        start=format_time_ms(period.start),
        end=format_time_ms(period.end),
        time_zone=customer.time_zone,
        fresh_as_of=fresh_as_of(at),
        currency=None if statement is None else statement.invoice.currency,
        total=None if statement is None else statement.due,
        is_final=statement is not None and statement.finalized_ms is not None,
        projected_total=None if projected is None else projected.total,
        lines=()
        if statement is None or plan is None
        else tuple(_line(line, plan, usage) for line in statement.invoice.lines),
        adjustments=() if statement is None else statement.adjustments,
        meters=tuple(_meter(name, series, usage) for name, series in daily.items()),
        earlier=tuple(
            PortalPeriod(
                period=past.name,
                total=None if known is None else known.due,
                currency=None if known is None else known.invoice.currency,
                is_final=known is not None and known.finalized_ms is not None,
            )
            for past, known in earlier
        ),
    )


def _meter(name: str, series: Series, usage: CustomerUsage) -> PortalMeter:
    quantity = next(m.quantity for m in usage.meters if m.meter == name)
    return PortalMeter(meter=name, quantity=quantity, days=_days(series))


def _days(series: Series) -> tuple[DayUsage, ...]:
    return tuple(
        DayUsage(f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%d}", value)
        for at_ms, value in zip(series.times_ms, series.lines[0].values, strict=True)
    )


def _line(line: Line, plan: Plan, usage: CustomerUsage) -> PortalLine:
    card = next((c for c in plan.prices if c.name == line.name), None)
    return PortalLine(
        description=line.description,
        quantity=line.quantity,
        amount=line.amount,
        charges=line.charges,
        tier=max((c.tier for c in line.charges if c.tier is not None), default=None),
        tiers=card.price.unit_tiers if card else (),
        next_unit=_next_unit(line, plan, usage),
    )


def _next_unit(line: Line, plan: Plan, usage: CustomerUsage) -> Decimal | None:
    """Return what one unit more would add to a line, before rounding."""
    card = next((c for c in plan.prices if c.name == line.name), None)
    used = next((m for m in usage.meters if m.meter == line.meter), None)
    if card is None or used is None or line.kind != "usage":
        return None
    try:
        now, more = (
            rate(card.price, billable(card, Decimal(quantity))[0]).amount
            for quantity in (used.quantity, used.quantity + 1)
        )
    except PricingError:
        return None  # It is not the quantity alone that says what it costs.
    return more - now


async def _daily(
    parts: Parts, tx: Tx, at: Counted, customer: Customer, period: Period
) -> dict[str, Series]:
    """Return each meter's usage by day of the customer's own calendar.

    Each day stands at its midnight in UTC, wherever it began for the customer: charts
    then show its date.
    """
    calendar = calendar_of(customer)
    first, last = calendar.day(period.start), calendar.day(period.end - 1)
    dates = [first + timedelta(days=i) for i in range((last - first).days + 1)]
    starts = [calendar.start_of(date) for date in dates]
    midnights = [
        int(datetime(d.year, d.month, d.day, tzinfo=UTC).timestamp()) * 1000
        for d in dates
    ]
    span = {"start": period.start, "end": period.end}
    if all(start % DAY_MS == 0 for start in starts):
        found = await store.read_usage(tx, at.generation, customer=customer.id, **span)
        rows: list[Row] = [(r.window_ms, r.labels, r.totals) for r in found]
    else:
        rows = await store.read_windows(tx, at.generation, customer=customer.id, **span)
    placed = [
        (midnights[bisect_right(starts, at) - 1], labels, totals)
        for at, labels, totals in rows
        if at >= starts[0]
    ]
    shown = Period(midnights[0], midnights[-1] + DAY_MS, period.name)
    return {
        meter.name: series_of(meter, placed, shown, step_ms=DAY_MS)
        for meter in summable(parts)
    }


ROUTES = [
    Route("/portal", _for_the_customer(_page)),
    Route("/portal/usage.json", _for_the_customer(_json)),
    Route("/portal/usage.csv", _for_the_customer(_csv)),
]
