"""Erasures: which names were taken out, and taking one out, in two steps."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from meterline_sidecar.web.answers.erasures import Erased, NewErasure
from meterline_sidecar.web.api.erasures import (
    ErasuresQuery,
    erase_subject,
    list_erasures,
)
from meterline_sidecar.web.forms import read_form
from meterline_sidecar.web.guard import may_write
from meterline_sidecar.web.operations import author_of, read_query
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest
from meterline_sidecar.web.query import ID_MAX, Nothing
from meterline_sidecar.web.view.render import render

PAGE: Final = 50


class ErasuresPageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which erasures, the newest first."""

    before: Annotated[int, Meta(ge=0, le=ID_MAX)] = ID_MAX


class LookForm(msgspec.Struct, frozen=True, kw_only=True):
    """A name, of which somebody wants to know what holds it."""

    subject: str
    reason: str


class EraseForm(LookForm, frozen=True, kw_only=True):
    """A name that is to be erased, typed twice."""

    again: str


async def erasures(request: Request) -> Response:
    """Answer a page of erasures."""
    return await _page(request)


async def look(request: Request) -> Response:
    """Say what holds a name, and ask for it once more; nothing is changed."""
    form = await read_form(request, LookForm)
    done = await _ask(request, form, is_dry=True)
    return await _page(request, form, done)


async def erase(request: Request) -> Response:
    """Take a name out of the ledger, and say what that came to."""
    form = await read_form(request, EraseForm)
    if form.again != form.subject:
        raise BadRequest("that is another name; nothing was erased")
    return await _page(request, form, await _ask(request, form, is_dry=False))


async def _ask(request: Request, form: LookForm, *, is_dry: bool) -> Erased:
    body = NewErasure(subject=form.subject, reason=form.reason, dry_run=is_dry)
    parts: Parts = request.app.state.parts
    return await erase_subject(parts, Nothing(), body=body, author=author_of(request))


async def _page(
    request: Request, form: LookForm | None = None, done: Erased | None = None
) -> Response:
    # No name ever stands in an address: those are kept by browsers and proxies.
    parts: Parts = request.app.state.parts
    query = read_query(request, ErasuresPageQuery, keeps_empty=False)
    page = await list_erasures(parts, ErasuresQuery(before=query.before, limit=PAGE))
    return render(
        request,
        "erasures.html",
        {
            "erasures": page.erasures,
            "older": page.next_before,
            "form": form,
            "done": done,
            "may_write": may_write(request),
        },
    )
