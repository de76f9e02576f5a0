"""The customer's page: their usage, what it costs so far, and nobody else's anything.

Whose page it is comes from the signed token and from nowhere else: no parameter names
a customer.
"""

import csv
import io
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import msgspec
from msgspec import Meta
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from meterline.portal import TOKEN_CHARS_MAX, InvalidToken, portal_customer
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.local import written_for
from meterline_sidecar.printable import csv_cell
from meterline_sidecar.usage.counted import snapshot
from meterline_sidecar.web.daily import days_of, read_daily, today_of
from meterline_sidecar.web.guard import takes_pages
from meterline_sidecar.web.operations import read_query
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.portal.data import read_portal
from meterline_sidecar.web.problems import REFUSALS, answer, problem, refusal_of
from meterline_sidecar.web.query import MonthName, invoice_period
from meterline_sidecar.web.view.charts import figure_of
from meterline_sidecar.web.view.render import environment, portal_refused_page
from meterline_sidecar.web.view.series import find_meter

GROUPS_SHOWN: Final = 20  # on the page; the CSV has all

_TOKEN: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]{43}", re.ASCII)
"""A token; a signature has 43 letters, and what stands behind these is no part of it."""


class PortalQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What a customer may choose: the time and the meter, never the customer."""

    token: Annotated[str, Meta(max_length=TOKEN_CHARS_MAX)] | None = None
    period: MonthName | None = None
    meter: Annotated[str, Meta(max_length=100)] | None = None


Show = Callable[[Request, Parts, Customer, PortalQuery], Awaitable[Response]]


def _for_the_customer(show: Show) -> Callable[[Request], Awaitable[Response]]:
    """Return a handler that finds out whose page it is, and refuses everybody else."""

    async def handle(request: Request) -> Response:
        parts: Parts = request.app.state.parts
        try:
            query = _query(request)
            customer = _customer(request, parts, query)
            response = await show(request, parts, customer, query)
        except InvalidToken as error:
            response = _refused(request, 401, str(error))
        except tuple(REFUSALS) as error:
            response = _refused(request, refusal_of(error).status, str(error))
        response.headers["Cache-Control"] = "private, no-store"
        # The page may be embedded where frame-ancestors lets it.
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return response

    return handle


def _query(request: Request) -> PortalQuery:
    """Return what is asked for, by a link as it was sent.

    What reads a link in a text takes the full stop or the bracket behind it along, and
    who copies a long one from a mail copies the breaks of its lines.
    """
    query = read_query(request, PortalQuery, is_page=True)
    return query if query.token is None else replace(query, token=_alone(query.token))


def _alone(token: str) -> str:
    """Return a token without what follows it, and without breaks of lines in it."""
    whole = "".join(token.split())
    found = _TOKEN.match(whole)
    return whole if found is None else found[0]


def _customer(request: Request, parts: Parts, query: PortalQuery) -> Customer:
    """Return whose page this is.

    Raises:
        InvalidToken: nobody's.
    """
    kind, _, bearer = request.headers.get("authorization", "").partition(" ")
    token = bearer if kind.lower() == "bearer" else query.token
    if token is None:
        raise InvalidToken("open this page with the link you were given")
    now_s = parts.clock.now_ms() // 1000
    found = parts.customers.get(
        portal_customer(token, key=parts.portal_key, now_s=now_s)
    )
    if found is None:
        raise InvalidToken("this link is for an account that is no longer here")
    return found


def _refused(request: Request, status: int, detail: str) -> Response:
    if not takes_pages(request.headers):
        return problem(status, detail)
    token = _alone(request.query_params.get("token", ""))
    back = f"/portal?{urlencode({'token': token})}" if token and status != 401 else ""
    return HTMLResponse(portal_refused_page(status, detail, back=back), status)


async def _page(
    request: Request, parts: Parts, customer: Customer, query: PortalQuery
) -> Response:
    names = parts.config.names
    meter = find_meter(parts.shown_meters, query.meter)
    async with snapshot(parts.database) as (tx, at):
        period = await invoice_period(tx, parts, customer, query.period)
        daily = await read_daily(parts, tx, at, customer, period)
        data = await read_portal(parts, tx, at, customer, period, daily)
    figure = None
    if meter is not None:
        series, zone = daily[meter.name], customer.time_zone
        figure = figure_of(meter, series, names=names, zone=zone)
    shown = [used for used in data.meters if meter and used.meter == meter.name]
    groups = [group for used in shown for group in used.groups]
    context: dict[str, Any] = {
        "data": data,
        "token": query.token or "",
        "names": names,
        "meters": parts.shown_meters,
        "meter": meter,
        "figure": figure,
        "groups": groups[:GROUPS_SHOWN],
        "groups_left_out": len(groups[GROUPS_SHOWN:]),
        "is_current": parts.clock.now_ms() in period,
        "now_ms": parts.clock.now_ms(),
        "rehearsal": parts.clock.rehearsal,
        "fresh_ms": at.as_of_ms,
    }
    with written_for(parts.locale_of(customer.id)):
        return HTMLResponse(environment().get_template("portal.html").render(context))


async def _json(
    _request: Request, parts: Parts, customer: Customer, query: PortalQuery
) -> Response:
    async with snapshot(parts.database) as (tx, at):
        period = await invoice_period(tx, parts, customer, query.period)
        daily = await read_daily(parts, tx, at, customer, period)
        data = await read_portal(parts, tx, at, customer, period, daily)
    return answer(data)


async def _csv(
    _request: Request, parts: Parts, customer: Customer, query: PortalQuery
) -> Response:
    async with snapshot(parts.database) as (tx, at):
        period = await invoice_period(tx, parts, customer, query.period)
        daily = await read_daily(parts, tx, at, customer, period)
    out = io.StringIO()
    table = csv.writer(out)
    meters = [meter.name for meter in parts.shown_meters]
    titles = map(parts.config.names.title, meters)
    table.writerow(["date", *map(csv_cell, titles)])
    today = today_of(parts, customer)
    shown = [
        {day.date: day.quantity for day in days_of(daily[name], today)}
        for name in meters
    ]
    for day in sorted({day for days in shown for day in days}):
        table.writerow([day, *(days.get(day) for days in shown)])
    return _file(out, f"usage-{customer.id}-{period.name}.csv")


async def _groups_csv(
    _request: Request, parts: Parts, customer: Customer, query: PortalQuery
) -> Response:
    async with snapshot(parts.database) as (tx, at):
        period = await invoice_period(tx, parts, customer, query.period)
        daily = await read_daily(parts, tx, at, customer, period)
        data = await read_portal(parts, tx, at, customer, period, daily)
    meters = parts.shown_meters
    names = list(dict.fromkeys(name for meter in meters for name in meter.told_apart))
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(["meter", *names, "quantity"])
    for meter in data.meters:
        for group in meter.groups:
            labels = (csv_cell(group.labels.get(name, "")) for name in names)
            table.writerow([csv_cell(meter.title), *labels, group.quantity])
    return _file(out, f"groups-{customer.id}-{period.name}.csv")


def _file(out: io.StringIO, name: str) -> Response:
    return Response(
        out.getvalue(),
        media_type="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


ROUTES = [
    Route("/portal", _for_the_customer(_page)),
    Route("/portal/usage.json", _for_the_customer(_json)),
    Route("/portal/usage.csv", _for_the_customer(_csv)),
    Route("/portal/groups.csv", _for_the_customer(_groups_csv)),
]
