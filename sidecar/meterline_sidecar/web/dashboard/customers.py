"""Who pays what: the list of customers, and one customer whole."""

from datetime import date
from itertools import islice
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from meterline_pricing import Period
from meterline_sidecar.billing.drafts import NotBillable
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.meters import Meter
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.counted import Counted, snapshot
from meterline_sidecar.web.answers.credits import NewCredit
from meterline_sidecar.web.answers.explain import ExplainedLine, Explanation, UsedOnDay
from meterline_sidecar.web.answers.reason import Reason
from meterline_sidecar.web.api.account import read_account
from meterline_sidecar.web.api.credit import CreditsQuery, credits_shown, grant_credit
from meterline_sidecar.web.api.edge_events import (
    After,
    EdgeLineQuery,
    list_line_edge_events,
)
from meterline_sidecar.web.api.explain import ExplainQuery, explain_invoice
from meterline_sidecar.web.daily import read_daily
from meterline_sidecar.web.forms import read_form
from meterline_sidecar.web.guard import may_write
from meterline_sidecar.web.operations import author_of, read_query
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import (
    CustomerId,
    MonthName,
    find_customer,
    invoice_period,
)
from meterline_sidecar.web.view.charts import Figure, figure_of
from meterline_sidecar.web.view.render import render
from meterline_sidecar.web.view.series import (
    EARLIER,
    find_meter,
    usage_behind,
)
from meterline_sidecar.where import ANYTHING, NOT

PAGE: Final = 50
PAGES_MAX: Final = 100_000
ACCOUNT: Final = 12  # entries of a customer's account
METERS_IN_LIST: Final = 5  # more have no room beside the total; a page of one has all


class CustomersPageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which customers, in which order."""

    q: Annotated[str, Meta(max_length=100)] = ""
    sort: Literal["total", "name"] = "total"
    page: Annotated[int, Meta(ge=1, le=PAGES_MAX)] = 1


class CustomerPageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which customer, and when."""

    customer: CustomerId
    period: MonthName | None = None
    meter: str | None = None


async def customers(request: Request) -> Response:
    """Answer the list of customers."""
    parts: Parts = request.app.state.parts
    query = read_query(request, CustomersPageQuery, is_page=True)
    start = (query.page - 1) * PAGE
    if query.q:
        found = await _matching(parts, query)
        n_found, shown = len(found), found[start : start + PAGE]
    else:
        n_found, shown = len(parts.customers), _page(parts, query, start)
    return render(
        request,
        "customers.html",
        {
            "query": query,
            "rows": [(one, parts.standings.get(one.id)) for one in shown],
            "first": start + 1,
            "n_found": n_found,
            "has_more": start + PAGE < n_found,
            "n_missing": parts.standings.n_missing,
            "meters": [meter.name for meter in parts.shown_meters[:METERS_IN_LIST]],
            "n_meters": len(parts.shown_meters),
        },
    )


def _page(parts: Parts, query: CustomersPageQuery, start: int) -> list[Customer]:
    """Return one page of all customers, without a look at the others."""
    if query.sort == "name":
        ids = parts.customers.ids[start : start + PAGE]
    else:
        ranked = parts.standings.ranked(PAGE, start=start)
        ids = [standing.customer for standing in ranked]
        if len(ids) < PAGE and parts.standings.n_missing:
            missing = (i for i in parts.customers.ids if not parts.standings.get(i))
            first = max(0, start - parts.standings.n_ranked)
            ids += islice(missing, first, first + PAGE - len(ids))
    found = (parts.customers.get(customer_id) for customer_id in ids)
    return [customer for customer in found if customer is not None]


async def _matching(parts: Parts, query: CustomersPageQuery) -> list[Customer]:
    """Return the customers with a text in their id or name."""
    wanted = query.q.lower()
    found = [
        customer
        async for customer in parts.customers.each()
        if wanted in customer.id.lower() or wanted in customer.name.lower()
    ]
    if query.sort == "total":
        found.sort(key=lambda customer: parts.standings.rank(customer.id))
    return found


