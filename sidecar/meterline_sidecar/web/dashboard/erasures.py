"""Erasures: which names were taken out, what holds one, and taking it out."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from meterline_sidecar.web.answers.erasures import Erased, NewErasure
from meterline_sidecar.web.answers.reason import Reason
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

PAGE = 50


class ErasuresPageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which erasures, the newest first."""

    before: Annotated[int, Meta(ge=0, le=ID_MAX)] = ID_MAX


class EraseForm(msgspec.Struct, frozen=True, kw_only=True):
    """Whose name is taken out, and why."""

    subject: str
    reason: Reason
    also: str = ""
    again: str = ""
    """The subject once more; needed to erase, and not to look."""
    do: Literal["look", "erase"] = "look"


async def erasures(request: Request) -> Response:
    """Answer a page of names that were erased."""
    query = read_query(request, ErasuresPageQuery, is_page=True)
    return await _page(request, before=query.before)


async def erase(request: Request) -> Response:
    """Say what holds a name, or erase it; and show what is left of it."""
    form = await read_form(request, EraseForm)
    if form.do == "erase" and form.again != form.subject:
        raise BadRequest("the subject typed once more is another; nothing was erased")
    answer = await erase_subject(
        request.app.state.parts,
        Nothing(),
        body=NewErasure(
            subject=form.subject,
            also=(form.also,) if form.also else (),
            reason=form.reason,
            dry_run=form.do == "look",
        ),
        author=author_of(request),
    )
    return await _page(request, answer=answer, form=form)


async def _page(
    request: Request,
    *,
    before: int = ID_MAX,
    answer: Erased | None = None,
    form: EraseForm | None = None,
) -> Response:
    parts: Parts = request.app.state.parts
    page = await list_erasures(parts, ErasuresQuery(before=before, limit=PAGE))
    context = {
        "erasures": page.erasures,
        "older": page.next_before,
        "may_write": may_write(request),
        "answer": answer,
        # What was only looked at is erased next.
        "form": form if answer is not None and answer.is_dry_run else None,
    }
    return render(request, "erasures.html", context)
