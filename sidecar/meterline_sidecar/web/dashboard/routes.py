"""The paths of the operator's pages, and how they say that something went wrong."""

from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meterline_sidecar.web.answers.problem import Problem
from meterline_sidecar.web.dashboard import (
    alerts,
    close,
    corrections,
    customers,
    edges,
    erasures,
    events,
    imports,
    late,
    login,
    outbox,
    overview,
    pricing,
    usage,
)
from meterline_sidecar.web.guard import takes_pages
from meterline_sidecar.web.problems import HANDLERS, Handler
from meterline_sidecar.web.view.render import fresh, render

ROUTES: Final = [
    Route("/", fresh(overview.overview)),
    Route("/usage", fresh(usage.usage)),
    Route("/customers", fresh(customers.customers)),
    Route("/customers/{customer}", fresh(customers.customer)),
    Route("/customers/{customer}/explain", fresh(customers.explain)),
    Route("/customers/{customer}/credits", customers.grant, methods=["POST"]),
    Route("/events", fresh(events.events)),
    Route("/events/{event}", fresh(events.event)),
    Route("/events/{event}/void", corrections.void, methods=["POST"]),
    Route("/corrections", fresh(corrections.corrections)),
    Route("/corrections", corrections.revert, methods=["POST"]),
    Route("/late", fresh(late.late)),
    Route("/late", late.decide, methods=["POST"]),
    Route("/imports", fresh(imports.imports)),
    Route("/imports", imports.upload, methods=["POST"]),
    Route("/imports/{name}", fresh(imports.one_import)),
    Route("/imports/{name}", imports.decide, methods=["POST"]),
    Route("/erasures", fresh(erasures.erasures)),
    Route("/erasures", fresh(erasures.erase), methods=["POST"]),
    Route("/edges", fresh(edges.edges)),
    Route("/edges", edges.decide, methods=["POST"]),
    Route("/outbox", fresh(outbox.outbox)),
    Route("/outbox/{row}/retry", outbox.retry, methods=["POST"]),
    Route("/pricing", fresh(pricing.pricing)),
    Route("/close", fresh(close.close)),
    Route("/close", close.close_now, methods=["POST"]),
    Route("/close/gap", close.accept_gap, methods=["POST"]),
    Route("/alerts", fresh(alerts.alerts)),
    Route("/login", login.form),
    Route("/login", login.login, methods=["POST"]),
    Route("/logout", login.logout, methods=["POST"]),
]


def _for_people(handler: Handler) -> Handler:
    """Return a handler that shows a page to browsers, and the problem to others."""

    async def handle(request: Request, error: Exception) -> Response:
        response = await handler(request, error)
        if not takes_pages(request.headers):
            return response
        told = msgspec.json.decode(response.body, type=Problem)
        context = {"status": told.status, "problem": told, "back": _back(request)}
        return render(request, "error.html", context, status=told.status)

    return handle


def _back(request: Request) -> str | None:
    """Return the page of ours from which somebody came, if it is another one."""
    came_from = urlsplit(request.headers.get("referer", ""))
    is_ours = came_from.netloc == request.headers.get("host")
    if not is_ours or came_from.path == request.url.path:
        return None
    return came_from._replace(scheme="", netloc="").geturl()


PAGE_HANDLERS: Final[dict[Any, Handler]] = {
    kind: _for_people(handler) for kind, handler in HANDLERS.items()
}