async def customer(request: Request) -> Response:
    """Answer one customer: usage, draft invoice, earlier periods."""
    parts: Parts = request.app.state.parts
    query = read_query(request, CustomerPageQuery, is_page=True)
    shown = find_customer(parts, query.customer)
    now_ms = parts.clock.now_ms()
    statement, why_not = None, ""
    meter = find_meter(parts.shown_meters, query.meter)
    figure = None
    async with snapshot(parts.database) as (tx, at):
        period = await invoice_period(tx, parts, shown, query.period)
        try:
            statement = await parts.invoices.shown(tx, at, shown, period)
        except NotBillable as error:
            why_not = str(error)
        usage = await usage_behind(parts, tx, at, shown, period, statement)
        if meter is not None:
            figure = await _by_day(parts, tx, at, meter, shown, period)
        projected = await parts.invoices.projected(
            tx, at, shown, period, statement=statement
        )
        earlier = await parts.invoices.before(
            tx, at, shown, at_ms=period.start, limit=EARLIER
        )
        granted = await credits_shown(parts, tx, at, shown)
        account = await read_account(tx, shown, limit=ACCOUNT, now_ms=now_ms)
    return render(
        request,
        "customer.html",
        {
            "customer": shown,
            "period": period,
            "is_current": now_ms in period,
            "done": min(1.0, (now_ms - period.start) / (period.end - period.start)),
            "usage": usage,
            "statement": statement,
            "why_not": why_not,
            "projected": projected,
            "meters": parts.shown_meters,
            "meter": meter,
            "figure": figure,
            "earlier": earlier,
            "credits": granted,
            "may_write": may_write(request),
            "account": account,
        },
    )


async def _by_day(
    parts: Parts, tx: Tx, at: Counted, meter: Meter, customer: Customer, period: Period
) -> Figure:
    """Return the chart of a customer's usage of a meter in a period, as they see it."""
    daily = await read_daily(parts, tx, at, customer, period, meters=(meter,))
    zone = customer.time_zone
    return figure_of(
        meter,
        daily[meter.name],
        names=parts.config.names,
        when=f"by day in {zone}",
        zone=zone,
    )


class CreditForm(msgspec.Struct, frozen=True, kw_only=True):
    """A credit that somebody grants on the page."""

    amount: Annotated[str, Meta(max_length=30)]
    reason: Reason
    expires: date | None = None


async def grant(request: Request) -> Response:
    """Grant a credit, and show the customer again."""
    form = await read_form(request, CreditForm)
    query = read_query(request, CreditsQuery, path_names=frozenset(("customer",)))
    new = NewCredit(amount=form.amount, reason=form.reason, expires=form.expires)
    await grant_credit(
        request.app.state.parts, query, body=new, author=author_of(request)
    )
    return RedirectResponse(f"/customers/{query.customer}#credits", 303)


class ExplainPageQuery(ExplainQuery, frozen=True, kw_only=True):
    """Which invoice and line, and whether its raw events at edges are shown."""

    at_edges: bool = False
    after: After = 0


async def explain(request: Request) -> Response:
    """Answer how an invoice came about."""
    query = read_query(request, ExplainPageQuery, is_page=True)
    parts: Parts = request.app.state.parts
    found = await explain_invoice(parts, query)
    raw = None
    if query.at_edges and query.line is not None:
        asked = EdgeLineQuery(
            customer=query.customer,
            line=query.line,
            period=found.period.name,
            day=query.day,
            after=query.after,
        )
        raw = await list_line_edge_events(parts, asked)
    here = {"period": found.period.name, "line": query.line, "day": query.day}
    kept = {name: value for name, value in here.items() if value is not None}
    context = {"found": found, "raw": raw, "kept": kept, "listed": listed}
    return render(request, "explain.html", context)


def listed(found: Explanation, line: ExplainedLine, day: UsedOnDay) -> dict[str, str]:
    """Return what the page Events is asked, to list what a line has of a day.

    Of what its meter counts, the page can be asked for statuses, and for one name.
    """
    asked = {
        "customer": found.customer,
        "start": day.start,
        "end": day.end,
    }
    where = (line.meter or {}).get("where", {})
    for name in ("route", "method", "kind"):
        names = where.get(name, ())
        if (
            len(names) == 1
            and not names[0].startswith(NOT)
            and ANYTHING not in names[0]
        ):
            asked[name] = names[0]
    statuses = where.get("status", ())
    if statuses and not any(one.get("is_left_out") for one in statuses):
        asked["status"] = ",".join(f"{one['first']}-{one['last']}" for one in statuses)
    return asked
