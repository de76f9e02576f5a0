"""Alerts: which rules there are, what was raised, what to do, and who was told."""

from typing import Any, Final

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from meterline_sidecar.store import alerts as store
from meterline_sidecar.web.api.alerts import AlertsQuery, list_alerts
from meterline_sidecar.web.operations import read_query
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import ID_MAX
from meterline_sidecar.web.view.filters import filtered, typed
from meterline_sidecar.web.view.like import meant

PAGE_ALERTS: Final = 50


async def alerts(request: Request) -> Response:
    """Answer the page of alerts."""
    parts: Parts = request.app.state.parts
    form = typed(request, AlertsQuery)
    kept = {name: form[name] for name in ("customer", "is_open") if form[name]}

    async def read() -> dict[str, Any]:
        query = read_query(request, AlertsQuery, is_page=True)
        page = await list_alerts(parts, replace(query, limit=PAGE_ALERTS))
        return {
            "alerts": page.alerts,
            "meant": await meant(parts, kept),
            "is_first": query.before == ID_MAX,
            "older": page.next_before,
        }

    async with parts.database.reading() as tx:
        n_waiting, n_failed = await store.waiting(tx)
    context = {
        "query": form,
        "kept": kept,
        "rules": parts.config.alert_rules,
        "url": parts.config.alerts.webhook_url,
        "n_waiting": n_waiting,
        "n_failed": n_failed,
    }
    return await filtered(request, "alerts.html", context, read)
