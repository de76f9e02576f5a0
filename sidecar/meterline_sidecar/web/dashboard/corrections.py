"""Corrections: which there are, taking one back, and making an event void."""

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from meterline_sidecar.web.answers.reason import Reason
from meterline_sidecar.web.api.corrections import (
    CorrectionsQuery,
    HowQuery,
    NewCorrection,
    RevertQuery,
    correct,
    list_corrections,
    revert_correction,
)
from meterline_sidecar.web.api.events import EventQuery
from meterline_sidecar.web.forms import read_form
from meterline_sidecar.web.guard import may_write
from meterline_sidecar.web.operations import author_of, read_query
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import ID_MAX
from meterline_sidecar.web.view.render import render

PAGE = 50


class CorrectionsPageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which corrections, the newest first."""

    after: Annotated[int, Meta(ge=0, le=ID_MAX)] = ID_MAX


class ReasonForm(msgspec.Struct, frozen=True, kw_only=True):
    """Why somebody corrects something by a click."""

    reason: Reason


class RevertForm(ReasonForm, frozen=True, kw_only=True):
    """Which correction somebody takes back."""

    correction: Annotated[int, Meta(ge=1, le=ID_MAX)]


async def corrections(request: Request) -> Response:
    """Answer a page of corrections."""
    parts: Parts = request.app.state.parts
    query = read_query(request, CorrectionsPageQuery, is_page=True)
    page = await list_corrections(
        parts, CorrectionsQuery(after=query.after, limit=PAGE)
    )
    return render(
        request,
        "corrections.html",
        {
            "corrections": page.corrections,
            "older": page.next_after,
            "may_write": may_write(request),
        },
    )


async def revert(request: Request) -> Response:
    """Take a correction back, and show all of them."""
    form = await read_form(request, RevertForm)
    query = RevertQuery(correction=form.correction, reason=form.reason)
    await revert_correction(request.app.state.parts, query, author_of(request))
    return RedirectResponse("/corrections", 303)


async def void(request: Request) -> Response:
    """Make an event void, and show it again."""
    form = await read_form(request, ReasonForm)
    query = read_query(request, EventQuery, path_names=frozenset(("event",)))
    await correct(
        request.app.state.parts,
        HowQuery(),
        body=NewCorrection(events=(query.event,), reason=form.reason),
        author=author_of(request),
    )
    return RedirectResponse(f"/events/{query.event}#what", 303)
