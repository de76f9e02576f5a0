"""The audit log as a page: who changed what money stands on, when and why."""

from typing import Any, Final

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from meterline_sidecar.web.api.audit import AuditQuery, read_audit
from meterline_sidecar.web.operations import read_query
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import ID_MAX
from meterline_sidecar.web.view.filters import filtered, typed
from meterline_sidecar.web.view.like import meant

PAGE: Final = 50


async def audit(request: Request) -> Response:
    """Answer a page of what was decided, the newest first."""
    parts: Parts = request.app.state.parts
    form = typed(request, AuditQuery)
    kept = {"customer": form["customer"]} if form["customer"] else {}

    async def read() -> dict[str, Any]:
        query = read_query(request, AuditQuery, is_page=True)
        page = await read_audit(parts, replace(query, limit=PAGE))
        return {
            "acts": page.acts,
            "meant": await meant(parts, kept),
            "older": page.next_after,
            "is_newest": query.after == ID_MAX,
        }

    context = {"query": form, "kept": kept}
    return await filtered(request, "audit.html", context, read)
