"""Late usage: what waits for a person, what was decided, and deciding by a click."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from meterline_sidecar.web.answers.reason import Reason
from meterline_sidecar.web.api.late import (
    DecideLateQuery,
    LateQuery,
    accept_late,
    list_late,
    reject_late,
)
from meterline_sidecar.web.forms import read_form
from meterline_sidecar.web.guard import may_write
from meterline_sidecar.web.operations import author_of, read_query
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import ID_MAX, CustomerId
from meterline_sidecar.web.view.render import render

PAGE: Final = 50


class LatePageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whose late usage, the newest first."""

    customer: CustomerId | None = None
    after: Annotated[int, Meta(ge=0, le=ID_MAX)] = ID_MAX


class LateForm(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody decides about which late usage, and why."""

    late: Annotated[int, Meta(ge=1, le=ID_MAX)]
    decision: Literal["accept", "reject"]
    reason: Reason


async def late(request: Request) -> Response:
    """Answer a page of late usage."""
    parts: Parts = request.app.state.parts
    query = read_query(request, LatePageQuery, is_page=True)
    page = await list_late(
        parts, LateQuery(after=query.after, limit=PAGE, customer=query.customer)
    )
    return render(
        request,
        "late.html",
        {
            "customer": query.customer,
            "late": page.late,
            "older": page.next_after,
            "reporting": [m.name for m in parts.meters if m.late == "report"],
            "may_write": may_write(request),
        },
    )


async def decide(request: Request) -> Response:
    """Accept or reject late usage, and show all of it."""
    form = await read_form(request, LateForm)
    take = accept_late if form.decision == "accept" else reject_late
    await take(
        request.app.state.parts,
        DecideLateQuery(late=form.late, reason=form.reason),
        author_of(request),
    )
    return RedirectResponse(f"/late#late-{form.late}", 303)
