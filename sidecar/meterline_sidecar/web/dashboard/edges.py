"""Edges: which there are, how they stand, adopting and retiring one."""

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from meterline_sidecar.web.answers.reason import Reason
from meterline_sidecar.web.api.edges import (
    EdgeName,
    EdgeQuery,
    adopt_edge,
    retire_edge,
    shown_edges,
    shown_forwarding,
)
from meterline_sidecar.web.forms import read_form
from meterline_sidecar.web.guard import may_write
from meterline_sidecar.web.operations import author_of
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.view.render import render


class EdgeForm(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody decides about which edge, and why."""

    edge: EdgeName
    decision: Literal["adopt", "retire"]
    reason: Reason


async def edges(request: Request) -> Response:
    """Answer how all edges stand; at an edge, how it fares with its centre."""
    parts: Parts = request.app.state.parts
    return render(
        request,
        "edges.html",
        {
            "edges": shown_edges(parts.edges),
            "forwarding": shown_forwarding(parts.forwarder),
            "is_centre": parts.edges is not None,
            "may_write": may_write(request),
        },
    )


async def decide(request: Request) -> Response:
    """Adopt or retire an edge, and show all of them."""
    form = await read_form(request, EdgeForm)
    take = adopt_edge if form.decision == "adopt" else retire_edge
    await take(
        request.app.state.parts,
        EdgeQuery(edge=form.edge, reason=form.reason),
        author_of(request),
    )
    return RedirectResponse("/edges", 303)
