"""The audit log as a page: who changed what money stands on, when and why."""

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from meterline_sidecar.web.api.audit import AuditQuery, read_audit
from meterline_sidecar.web.operations import read_query
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import ID_MAX
from meterline_sidecar.web.view.render import render

PAGE = 50


class AuditPageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of the log, the newest first."""

    after: Annotated[int, Meta(ge=0, le=ID_MAX)] = ID_MAX


async def audit(request: Request) -> Response:
    """Answer a page of what was decided."""
    parts: Parts = request.app.state.parts
    query = read_query(request, AuditPageQuery, is_page=True)
    page = await read_audit(parts, AuditQuery(after=query.after, limit=PAGE))
    return render(
        request,
        "audit.html",
        {
            "acts": page.acts,
            "older": page.next_after,
            "is_newest": query.after == ID_MAX,
        },
    )
