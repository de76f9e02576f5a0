"""The API: usage, customers, draft invoices, raw events."""

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meterline.events import KIND_NAMES, Flag
from meterline_pricing import Period, nearest
from meterline_sidecar.aggregate import WINDOW_MS
from meterline_sidecar.billing import NotBillable, calendar_of
from meterline_sidecar.clock import format_time_ms, parse_time_ms
from meterline_sidecar.config import Customer
from meterline_sidecar.parts import Parts
from meterline_sidecar.store import audit
from meterline_sidecar.web.problems import BadRequest, Conflict, NotFound, answer

PAGE_EVENTS: Final = 100
PAGE_EVENTS_MAX: Final = 1_000


async def list_usage(request: Request) -> Response:
    """Answer what customers used: of one (``customer=``), or of all of them."""
    parts: Parts = request.app.state.parts
    wanted = request.query_params.get("customer")
    customers = parts.config.customers
    if wanted is not None:
        customers = (_customer(parts, wanted),)
    shown = [
        _shown_usage(
            customer,
            await parts.billing.usage(customer, _windows(_span(request, customer))),
        )
        for customer in customers
    ]
    return answer({**_freshness(parts), "usage": shown})


async def list_unassigned(request: Request) -> Response:
    """Answer what was used by subjects that no customer pays for."""
    parts: Parts = request.app.state.parts
    period = _windows(_span(request, Customer(id="", name="")))
    return answer(
        {**_freshness(parts), "unassigned": await parts.billing.unassigned(period)}
    )


async def list_customers(request: Request) -> Response:
    """Answer every customer of the configuration."""
    parts: Parts = request.app.state.parts
    return answer({"customers": parts.config.customers})


async def one_customer(request: Request) -> Response:
    """Answer one customer of the configuration."""
    parts: Parts = request.app.state.parts
    return answer(_customer(parts, request.path_params["customer"]))


async def customer_invoice(request: Request) -> Response:
    """Answer the draft invoice of a customer for a period."""
    parts: Parts = request.app.state.parts
    customer = _customer(parts, request.path_params["customer"])
    try:
        usage, drawn = await parts.billing.draft(customer, _period(request, customer))
    except NotBillable as error:
        raise Conflict(str(error)) from error
    return answer(
        {
            **_freshness(parts),
            "customer": customer.id,
            "customer_name": customer.name,
            "status": "draft",
            "counted_up_to_event": usage.counted_up_to_event,
            "usage": usage.meters,
            "invoice": drawn,
        }
    )


async def list_events(request: Request) -> Response:
    """Answer raw events of a customer and a span, a page at a time."""
    parts: Parts = request.app.state.parts
    wanted = request.query_params.get("customer")
    customer = Customer(id="", name="") if wanted is None else _customer(parts, wanted)
    span = _span(request, customer)
    async with parts.database.reading() as tx:
        page = await audit.read_events(
            tx,
            customer=wanted,
            start=span.start,
            end=span.end,
            after=_integer(request, "after", 0, minimum=0, maximum=2**63 - 1),
            limit=_integer(
                request, "limit", PAGE_EVENTS, minimum=1, maximum=PAGE_EVENTS_MAX
            ),
        )
    return answer(
        {
            "events": [_shown_event(event) for event in page.events],
            "next_after": page.next_after,
        }
    )


# --- reading requests


def _customer(parts: Parts, customer_id: str) -> Customer:
    found = parts.config.customer(customer_id)
    if found is None:
        near = nearest(customer_id, [c.id for c in parts.config.customers])
        hint = f"; did you mean {near}?" if near else "; see /v1/customers"
        raise NotFound(f"no customer {customer_id[:100]!r}{hint}")
    return found


def _period(request: Request, customer: Customer) -> Period:
    """Return the billing period asked for: ``period=2026-11``, else the current one."""
    parts: Parts = request.app.state.parts
    calendar = calendar_of(customer)
    named = request.query_params.get("period")
    if named is not None:
        return calendar.named(named)
    return calendar.at(parts.clock.now_ms())


def _span(request: Request, customer: Customer) -> Period:
    """Return the span asked for: ``start=`` and ``end=``, or a period."""
    start, end = (request.query_params.get(name) for name in ("start", "end"))
    if start is None and end is None:
        return _period(request, customer)
    if start is None or end is None:
        raise BadRequest("start and end belong together")
    first, beyond = _time_ms("start", start), _time_ms("end", end)
    if first >= beyond:
        raise BadRequest(f"start={start} is not before end={end}")
    return Period(first, beyond)


def _windows(span: Period) -> Period:
    """Return the span widened to whole windows: usage is not known any finer."""
    start = span.start // WINDOW_MS * WINDOW_MS
    end = -(-span.end // WINDOW_MS) * WINDOW_MS
    return Period(start, end, span.name)


def _time_ms(name: str, text: str) -> int:
    try:
        return parse_time_ms(text)
    except (ValueError, OverflowError) as error:
        raise BadRequest(
            f"{name}={text[:50]!r} is not a time such as 2026-11-22T08:00:00Z"
        ) from error


def _integer(
    request: Request, name: str, default: int, *, minimum: int, maximum: int
) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or not minimum <= int(text) <= maximum:
        raise BadRequest(
            f"{name}={text[:50]!r} is not an integer from {minimum} to {maximum}"
        )
    return int(text)


# --- writing answers


def _freshness(parts: Parts) -> dict[str, Any]:
    """Return up to when usage is known: an answer without it would look complete."""
    at_ms = parts.aggregator.generation.last_success_ms
    return {"fresh_as_of": None if at_ms is None else format_time_ms(at_ms)}


def _shown_usage(customer: Customer, usage: Any) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(usage)
    shown["customer_name"] = customer.name
    shown["period"]["start_time"] = format_time_ms(usage.period.start)
    shown["period"]["end_time"] = format_time_ms(usage.period.end)
    return shown


def _shown_event(event: audit.AuditEvent) -> dict[str, Any]:
    return {
        "id": event.id,
        "event": f"{event.producer}-{event.seq}",
        "time": format_time_ms(event.time_ms),
        "kind": KIND_NAMES[event.kind],
        "subject": event.subject,
        "customer": event.customer,
        "method": event.method or None,
        "route": event.route or None,
        "status": event.status or None,
        "duration_us": event.duration_us,
        "bytes_in": event.bytes_in,
        "bytes_out": event.bytes_out,
        "flags": [
            flag.name.lower() for flag in Flag(event.flags) if flag.name is not None
        ],
        "quantities": msgspec.json.decode(event.quantities) if event.quantities else {},
    }


ROUTES = [
    Route("/v1/usage", list_usage),
    Route("/v1/usage/unassigned", list_unassigned),
    Route("/v1/events", list_events),
    Route("/v1/customers", list_customers),
    Route("/v1/customers/{customer}", one_customer),
    Route("/v1/customers/{customer}/invoice", customer_invoice),
]
