"""The paths of the operator's pages, and how they say that something went wrong."""

from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from meterline_sidecar.web.answers.problem import Problem
from meterline_sidecar.web.dashboard import (
    alerts,
    audit,
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
from meterline_sidecar.web.rights import is_portal
from meterline_sidecar.web.view.like import like
from meterline_sidecar.web.view.render import (
    came_from,
    fresh,
    portal_refused_page,
    render,
)
from meterline_sidecar.web.view.sent import sent

FORMS: Final = (
    ("/customers/{customer}/credits", customers.grant, customers.customer),
    ("/events/{event}/void", corrections.void, events.event),
    ("/corrections", corrections.revert, corrections.corrections),
    ("/late", late.decide, late.late),
    ("/imports", imports.upload, imports.imports),
    ("/imports/{name}", imports.decide, imports.one_import),
    ("/erasures", fresh(erasures.erase), erasures.erasures),
    ("/edges", edges.decide, edges.edges),
    ("/outbox/{row}/retry", outbox.retry, outbox.outbox),
    ("/close", close.close_now, close.close),
    ("/close/gap", close.accept_gap, close.close),
)
"""Where forms are sent, what takes each, and the page that it is on."""
ROUTES: Final = [
    Route("/", fresh(overview.overview)),
    Route("/usage", fresh(usage.usage)),
    Route("/customers", fresh(customers.customers)),
    Route("/customers-like", like),
    Route("/customers/{customer}", fresh(customers.customer)),
    Route("/customers/{customer}/explain", fresh(customers.explain)),
    Route("/events", fresh(events.events)),
    Route("/events/{event}", fresh(events.event)),
    Route("/corrections", fresh(corrections.corrections)),
    Route("/late", fresh(late.late)),
    Route("/imports", fresh(imports.imports)),
    Route("/imports/{name}", fresh(imports.one_import)),
    Route("/erasures", fresh(erasures.erasures)),
    Route("/edges", fresh(edges.edges)),
    Route("/outbox", fresh(outbox.outbox)),
    Route("/pricing", fresh(pricing.pricing)),
    Route("/close", fresh(close.close)),
    Route("/alerts", fresh(alerts.alerts)),
    Route("/audit", fresh(audit.audit)),
    Route("/login", login.form),
    Route("/login", login.login, methods=["POST"]),
    Route("/logout", login.logout, methods=["POST"]),
    *(
        Route(path, sent(act, page=fresh(page)), methods=["POST"])
        for path, act, page in FORMS
    ),
]


def _for_people(handler: Handler) -> Handler:
    """Return a handler that shows a page to browsers, and the problem to others."""

    async def handle(request: Request, error: Exception) -> Response:
        response = await handler(request, error)
        if not takes_pages(request.headers):
            return response
        told = msgspec.json.decode(response.body, type=Problem)
        if is_portal(request.url.path):
            return HTMLResponse(
                portal_refused_page(told.status, told.detail), told.status
            )
        context = {"status": told.status, "problem": told, "back": _back(request)}
        return render(request, "error.html", context, status=told.status)

    return handle


def _back(request: Request) -> str | None:
    """Return the page of ours from which somebody came, if it is another one."""
    page = came_from(request)
    return None if page is None or urlsplit(page).path == request.url.path else page


PAGE_HANDLERS: Final[dict[Any, Handler]] = {
    kind: _for_people(handler) for kind, handler in HANDLERS.items()
}
