"""Puts the HTTP side together."""

from typing import Final

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from meterline_sidecar.web import live, metrics, openapi, static
from meterline_sidecar.web.api import all as api
from meterline_sidecar.web.api import external, imports
from meterline_sidecar.web.api.external import Intake
from meterline_sidecar.web.at_edge import AtEdge
from meterline_sidecar.web.clients import Clients
from meterline_sidecar.web.dashboard import routes as dashboard
from meterline_sidecar.web.documents import routes as documents
from meterline_sidecar.web.guard import Guard, Limits
from meterline_sidecar.web.neighbours import Neighbours
from meterline_sidecar.web.operations import Described
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.portal import page as portal
from meterline_sidecar.web.view.render import refused_page

BURST_S = 2  # a page with all that belongs to it comes at once


DESCRIBED: Final[tuple[Described, ...]] = (
    *external.DESCRIBED,
    *imports.DESCRIBED,
    *documents.DESCRIBED,
)


def routes() -> list[Route]:
    """Return every route, in the order in which they are tried."""
    return [
        *documents.FILES,
        *(operation.route for operation in api.OPERATIONS),
        *api.ROUTES,
        Intake().route,
        *metrics.ROUTES,
        *static.ROUTES,
        *dashboard.ROUTES,
        *documents.PAGES,
        live.route(),
        *portal.ROUTES,
        openapi.route(api.OPERATIONS, DESCRIBED),
    ]


def make_app(
    parts: Parts, clients: Clients, neighbours: Neighbours | None = None
) -> ASGIApp:
    """Return the ASGI app that answers for these parts.

    Args:
        clients: tells those apart who ask.
        neighbours: who needs no token where everybody on this machine can connect.
    """
    sidecar = parts.config.sidecar
    app = Starlette(
        routes=routes(),
        exception_handlers=dict(dashboard.PAGE_HANDLERS),
    )
    app.state.parts = parts
    inner: ASGIApp = app
    # Around the whole app and no part of it: Starlette's own middleware cannot see
    # the answer that is made of an exception.
    if parts.forwarder is not None:
        inner = AtEdge(
            app,
            centre=str(parts.forwarder.address),
            keeps_events=parts.config.centre.forward == "usage",
        )
    return Guard(
        inner,
        tokens=parts.tokens,
        needs_token=parts.config.needs_token,
        neighbours=neighbours,
        names=sidecar.http_names,
        clients=clients,
        frame_origins=parts.config.portal.frame_origins,
        limits=Limits(
            sidecar.http_requests_per_s, sidecar.http_requests_per_s * BURST_S
        ),
        refused_page=refused_page,
    )
